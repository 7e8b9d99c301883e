//! One module for each command or family of commands: from what was typed to an exit code.

pub(crate) mod admit;
pub(crate) mod calls;
pub(crate) mod check;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod explain;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod new;
pub(crate) mod pins;
pub(crate) mod proxy;
pub(crate) mod quotas;
pub(crate) mod releases;
pub(crate) mod remote;
pub(crate) mod serve;
pub(crate) mod settings;
pub(crate) mod tenants;
pub(crate) mod tokens;

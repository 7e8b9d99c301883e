//! Tokens that an authorization server issues: kept, refreshed once, and never spent twice.
//!
//! The rule of a refresh, and the reason for each step:
//!
//! 1. One flight for each connection in this process: a thousand callers wait for one request.
//! 2. A lease with a fence: of several hosts, one sends it.
//! 3. The record is read again under the lease: somebody may have been faster.
//! 4. The intent is durable before anything is sent: after a crash it is known that the token may be spent.
//! 5. The request is bounded well below the lease.
//! 6. New tokens are durable before anybody uses them; the write names the version it replaces.
//! 7. Only then are they handed out.
//!
//! **What cannot be avoided:** a crash after the server has rotated the token and before its answer is durable here
//! loses that answer; the connection is then `uncertain`, never tried again by itself, and keeps its old access token
//! until that one expires.
//!
//! [`record`] is what is kept, [`endpoint`] what is said to a server, [`client`] who the operator is there,
//! [`confirmed`] where that may be said, [`expiry`] when a token is due, [`denials`] when a no is final, [`refresh`] the
//! rule above; [`obtain`] is how the first token comes where no person consents.

pub(crate) mod assertion;
pub mod client;
pub mod confirmed;
pub mod denials;
pub(crate) mod endpoint;
pub(crate) mod expiry;
pub mod obtain;
pub mod record;
pub(crate) mod refresh;
pub(crate) mod skew;

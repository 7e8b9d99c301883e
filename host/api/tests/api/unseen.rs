//! What the API takes a secret in has no form in which the secret could be said (C30): if one had, this would not
//! compile.

use std::fmt::{Debug, Display};

use keyway_api::contract::connect::CompleteConnect;
use keyway_api::contract::connection::{
    ExportedConnection, ImportConnection, ImportLine, ObtainConnection, SetClient, SetConnection,
};
use serde::Serialize;
use static_assertions::assert_not_impl_any;

assert_not_impl_any!(SetConnection: Debug, Display, Serialize);
assert_not_impl_any!(ObtainConnection: Debug, Display, Serialize);
assert_not_impl_any!(ImportConnection: Debug, Display, Serialize);
assert_not_impl_any!(ImportLine: Debug, Display, Serialize);
assert_not_impl_any!(ExportedConnection: Debug, Display, Serialize);
assert_not_impl_any!(SetClient: Debug, Display, Serialize);
assert_not_impl_any!(CompleteConnect: Debug, Display, Serialize);

//! The input of an action, held against the schema that its release states.
//!
//! By the release that the call runs, within the call's own time, and while it counts as its tenant's call. How it is held
//! and how tenants share what that costs is [`Inputs`](keyway_core::ports::Inputs)' business.

use keyway_core::Fault;
use keyway_core::call::Operation;
use keyway_core::ports::Route;

use crate::service::{Deadline, Shared};

impl Shared {
    /// Hands an operation back unless its input does not fit.
    pub(crate) async fn hold_input(
        &self,
        route: &Route,
        operation: Operation,
        deadline: &Deadline,
    ) -> Result<Operation, Fault> {
        let Operation::Invoke { action, input } = operation else { return Ok(operation) };
        let spec = route.connector.descriptor().actions.get(&action);
        if spec.is_none_or(|spec| spec.input.is_none()) {
            return Ok(Operation::Invoke { action, input });
        }
        let input = self.inputs.check(route, &action, input, deadline.left()).await?;
        Ok(Operation::Invoke { action, input })
    }
}

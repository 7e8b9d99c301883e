//! The contract: a released version never changes.

use sha2::{Digest as _, Sha256};

use crate::{read, root};

/// Every frozen file and its SHA-256. A change to a contract is a new file with a line of its own.
const FROZEN: [(&str, &str); 1] =
    [("wit/v1/connector.wit", "74467a0884f1601774c16a505c50bb89b2531b6f8ce9b7425c788ddd2bd56b5a")];

#[test]
fn frozen_contracts_are_unchanged() {
    for (path, expected) in FROZEN {
        let actual = hex::encode(Sha256::digest(read(&root().join(path))));
        assert_eq!(actual, expected, "{path} is frozen: add a new version beside it instead");
    }
}

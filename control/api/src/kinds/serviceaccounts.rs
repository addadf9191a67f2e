//! ServiceAccounts: who a pod is. Their tokens are made by whoever answers `serviceaccounts/token`.

use k8s_openapi::api::core::v1::ServiceAccount;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::kind::{Kind, Rules, Subresource};
use crate::table::{self, AGE, NAME, text};

/// `ServiceAccount`.
pub static SERVICEACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    }],
    acts: true,
    collection: "core/serviceaccounts",
    rules: Rules {
        schema: ServiceAccount::json_schema,
        // Declared as text and filled with a number, as in Kubernetes.
        columns: &[NAME, text("Secrets", "Number of secrets it may use."), AGE],
        cells: |object, now| {
            let secrets = object.items("/secrets").len();
            vec![object.name().into(), Value::from(secrets), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

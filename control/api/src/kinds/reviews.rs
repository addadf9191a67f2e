//! Reviews: questions about who somebody is and what they may do. Nothing is stored; the API server answers.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};
use schemars::{JsonSchema as _, Schema, SchemaGenerator};

use crate::kind::{Kind, Rules, Scope, Serving};

/// `TokenReview`.
pub static TOKENREVIEW: Kind = Kind {
    kind: "TokenReview",
    plural: "tokenreviews",
    singular: "tokenreview",
    collection: "authentication.k8s.io/tokenreviews",
    ..question("authentication.k8s.io", TokenReview::json_schema)
};

/// `SelfSubjectReview`.
pub static SELFSUBJECTREVIEW: Kind = Kind {
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    collection: "authentication.k8s.io/selfsubjectreviews",
    ..question("authentication.k8s.io", SelfSubjectReview::json_schema)
};

/// `SubjectAccessReview`.
pub static SUBJECTACCESSREVIEW: Kind = Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    collection: "authorization.k8s.io/subjectaccessreviews",
    ..question("authorization.k8s.io", SubjectAccessReview::json_schema)
};

/// `LocalSubjectAccessReview`.
pub static LOCALSUBJECTACCESSREVIEW: Kind = Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    scope: Scope::Namespaced,
    collection: "authorization.k8s.io/localsubjectaccessreviews",
    ..question("authorization.k8s.io", LocalSubjectAccessReview::json_schema)
};

/// `SelfSubjectAccessReview`.
pub static SELFSUBJECTACCESSREVIEW: Kind = Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    collection: "authorization.k8s.io/selfsubjectaccessreviews",
    ..question("authorization.k8s.io", SelfSubjectAccessReview::json_schema)
};

/// `SelfSubjectRulesReview`.
pub static SELFSUBJECTRULESREVIEW: Kind = Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    collection: "authorization.k8s.io/selfsubjectrulesreviews",
    ..question("authorization.k8s.io", SelfSubjectRulesReview::json_schema)
};

const fn question(group: &'static str, schema: fn(&mut SchemaGenerator) -> Schema) -> Kind {
    Kind {
        group,
        scope: Scope::Cluster,
        serving: Serving::Asked,
        acts: true,
        rules: Rules { schema, ..Rules::PLAIN },
        ..Kind::PLAIN
    }
}

//! `metav1.Status`: what every verb fails with, and how Kubernetes words it.
//!
//! Not here: what is wrong with a field ([`crate::field`]), HTTP headers (the API server makes them from
//! [`Status::code`] and [`Details::retry_after_seconds`]).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::field::FieldError;
use crate::json;
use crate::kind::Kind;

/// The machine-readable class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No reason is given (`""`).
    Unknown,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409 on create.
    AlreadyExists,
    /// 409 on update or a broken precondition.
    Conflict,
    /// 410.
    Gone,
    /// 410: the resourceVersion is too old.
    Expired,
    /// 422.
    Invalid,
    /// 500: took longer than the server was willing to wait; try again.
    ServerTimeout,
    /// 504.
    Timeout,
    /// 429.
    TooManyRequests,
    /// 400.
    BadRequest,
    /// 405.
    MethodNotAllowed,
    /// 406.
    NotAcceptable,
    /// 413.
    RequestEntityTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 500.
    InternalError,
    /// 503.
    ServiceUnavailable,
}

impl Reason {
    /// As written in `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Expired => "Expired",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::ServiceUnavailable => "ServiceUnavailable",
        }
    }
}

/// One of several causes of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Class, for instance `FieldValueInvalid`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Path of the field, or empty.
    pub field: String,
}

/// What the failure is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// Group of its kind.
    pub group: String,
    /// Resource name (`deployments`); the kind (`Deployment`) for `Invalid`.
    pub kind: String,
    /// Its uid, where it matters.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// When to try again; 0 for no advice.
    pub retry_after_seconds: u32,
}

/// A failure as clients get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Class of the failure.
    pub reason: Reason,
    /// For people: what happened, to what, why.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
    /// A `continue` token for a list that can go on at a newer revision (410 only).
    pub continue_token: Option<Box<str>>,
    /// A class that is none of ours, in place of [`Status::reason`]: a webhook's own.
    pub foreign_reason: Option<Box<str>>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None, foreign_reason: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            ..Details::default()
        };
        self.details = Some(Box::new(details));
        self
    }

    /// Adds a cause without a field.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.causes.push(Cause { reason: reason.to_owned(), message: message.to_owned(), field: String::new() });
        self
    }

    /// Adds the advice to try again after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// 404: `deployments.apps "web" not found`.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, Reason::NotFound, format!("{} {name:?} not found", kind.resource())).about(kind, name)
    }

    /// 404 for a path that leads nowhere.
    pub fn no_such_resource() -> Self {
        let mut status = Self::new(404, Reason::NotFound, "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 409: `deployments.apps "web" already exists`.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, Reason::AlreadyExists, format!("{} {name:?} already exists", kind.resource())).about(kind, name)
    }

    /// 409: `Operation cannot be fulfilled on deployments.apps "web": why`.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource());
        Self::new(409, Reason::Conflict, message).about(kind, name)
    }

    /// 409: somebody else wrote the object first.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: `Deployment.apps "web" is invalid: …`, one cause per field error.
    pub fn invalid(kind: &Kind, name: &str, errors: impl Into<Vec<FieldError>>) -> Self {
        Self::invalid_named(kind.group, kind.kind, name, &errors.into())
    }

    /// 422 for something that is not in the table of kinds, for instance `DeleteOptions.meta.k8s.io`.
    pub fn invalid_named(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut seen = BTreeSet::new();
        let texts: Vec<String> =
            errors.iter().map(ToString::to_string).filter(|text| seen.insert(text.clone())).collect();
        let message = match texts.as_slice() {
            [] => format!("{qualified} {name:?} is invalid"),
            [text] => format!("{qualified} {name:?} is invalid: {text}"),
            several => format!("{qualified} {name:?} is invalid: [{}]", several.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.reason.as_str().to_owned(),
                message: error.message.clone(),
                field: error.field.clone(),
            })
            .collect();
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(422, Reason::Invalid, message) }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 403: `namespaces "default" is forbidden: why`.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let what = if name.is_empty() { kind.resource() } else { format!("{} {name:?}", kind.resource()) };
        Self::new(403, Reason::Forbidden, format!("{what} is forbidden: {why}")).about(kind, name)
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(why: impl Into<String>) -> Self {
        let mut status = Self::new(403, Reason::Forbidden, format!("forbidden: {}", why.into()));
        status.details = Some(Box::default());
        status
    }

    /// 405.
    pub fn method_not_allowed(kind: &Kind) -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, Reason::MethodNotAllowed, message).about(kind, "")
    }

    /// 406, with the media types that can be had.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::new(406, Reason::NotAcceptable, message)
    }

    /// 415, with the media types that are understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::new(415, Reason::UnsupportedMediaType, message)
    }

    /// 410 with reason Expired: `too old resource version: 3 (17)`.
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::expired_with(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 410 with reason Expired and a text of one's own.
    pub fn expired_with(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    /// 504: the client asked for a revision that does not exist yet.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        Self::new(504, Reason::Timeout, format!("Timeout: Too large resource version: {asked}, current: {current}"))
            .with_cause("ResourceVersionTooLarge", "Too large resource version")
            .retry_after(1)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, message)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_seconds: u32) -> Self {
        Self::new(429, Reason::TooManyRequests, message).retry_after(retry_seconds)
    }

    /// 504: `Timeout: why`.
    pub fn timeout(why: impl fmt::Display, retry_seconds: u32) -> Self {
        Self::new(504, Reason::Timeout, format!("Timeout: {why}")).retry_after(retry_seconds)
    }

    /// 500: `Internal error occurred: why`.
    pub fn internal(why: impl fmt::Display) -> Self {
        let text = why.to_string();
        Self::new(500, Reason::InternalError, format!("Internal error occurred: {text}")).with_cause("", &text)
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".to_owned(), Value::from(&**token));
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata,
            "status": "Failure", "message": self.message,
        });
        let fields = status.as_object_mut().expect("the macro made an object");
        let reason = self.foreign_reason.as_deref().unwrap_or(self.reason.as_str());
        if !reason.is_empty() {
            fields.insert("reason".to_owned(), Value::from(reason));
        }
        if let Some(details) = &self.details {
            fields.insert("details".to_owned(), details.to_value());
        }
        fields.insert("code".to_owned(), Value::from(self.code));
        status
    }

    /// The `Status` object as JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
}

impl Details {
    /// What somebody else's Status says of it.
    pub fn parse(value: &Value) -> Self {
        let text = |value: &Value, key: &str| json::text(value, &[key]).to_owned();
        let cause = |cause: &Value| Cause {
            reason: text(cause, "reason"),
            message: text(cause, "message"),
            field: text(cause, "field"),
        };
        let seconds = json::get(value, "retryAfterSeconds").as_u64();
        Self {
            name: text(value, "name"),
            group: text(value, "group"),
            kind: text(value, "kind"),
            uid: text(value, "uid"),
            causes: json::items(value, &["causes"]).iter().map(cause).collect(),
            retry_after_seconds: seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or_default(),
        }
    }

    fn to_value(&self) -> Value {
        let mut fields = Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                fields.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        if !self.causes.is_empty() {
            fields.insert("causes".to_owned(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            fields.insert("retryAfterSeconds".to_owned(), Value::from(self.retry_after_seconds));
        }
        Value::Object(fields)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut fields = Map::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                fields.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        Value::Object(fields)
    }
}

/// The `Status` a finished deletion is answered with.
pub fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: kind.group.to_owned(),
        kind: kind.plural.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
}

#[cfg(test)]
mod tests;

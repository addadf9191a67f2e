//! What the server refused, and what keeps us from reaching it.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

use http::StatusCode;
use serde_json::Value;

use crate::exit::{Code, ExitError};

/// One field the server found fault with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldFault {
    /// Such as `spec.template.spec.containers[0].image`.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) message: String,
}

/// A request the server answered with an error status.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// Kubernetes' reason, such as `AlreadyExists`; empty when the answer was no `Status`.
    pub(crate) reason: String,
    /// The message, in Kubernetes' words.
    pub(crate) message: String,
    /// The fields at fault, if the server named them.
    pub(crate) faults: Vec<FieldFault>,
}

impl Refusal {
    /// Reads the refusal out of an answer.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut message = text("message");
        if let Some(told) = value.pointer("/errors/0/message").and_then(Value::as_str).filter(|_| message.is_empty()) {
            // The registry below /v2/ speaks OCI's words instead of Kubernetes'.
            told.clone_into(&mut message);
        }
        if message.is_empty() {
            let plain = String::from_utf8_lossy(body);
            let plain: String = plain.trim().chars().take(500).collect();
            let plain = if plain.is_empty() { status.canonical_reason().unwrap_or("error").to_owned() } else { plain };
            message = format!("the server answered {}: {plain}", status.as_u16());
        }
        let causes = value.pointer("/details/causes").and_then(Value::as_array);
        let mut faults: Vec<FieldFault> = causes.into_iter().flatten().filter_map(FieldFault::read).collect();
        if let [FieldFault { field, message: told }] = faults.as_slice()
            && field == "patch"
            && let Some(reason) = after_value(told)
        {
            // What the patch made of the object stands there, whole, before what is wrong with it.
            message = format!("the patched object is refused: {reason}");
            faults.clear();
        }
        Self { status, reason: text("reason"), message, faults }
    }

    /// What to do about it, where that is always the same.
    pub(crate) fn hint(&self) -> Option<String> {
        match self.status {
            StatusCode::FORBIDDEN if self.is_of_rights() => {
                Some("`wk auth whoami` says who you are, `wk auth can-i --list` what you may do".to_owned())
            }
            StatusCode::UNAUTHORIZED => Some(
                "the server does not know you: the kubeconfig's certificate or token may have expired (see --kubeconfig)"
                    .to_owned(),
            ),
            StatusCode::NOT_FOUND => {
                let name = self.message.strip_prefix("namespaces \"")?.strip_suffix("\" not found")?;
                Some(format!("`wk create namespace {name}` makes it; `wk get namespaces` lists those there are"))
            }
            _ => None,
        }
    }

    /// Whether rights are what is missing: admission, quotas among it, refuses with the same status.
    fn is_of_rights(&self) -> bool {
        let who = self.message.contains("User \"") && self.message.contains("\" cannot ");
        who || self.message.contains("attempting to grant RBAC permissions")
    }

    /// The exit code for it.
    pub(crate) fn code(&self) -> Code {
        match self.status.as_u16() {
            404 => Code::NotFound,
            409 => Code::Conflict,
            // No leader, and none was elected while the request was repeated.
            503 => Code::Unreachable,
            504 => Code::TimedOut,
            _ => Code::General,
        }
    }
}

/// What follows the quoted value of `Invalid value: "…": REASON`. A value that was cut ends in dots.
fn after_value(told: &str) -> Option<&str> {
    let inside = told.strip_prefix("Invalid value: \"")?;
    let mut escaped = false;
    let end = inside.find(|letter: char| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })?;
    let rest = &inside[end + 1..];
    rest.strip_prefix("...").unwrap_or(rest).strip_prefix(": ")
}

impl FieldFault {
    fn read(cause: &Value) -> Option<Self> {
        let text = |key: &str| cause.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let field = text("field");
        (!field.is_empty()).then(|| Self { field, message: text("message") })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Refusal {}

/// The refusal an error came from, if the server refused.
pub(crate) fn refusal(error: &anyhow::Error) -> Option<&Refusal> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

/// Explains why an exchange with the server failed, from the deepest cause: what lies above only repeats it.
pub(super) fn unreachable(address: &str, path: &str, error: &(dyn Error + 'static)) -> ExitError {
    let mut deepest = error;
    let mut kind = None;
    loop {
        if let Some(io) = deepest.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        match deepest.source() {
            Some(source) => deepest = source,
            None => break,
        }
    }
    let text = deepest.to_string();
    let message = if kind == Some(ErrorKind::ConnectionRefused) {
        format!("cannot reach the cluster at {address}: connection refused; is `wk up` running there?")
    } else if text.contains("certificate") || text.contains("CertificateRequired") || text.contains("UnknownCA") {
        format!(
            "cannot trust the server at {address}: {text}; the kubeconfig may be of another cluster (see --kubeconfig)"
        )
    } else if text.contains("connect timeout") || kind == Some(ErrorKind::TimedOut) {
        format!("cannot reach the cluster at {address}: timed out; is the node up, and is this its address?")
    } else {
        format!("cannot reach the cluster at {address}: {text} (asking for {path})")
    };
    ExitError::new(Code::Unreachable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_becomes_message_reason_and_fields() {
        let body = br#"{"kind":"Status","message":"ConfigMap \"x\" is invalid","reason":"Invalid","code":422,
            "details":{"causes":[{"reason":"FieldValueInvalid","message":"bad","field":"metadata.name"}]}}"#;
        let refusal = Refusal::read(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(refusal.message, "ConfigMap \"x\" is invalid");
        assert_eq!(refusal.reason, "Invalid");
        assert_eq!(refusal.faults, [FieldFault { field: "metadata.name".into(), message: "bad".into() }]);
    }

    #[test]
    fn reason_is_found_behind_the_value() {
        assert_eq!(after_value(r#"Invalid value: "a \"b\": c \\": why: "x""#), Some(r#"why: "x""#));
        assert_eq!(after_value(r#"Invalid value: "a \"b"...: why"#), Some("why"));
        assert_eq!(after_value(r#"Invalid value: "open"#), None);
        assert_eq!(after_value("Required value"), None);
    }

    #[test]
    fn some_refusals_say_what_to_do() {
        let hint = |status: StatusCode, message: &str| {
            Refusal::read(status, format!("{{\"message\":{message:?}}}").as_bytes()).hint()
        };
        let rights = "pods is forbidden: User \"ann\" cannot list resource \"pods\"";
        assert!(hint(StatusCode::FORBIDDEN, rights).expect("hint").contains("can-i"));
        assert_eq!(hint(StatusCode::FORBIDDEN, "pods \"a\" is forbidden: exceeded quota: q"), None);
        let made = hint(StatusCode::NOT_FOUND, "namespaces \"shop\" not found").expect("hint");
        assert!(made.contains("wk create namespace shop"), "{made}");
        assert_eq!(hint(StatusCode::NOT_FOUND, "pods \"a\" not found"), None);
    }

    #[test]
    fn answer_that_is_no_status_is_quoted() {
        let body = br#"{"errors":[{"code":"DIGEST_INVALID","message":"it is not what it says"}]}"#;
        assert_eq!(Refusal::read(StatusCode::BAD_REQUEST, body).message, "it is not what it says");
        let refusal = Refusal::read(StatusCode::NOT_FOUND, b"404 page not found");
        assert_eq!(refusal.message, "the server answered 404: 404 page not found");
        assert_eq!(refusal.code(), Code::NotFound);
    }

    #[test]
    fn refused_connection_names_the_address_and_what_to_do() {
        let error = std::io::Error::from(ErrorKind::ConnectionRefused);
        let exit = unreachable("https://127.0.0.1:6443", "/api", &error);
        assert_eq!(exit.code, Code::Unreachable);
        assert_eq!(
            exit.to_string(),
            "cannot reach the cluster at https://127.0.0.1:6443: connection refused; is `wk up` running there?"
        );
    }
}

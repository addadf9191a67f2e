//! The parameters of a request, parsed where Kubernetes parses them and refused in its words.

use wk_api::{FieldError, FieldReason, Status};

/// The parameters of a URL, decoded and in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// Longest `fieldManager`, as in Kubernetes.
const FIELD_MANAGER_MAX: usize = 128;

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The first value of a parameter; None when it is missing.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter; empty when it is missing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// As Kubernetes reads booleans: there and not "false" or "0".
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| !(value.eq_ignore_ascii_case("false") || value == "0"))
    }

    /// A whole number; an empty parameter is a missing one.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let why = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
                Status::bad_request(format!("{name}: Invalid value: {text:?}: {why}"))
            }),
        }
    }

    /// Whether `dryRun=All` is asked for; `options` is the kind whose name the refusal bears.
    pub(crate) fn dry_run(&self, options: &str) -> Result<bool, Status> {
        let mut asked = false;
        for (_, value) in self.0.iter().filter(|(name, _)| name == "dryRun") {
            if value != "All" {
                let message = format!("Unsupported value: {value:?}: supported values: \"All\"");
                return Err(invalid_option(options, "dryRun", FieldReason::NotSupported, message));
            }
            asked = true;
        }
        Ok(asked)
    }

    /// Checks `fieldManager`, for a request that records none.
    pub(crate) fn check_field_manager(&self, options: &str) -> Result<(), Status> {
        self.field_manager(options).map(|_| ())
    }

    /// The `fieldManager`, checked; None when it is missing.
    pub(crate) fn field_manager(&self, options: &str) -> Result<Option<&str>, Status> {
        let manager = self.text("fieldManager");
        if manager.len() > FIELD_MANAGER_MAX {
            let message = format!("Too long: may not be more than {FIELD_MANAGER_MAX} bytes");
            return Err(invalid_option(options, "fieldManager", FieldReason::TooLong, message));
        }
        if manager.chars().any(char::is_control) {
            let message = format!("Invalid value: {manager:?}: should only contain printable characters");
            return Err(invalid_option(options, "fieldManager", FieldReason::Invalid, message));
        }
        Ok(Some(manager).filter(|manager| !manager.is_empty()))
    }
}

/// Who writes when the request does not say: what its `User-Agent` begins with, as in Kubernetes.
pub(crate) fn default_manager(user_agent: &str) -> String {
    let mut name: String =
        user_agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(FIELD_MANAGER_MAX));
    name
}

/// 422 for a parameter: `ListOptions.meta.k8s.io "" is invalid: …`.
pub(crate) fn invalid_option(options: &str, field: &str, reason: FieldReason, message: String) -> Status {
    let error = FieldError { field: field.to_owned(), reason, message };
    Status::invalid_named("meta.k8s.io", options, "", &[error])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_read_as_kubernetes_reads_them() {
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc&watch&limit=5&allowWatchBookmarks=False"));
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert!(query.flag("watch"));
        assert!(!query.flag("allowWatchBookmarks"));
        assert_eq!(query.number("limit").expect("a number"), Some(5));
        assert_eq!(query.number("none").expect("missing"), None);
        assert_eq!(Query::parse(Some("limit=x")).number("limit").expect_err("no number").code, 400);
    }

    #[test]
    fn only_all_is_a_dry_run() {
        assert!(Query::parse(Some("dryRun=All")).dry_run("CreateOptions").expect("valid"));
        let refused = Query::parse(Some("dryRun=Some")).dry_run("CreateOptions").expect_err("not supported");
        assert_eq!(refused.code, 422);
        assert_eq!(
            refused.message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": supported values: \"All\""
        );
    }
}

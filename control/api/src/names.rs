//! What a name may look like: DNS labels and subdomains, qualified names, label values, port names.
//!
//! Each function answers with what is wrong, in Kubernetes' words; an empty list is a good name.
//! Source: `k8s.io/apimachinery/pkg/util/validation` and the page "Object Names and IDs".

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const SERVICE_PORT_NAME_MAX: usize = 15;

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
    and must start and end with an alphanumeric character";
const SUBDOMAIN_FORM: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_FORM: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
    start with an alphabetic character, and end with an alphanumeric character";
const QUALIFIED_FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character";
const VALUE_FORM: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character";
const WILDCARD_FORM: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_TEXT: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
    which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const CONFIG_KEY_FORM: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_TEXT: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

/// RFC 1123 label: namespaces, containers.
pub fn dns_label(name: &str) -> Vec<String> {
    let mut errors = too_long(name, LABEL_MAX);
    if !is_dns_label(name) {
        errors.push(form_error(LABEL_TEXT, LABEL_FORM, &["my-name", "123-abc"]));
    }
    errors
}

/// RFC 1035 label: services.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut errors = too_long(name, LABEL_MAX);
    if !is_dns_label(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        errors.push(form_error(DNS1035_TEXT, DNS1035_FORM, &["my-name", "abc-123"]));
    }
    errors
}

/// RFC 1123 subdomain: most objects.
pub fn dns_subdomain(name: &str) -> Vec<String> {
    let mut errors = too_long(name, SUBDOMAIN_MAX);
    if !name.split('.').all(is_dns_label) {
        errors.push(form_error(SUBDOMAIN_TEXT, SUBDOMAIN_FORM, &["example.com"]));
    }
    errors
}

/// `*.` and an RFC 1123 subdomain: hosts of ingress rules.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    let mut errors = too_long(name, SUBDOMAIN_MAX);
    if !name.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_dns_label)) {
        errors.push(form_error(WILDCARD_TEXT, WILDCARD_FORM, &["*.example.com"]));
    }
    errors
}

/// `[prefix/]name`: keys of labels and annotations, resource names, finalizers.
pub fn qualified_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let local = match name.split_once('/') {
        None => name,
        Some((prefix, local)) if !local.contains('/') => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns_subdomain(prefix).into_iter().map(|error| format!("prefix part {error}")));
            }
            local
        }
        Some(_) => {
            let text = form_error(QUALIFIED_TEXT, QUALIFIED_FORM, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a qualified name {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if local.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else {
        errors.extend(too_long(local, LABEL_MAX).into_iter().map(|error| format!("name part {error}")));
    }
    if !is_qualified(local) {
        errors.push(format!(
            "name part {}",
            form_error(QUALIFIED_TEXT, QUALIFIED_FORM, &["MyName", "my.name", "123-abc"])
        ));
    }
    errors
}

/// `domain/path`: the controller of an ingress class.
pub fn domain_path(name: &str) -> Vec<String> {
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.is_empty()) else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    };
    let mut errors = Vec::new();
    for problem in dns_subdomain(domain) {
        errors.push(format!("prefix part {problem}"));
    }
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.push(
            "Invalid path (e.g. 'acme.io/foo', regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
                .to_owned(),
        );
    }
    errors
}

/// Value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_qualified(value) {
        errors.push(form_error(VALUE_TEXT, VALUE_FORM, &["MyValue", "my_value", "12345"]));
    }
    errors
}

/// IANA service name: names of container ports.
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SERVICE_PORT_NAME_MAX {
        errors.push(max_text(SERVICE_PORT_NAME_MAX));
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// Key of a ConfigMap or Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let mut errors = too_long(key, SUBDOMAIN_MAX);
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        errors.push(form_error(CONFIG_KEY_TEXT, CONFIG_KEY_FORM, &["key.name", "KEY_NAME", "key-name"]));
    }
    if key == "." || key == ".." {
        errors.push(format!("must not be '{key}'"));
    } else if key.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// Name of an environment variable: any printable ASCII without `=`.
pub fn env_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// A domain in a list of domains to search: underscores are allowed there.
pub(crate) fn search_domain(name: &str) -> Vec<String> {
    dns_subdomain(&name.replace('_', "a"))
}

/// What must fit into a path and need not be more: roles, and what names them.
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|bad| name.contains(**bad)).map(|bad| format!("may not contain '{bad}'")).collect()
}

/// Names of most objects; a `prefix` (generateName) may end with a dash.
pub(crate) fn object_name(name: &str, prefix: bool) -> Vec<String> {
    dns_subdomain(&masked(name, prefix))
}

/// Names that are DNS labels.
pub(crate) fn label_name(name: &str, prefix: bool) -> Vec<String> {
    dns_label(&masked(name, prefix))
}

/// Names of services.
pub(crate) fn service_name(name: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&masked(name, prefix))
}

/// A prefix is judged as if its last dash were a letter.
fn masked(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(start) if prefix && !start.is_empty() => format!("{start}a"),
        _ => name.to_owned(),
    }
}

fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !name.is_empty()
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_qualified(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(name.bytes().next())
        && ends(name.bytes().last())
}

fn too_long(name: &str, max: usize) -> Vec<String> {
    if name.len() > max { vec![max_text(max)] } else { Vec::new() }
}

fn max_text(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// `text (e.g. 'a',  or 'b', regex used for validation is '…')`, double blank included: that is how Kubernetes says it.
fn form_error(text: &str, form: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{form}')", examples.join(" or "))
}

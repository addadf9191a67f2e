//! What the definitions of the Gateway API say in rules: of a struct (`PathMatch`), or of a field as a whole
//! (`GatewaySpec.listeners`). Source of what is asked and of the words: the project's `config/crd`, v1.2.1.

/// A filter's type, and the field that goes with it.
const FILTERS: [(&str, &str); 6] = [
    ("requestHeaderModifier", "RequestHeaderModifier"),
    ("responseHeaderModifier", "ResponseHeaderModifier"),
    ("requestMirror", "RequestMirror"),
    ("requestRedirect", "RequestRedirect"),
    ("urlRewrite", "URLRewrite"),
    ("extensionRef", "ExtensionRef"),
];

/// Matches of all rules of a route together.
const MATCHES_MAX: usize = 128;

type Rules = Vec<(String, String)>;

/// The rules of a struct or field, each with what is said when it does not hold.
pub(super) fn of(place: &str) -> Rules {
    match place {
        "GatewaySpec.listeners" => listeners(),
        "GatewaySpec.addresses" => ["IPAddress", "Hostname"]
            .map(|kind| {
                let once = format!(
                    "self.all(a, a.type != '{kind}' || self.exists_one(b, b.type == a.type && b.value == a.value))"
                );
                (once, format!("{kind} values must be unique"))
            })
            .into(),
        "GatewayTLSConfig" => vec![said(
            "self.mode != 'Terminate' || has(self.certificateRefs) && size(self.certificateRefs) > 0 || has(self.options) && size(self.options) > 0",
            "certificateRefs or options must be specified when mode is Terminate",
        )],
        "HTTPRouteSpec.parentRefs" | "GRPCRouteSpec.parentRefs" => parents(),
        "HTTPRouteSpec.rules" | "GRPCRouteSpec.rules" => vec![(
            format!("self.map(r, has(r.matches) ? size(r.matches) : 0).sum() <= {MATCHES_MAX}"),
            format!(
                "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a \
                 route must be less than {MATCHES_MAX}"
            ),
        )],
        "HTTPRouteRule" => route_rule(),
        "PathMatch" => path(),
        "PathModifier" => modifier(),
        "HTTPRouteFilter" => filter(&FILTERS),
        "GRPCRouteFilter" => filter(&[FILTERS[0], FILTERS[1], FILTERS[2], FILTERS[5]]),
        "HTTPRouteRule.filters" | "HTTPBackendRef.filters" => {
            let mut rules = vec![said(
                "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
                "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
            )];
            rules.extend(once(&[FILTERS[0], FILTERS[1], FILTERS[3], FILTERS[4]]));
            rules
        }
        "GRPCRouteRule.filters" | "GRPCBackendRef.filters" => once(&[FILTERS[0], FILTERS[1]]),
        "HTTPBackendRef" | "GRPCBackendRef" | "BackendReference" => vec![said(
            "size(self.group) > 0 || self.kind != 'Service' || has(self.port)",
            "Must have port for Service reference",
        )],
        "HTTPRouteTimeouts" => vec![said(
            "!has(self.request) || !has(self.backendRequest) || duration(self.request) == duration('0s') || \
             duration(self.backendRequest) <= duration(self.request)",
            "backendRequest timeout cannot be longer than request timeout",
        )],
        "GRPCMethodMatch" => method(),
        _ => Vec::new(),
    }
}

fn said(rule: &str, message: &str) -> (String, String) {
    (rule.to_owned(), message.to_owned())
}

fn listeners() -> Rules {
    vec![
        said(
            "self.all(l, !(l.protocol in ['HTTP', 'TCP', 'UDP']) || !has(l.tls))",
            "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
        ),
        said(
            "self.all(l, l.protocol != 'HTTPS' || !has(l.tls) || l.tls.mode == 'Terminate')",
            "tls mode must be Terminate for protocol HTTPS",
        ),
        said(
            "self.all(l, !(l.protocol in ['TCP', 'UDP']) || !has(l.hostname))",
            "hostname must not be specified for protocols ['TCP', 'UDP']",
        ),
        said(
            "self.all(a, self.exists_one(b, a.port == b.port && a.protocol == b.protocol && \
             a.?hostname.orValue('') == b.?hostname.orValue('')))",
            "Combination of port, protocol and hostname must be unique for each listener",
        ),
    ]
}

fn parents() -> Rules {
    const SAME: &str = "a.group == b.group && a.kind == b.kind && a.name == b.name && \
                        a.?__namespace__.orValue('') == b.?__namespace__.orValue('')";
    let section = |of: &str| format!("{of}.?sectionName.orValue('')");
    let (a, b) = (section("a"), section("b"));
    vec![
        (
            format!("self.all(a, self.all(b, !({SAME}) || ({a} == '') == ({b} == '')))"),
            "sectionName must be specified when parentRefs includes 2 or more references to the same parent".to_owned(),
        ),
        (
            format!("self.all(a, self.exists_one(b, {SAME} && {a} == {b}))"),
            "sectionName must be unique when parentRefs includes 2 or more references to the same parent".to_owned(),
        ),
    ]
}

fn route_rule() -> Rules {
    let mut rules = vec![said(
        "!has(self.backendRefs) || size(self.backendRefs) == 0 || !has(self.filters) || \
         self.filters.all(f, !has(f.requestRedirect))",
        "RequestRedirect filter must not be used together with backendRefs",
    )];
    for (member, kind) in [FILTERS[3], FILTERS[4]] {
        let replaces = format!(
            "has(f.{member}) && has(f.{member}.path) && f.{member}.path.type == 'ReplacePrefixMatch' && \
             has(f.{member}.path.replacePrefixMatch)"
        );
        let one = "size(self.matches) == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix'";
        let why = format!(
            "When using {kind} filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified"
        );
        rules.push((format!("!has(self.filters) || !self.filters.exists_one(f, {replaces}) || {one}"), why.clone()));
        let behind = format!("self.backendRefs.exists(b, has(b.filters) && b.filters.exists_one(f, {replaces}))");
        let why = format!("Within backendRefs, {}{}", why[..1].to_lowercase(), &why[1..]);
        rules.push((format!("!has(self.backendRefs) || !{behind} || {one}"), why));
    }
    rules
}

fn path() -> Rules {
    const PLAIN: &str = "self.type in ['Exact', 'PathPrefix']";
    const WHEN: &str = "when type one of ['Exact', 'PathPrefix']";
    const FORM: &str = "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$";
    let rule = |condition: &str| format!("!({PLAIN}) || {condition}");
    let mut rules =
        vec![(rule("self.value.startsWith('/')"), format!("value must be an absolute path and start with '/' {WHEN}"))];
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        rules.push((rule(&format!("!self.value.contains('{part}')")), format!("must not contain '{part}' {WHEN}")));
    }
    for end in ["/..", "/."] {
        rules.push((rule(&format!("!self.value.endsWith('{end}')")), format!("must not end with '{end}' {WHEN}")));
    }
    rules.push((
        rule(&format!("self.value.matches(r\"\"\"{FORM}\"\"\")")),
        format!("must only contain valid characters (matching {FORM}) for types ['Exact', 'PathPrefix']"),
    ));
    rules
}

fn modifier() -> Rules {
    let mut rules = Vec::new();
    for (member, kind) in [("replaceFullPath", "ReplaceFullPath"), ("replacePrefixMatch", "ReplacePrefixMatch")] {
        rules.push((
            format!("self.type != '{kind}' || has(self.{member})"),
            format!("{member} must be specified when type is set to '{kind}'"),
        ));
        rules.push((
            format!("!has(self.{member}) || self.type == '{kind}'"),
            format!("type must be '{kind}' when {member} is set"),
        ));
    }
    rules
}

/// The field that goes with the type is there, and no other.
fn filter(filters: &[(&str, &str)]) -> Rules {
    let mut rules = Vec::new();
    for (member, kind) in filters {
        rules.push((
            format!("!has(self.{member}) || self.type == '{kind}'"),
            format!("filter.{member} must be nil if the filter.type is not {kind}"),
        ));
        rules.push((
            format!("has(self.{member}) || self.type != '{kind}'"),
            format!("filter.{member} must be specified for {kind} filter.type"),
        ));
    }
    rules
}

fn once(filters: &[(&str, &str)]) -> Rules {
    let one = |kind: &str| format!("self.filter(f, f.type == '{kind}').size() <= 1");
    filters.iter().map(|(_, kind)| (one(kind), format!("{kind} filter cannot be repeated"))).collect()
}

fn method() -> Rules {
    const SERVICE: &str = r"^(?i)\.?[a-z_][a-z_0-9]*(\.[a-z_][a-z_0-9]*)*$";
    const METHOD: &str = "^[A-Za-z_][A-Za-z_0-9]*$";
    let mut rules =
        vec![said("has(self.service) || has(self.method)", "One or both of 'service' or 'method' must be specified")];
    for (member, form) in [("service", SERVICE), ("method", METHOD)] {
        rules.push((
            format!("self.type != 'Exact' || !has(self.{member}) || self.{member}.matches(r\"\"\"{form}\"\"\")"),
            format!("{member} must only contain valid characters (matching {form})"),
        ));
    }
    rules
}

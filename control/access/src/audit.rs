//! Which requests are put on record, and how much of them: `audit.k8s.io/v1` policies, and what never is on record.
//!
//! Not here: writing.

mod redact;

use serde_json::Value;

use crate::ask::Ask;
use crate::user::User;

pub use redact::redact;

/// How much of a request is put on record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who did what to which object, and how it ended.
    Metadata,
    /// The body of the request too.
    Request,
    /// The body of the answer too.
    RequestResponse,
}

/// When in the life of a request something is put on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The caller is known, nothing was done yet.
    RequestReceived,
    /// The head of an answer that goes on: a watch.
    ResponseStarted,
    /// The answer is whole.
    ResponseComplete,
    /// The server failed.
    Panic,
}

/// What a policy says of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How much is recorded.
    pub level: Level,
    /// When nothing is.
    pub omit_stages: Vec<Stage>,
    /// Whether `metadata.managedFields` are left out of bodies.
    pub omit_managed_fields: bool,
}

/// A policy: the first rule that fits decides; where none fits nothing is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Why a document is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Another kind of document.
    #[error("an audit policy has apiVersion audit.k8s.io/v1 and kind Policy")]
    Kind,
    /// It says nothing.
    #[error("an audit policy has at least one rule")]
    Empty,
    /// A word that is not known, and where.
    #[error("{0}: {1:?} is not known")]
    Word(String, String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    verdict: Verdict,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    namespaces: Vec<String>,
    resources: Vec<Resources>,
    paths: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resources {
    group: String,
    plurals: Vec<String>,
    names: Vec<String>,
}

impl Level {
    /// As in policies and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    /// As in policies and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

impl Policy {
    /// Everything at one level.
    pub fn all(level: Level) -> Self {
        Self { rules: vec![Rule { verdict: Verdict { level, ..Verdict::default() }, ..Rule::default() }] }
    }

    /// Reads `audit.k8s.io/v1 Policy`.
    pub fn parse(value: &Value) -> Result<Self, PolicyError> {
        if value["apiVersion"] != "audit.k8s.io/v1" || value["kind"] != "Policy" {
            return Err(PolicyError::Kind);
        }
        let rules = value["rules"].as_array().filter(|rules| !rules.is_empty()).ok_or(PolicyError::Empty)?;
        let stages = stages(&value["omitStages"], "omitStages")?;
        let omit_managed = value["omitManagedFields"] == true;
        let rules = rules.iter().enumerate().map(|(at, rule)| Rule::parse(rule, at, &stages, omit_managed));
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// What is recorded when `user` asks this.
    pub fn judge(&self, user: &User, ask: &Ask<'_>) -> Verdict {
        self.rules.iter().find(|rule| rule.fits(user, ask)).map(|rule| rule.verdict.clone()).unwrap_or_default()
    }
}

impl Rule {
    fn parse(value: &Value, at: usize, stages_of_all: &[Stage], omit_managed: bool) -> Result<Self, PolicyError> {
        let place = |field: &str| format!("rules[{at}].{field}");
        let level = match value["level"].as_str().unwrap_or_default() {
            "None" => Level::None,
            "Metadata" => Level::Metadata,
            "Request" => Level::Request,
            "RequestResponse" => Level::RequestResponse,
            other => return Err(PolicyError::Word(place("level"), other.to_owned())),
        };
        let mut omit_stages = stages(&value["omitStages"], &place("omitStages"))?;
        omit_stages.extend(stages_of_all);
        let resources = value["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let resources = resources.iter().map(|entry| Resources {
            group: entry["group"].as_str().unwrap_or_default().to_owned(),
            plurals: texts(&entry["resources"]),
            names: texts(&entry["resourceNames"]),
        });
        let omit_managed_fields = value["omitManagedFields"].as_bool().unwrap_or(omit_managed);
        Ok(Self {
            verdict: Verdict { level, omit_stages, omit_managed_fields },
            users: texts(&value["users"]),
            groups: texts(&value["userGroups"]),
            verbs: texts(&value["verbs"]),
            namespaces: texts(&value["namespaces"]),
            resources: resources.collect(),
            paths: texts(&value["nonResourceURLs"]),
        })
    }

    fn fits(&self, user: &User, ask: &Ask<'_>) -> bool {
        let verb = match ask {
            Ask::Resource(ask) => ask.verb,
            Ask::Path { verb, .. } => verb,
        };
        let any = |own: &[String], asked: &str| own.is_empty() || own.iter().any(|own| own == asked);
        if !any(&self.users, &user.name) || !any(&self.verbs, verb) {
            return false;
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|group| user.is_in(group)) {
            return false;
        }
        // A rule that names only objects is not about paths, and the other way round.
        let of_objects = !self.namespaces.is_empty() || !self.resources.is_empty();
        if !of_objects && self.paths.is_empty() {
            return true;
        }
        match ask {
            Ask::Path { path, .. } => self.paths.iter().any(|own| {
                own == path || own == "*" || own.strip_suffix('*').is_some_and(|start| path.starts_with(start))
            }),
            Ask::Resource(ask) => {
                let whole = ask.path();
                of_objects
                    && any(&self.namespaces, ask.namespace)
                    && (self.resources.is_empty()
                        || self.resources.iter().any(|own| {
                            let fits = |word: &String| {
                                *word == whole
                                    || word == "*"
                                    || word.strip_prefix("*/").is_some_and(|sub| sub == ask.subresource)
                                    || word.strip_suffix("/*").is_some_and(|resource| resource == ask.resource)
                            };
                            own.group == ask.group
                                && (own.plurals.is_empty() || own.plurals.iter().any(fits))
                                && any(&own.names, ask.name)
                        }))
            }
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn stages(value: &Value, place: &str) -> Result<Vec<Stage>, PolicyError> {
    let read = |text: String| match text.as_str() {
        "RequestReceived" => Ok(Stage::RequestReceived),
        "ResponseStarted" => Ok(Stage::ResponseStarted),
        "ResponseComplete" => Ok(Stage::ResponseComplete),
        "Panic" => Ok(Stage::Panic),
        _ => Err(PolicyError::Word(place.to_owned(), text)),
    };
    texts(value).into_iter().map(read).collect()
}

/// Whether bodies about this may hold secrets: Secrets themselves, tokens, and questions about tokens.
pub fn is_secret(ask: &Ask<'_>) -> bool {
    let Ask::Resource(ask) = ask else { return true };
    matches!((ask.resource, ask.subresource), ("secrets" | "tokenreviews", _) | ("serviceaccounts", "token"))
}

/// Takes `metadata.managedFields` out of an object or of the objects of a list.
pub fn omit_managed_fields(body: &mut Value) {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(omit_managed_fields);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(rules: &Value) -> Policy {
        let value = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules});
        Policy::parse(&value).expect("a policy")
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = policy(&json!([
            {"level": "None", "users": ["system:kube-proxy"], "verbs": ["watch"]},
            {"level": "None", "nonResourceURLs": ["/healthz*", "/version"]},
            {"level": "Request", "resources": [{"group": "", "resources": ["pods", "pods/*"]}], "namespaces": ["shop"]},
            {"level": "RequestResponse", "userGroups": ["dev"], "resources": [{"group": "apps"}], "omitManagedFields": true},
            {"level": "Metadata", "omitStages": ["Panic"]},
        ]));
        let user = User::new("alice", ["dev"]);
        let level = |ask: Ask<'_>| policy.judge(&user, &ask).level;
        assert_eq!(level(Ask::Path { verb: "get", path: "/healthz/ping" }), Level::None);
        assert_eq!(level(Ask::Path { verb: "get", path: "/api" }), Level::Metadata);
        assert_eq!(level(Ask::resource("get", "", "pods").within("shop")), Level::Request);
        assert_eq!(level(Ask::resource("get", "", "pods").within("bank")), Level::Metadata);
        let deployments = policy.judge(&user, &Ask::resource("list", "apps", "deployments"));
        assert_eq!((deployments.level, deployments.omit_managed_fields), (Level::RequestResponse, true));
        assert_eq!(
            policy.judge(&user, &Ask::resource("get", "", "nodes")).omit_stages,
            [Stage::Panic, Stage::RequestReceived]
        );
        let proxy = User::new("system:kube-proxy", []);
        assert_eq!(policy.judge(&proxy, &Ask::resource("watch", "", "services")).level, Level::None);
    }

    #[test]
    fn what_is_no_policy_is_told_by_its_place() {
        assert_eq!(Policy::parse(&json!({"kind": "Policy"})), Err(PolicyError::Kind));
        let empty = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": []});
        assert_eq!(Policy::parse(&empty), Err(PolicyError::Empty));
        let wrong = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "All"}]});
        assert_eq!(Policy::parse(&wrong).expect_err("no level").to_string(), "rules[0].level: \"All\" is not known");
    }
}

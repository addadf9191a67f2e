//! Which kinds the server has, and which one a person means by `deploy`, `po` or `deployments.apps`.

use serde_json::Value;

use crate::client::{Client, JSON, Resource, absent_as_none};
use crate::exit::{Code, ExitError};

/// Aggregated discovery: everything in two answers; servers without it answer the plain form.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// The kinds a server has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kinds(Vec<Resource>);

impl Kinds {
    /// Asks the server.
    pub(crate) async fn discover(client: &Client) -> anyhow::Result<Self> {
        // One after the other: two at once would need a second connection, whose handshake costs more than an answer.
        let core = client.get("/api", AGGREGATED).await?;
        let groups = client.get("/apis", AGGREGATED).await?;
        let mut found = Vec::new();
        for answer in [&core, &groups] {
            if text(answer, "kind") == "APIGroupDiscoveryList" {
                found.extend(aggregated(answer));
            } else {
                for version in group_versions(answer) {
                    found.extend(legacy(client, &version).await?);
                }
            }
        }
        Ok(Self(found))
    }

    /// The kind that a person's word means: plural, singular, kind or short name, perhaps with `.GROUP`.
    pub(crate) fn find(&self, word: &str) -> anyhow::Result<&Resource> {
        let lower = word.to_ascii_lowercase();
        let (name, group) = match lower.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (lower.as_str(), None),
        };
        let fits = |resource: &&Resource| {
            group.is_none_or(|group| {
                resource.group == group || format!("{}.{}", resource.version, resource.group) == group
            })
        };
        let named = |resource: &&Resource| {
            resource.plural == name || resource.singular == name || resource.kind.to_ascii_lowercase() == name
        };
        let short = |resource: &&Resource| resource.short_names.iter().any(|short| short == name);
        let found = self.0.iter().filter(fits).find(named).or_else(|| self.0.iter().filter(fits).find(short));
        found.ok_or_else(|| self.unknown(word).into())
    }

    /// The kinds that a comma-separated list of words means; a category such as `all` stands for its kinds.
    pub(crate) fn find_all(&self, words: &str) -> anyhow::Result<Vec<&Resource>> {
        let mut found: Vec<&Resource> = Vec::new();
        for word in words.split(',').filter(|word| !word.is_empty()) {
            let mut category: Vec<&Resource> = Vec::new();
            for resource in
                self.0.iter().filter(|it| it.listable && it.categories.iter().any(|category| category == word))
            {
                // Of several versions the first is the one the server prefers.
                if !category.iter().any(|known| known.group == resource.group && known.plural == resource.plural) {
                    category.push(resource);
                }
            }
            let meant = if category.is_empty() { vec![self.find(word)?] } else { category };
            found.extend(meant);
        }
        Ok(found)
    }

    /// The kind of an object in a file.
    pub(crate) fn of(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.0.iter().find(|resource| resource.kind == kind && resource.api_version() == api_version)
    }

    /// The API versions that have a kind of this name, for a hint.
    pub(crate) fn versions_of(&self, kind: &str) -> Vec<String> {
        self.0.iter().filter(|resource| resource.kind == kind).map(Resource::api_version).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Resource] {
        &self.0
    }

    fn unknown(&self, word: &str) -> ExitError {
        let lower = word.to_ascii_lowercase();
        let names = self
            .0
            .iter()
            .flat_map(|resource| [&resource.plural, &resource.singular].into_iter().chain(&resource.short_names));
        let hint = match nearest(&lower, names.map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "see `wk api-resources` for those it has".to_owned(),
        };
        ExitError::new(Code::NotFound, format!("the server has no kind {word:?}; {hint}"))
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    array(value, key).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Reads an `APIGroupDiscoveryList`; of each group the first version that has the kind wins.
fn aggregated(list: &Value) -> Vec<Resource> {
    let mut found: Vec<Resource> = Vec::new();
    for group in array(list, "items") {
        let name = group.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        for version in array(group, "versions") {
            for resource in array(version, "resources") {
                found.push(Resource {
                    group: name.to_owned(),
                    version: text(version, "version"),
                    kind: resource.pointer("/responseKind/kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
                    plural: text(resource, "resource"),
                    singular: text(resource, "singularResource"),
                    short_names: texts(resource, "shortNames"),
                    categories: texts(resource, "categories"),
                    namespaced: text(resource, "scope") == "Namespaced",
                    listable: texts(resource, "verbs").iter().any(|verb| verb == "list"),
                    verbs: texts(resource, "verbs"),
                    subresources: array(resource, "subresources").map(|sub| text(sub, "subresource")).collect(),
                });
            }
        }
    }
    found
}

/// The group versions of an `APIVersions` or an `APIGroupList`.
fn group_versions(answer: &Value) -> Vec<String> {
    let core = texts(answer, "versions");
    let groups = array(answer, "groups").flat_map(|group| array(group, "versions").map(|v| text(v, "groupVersion")));
    core.into_iter().chain(groups).collect()
}

/// Reads the `APIResourceList` of one group version.
async fn legacy(client: &Client, group_version: &str) -> anyhow::Result<Vec<Resource>> {
    let (root, group, version) = match group_version.split_once('/') {
        Some((group, version)) => ("apis", group, version),
        None => ("api", "", group_version),
    };
    // A group that is listed but not there now (an aggregated API that is down) is skipped, as kubectl does.
    let list = absent_as_none(client.get(&format!("/{root}/{group_version}"), JSON).await)?.unwrap_or_default();
    let resources = array(&list, "resources").filter(|resource| !text(resource, "name").contains('/'));
    Ok(resources
        .map(|resource| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text(resource, "kind"),
            plural: text(resource, "name"),
            singular: match text(resource, "singularName") {
                name if name.is_empty() => text(resource, "kind").to_ascii_lowercase(),
                name => name,
            },
            short_names: texts(resource, "shortNames"),
            categories: texts(resource, "categories"),
            namespaced: resource.get("namespaced").and_then(Value::as_bool).unwrap_or(false),
            listable: texts(resource, "verbs").iter().any(|verb| verb == "list"),
            verbs: texts(resource, "verbs"),
            subresources: subresources(&list, &text(resource, "name")),
        })
        .collect())
}

/// The subresources that an `APIResourceList` names beside their resource.
fn subresources(list: &Value, plural: &str) -> Vec<String> {
    let names = array(list, "resources").filter_map(|resource| resource.get("name")?.as_str());
    names.filter_map(|name| name.strip_prefix(plural)?.strip_prefix('/')).map(str::to_owned).collect()
}

/// The word most like the one given, if any is like it at all.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this two words merely share letters.
    const LIKE_ENOUGH: f64 = 0.75;
    // A short name that a long word begins with is not what was meant by it.
    let comparable = known.filter(|known| known.len() * 2 >= word.len());
    let scored = comparable.map(|known| (strsim::jaro_winkler(word, known), known));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 >= LIKE_ENOUGH).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds() -> Kinds {
        let list = json!({"items": [
            {"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": [
                {"resource": "pods", "singularResource": "pod", "shortNames": ["po"], "categories": ["all"],
                 "scope": "Namespaced", "verbs": ["get", "list"], "responseKind": {"kind": "Pod"}},
                {"resource": "nodes", "singularResource": "node", "shortNames": ["no"], "scope": "Cluster",
                 "verbs": ["list"], "responseKind": {"kind": "Node"}}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "singularResource": "deployment", "shortNames": ["deploy"],
                 "categories": ["all"], "scope": "Namespaced", "verbs": ["list"],
                 "responseKind": {"kind": "Deployment"}}]}]}]});
        Kinds(aggregated(&list))
    }

    #[test]
    fn kinds_are_found_by_any_of_their_names() {
        let kinds = kinds();
        for word in ["deploy", "Deployment", "deployments", "deployments.apps", "deployment.v1.apps"] {
            assert_eq!(kinds.find(word).expect(word).plural, "deployments");
        }
        assert!(!kinds.find("no").expect("no").namespaced);
        let all = kinds.find_all("all").expect("all");
        assert_eq!(all.iter().map(|kind| kind.plural.as_str()).collect::<Vec<_>>(), ["pods", "deployments"]);
    }

    #[test]
    fn unknown_kind_suggests_what_was_meant() {
        let error = kinds().find("gadgets").cloned().expect_err("unknown");
        assert_eq!(error.to_string(), "the server has no kind \"gadgets\"; see `wk api-resources` for those it has");
        let error = kinds().find("deploiment").cloned().expect_err("unknown");
        assert_eq!(error.to_string(), "the server has no kind \"deploiment\"; did you mean \"deployment\"?");
        assert_eq!(crate::exit::code_of(&error), Code::NotFound);
        let error = kinds().find("nosuchkind").cloned().expect_err("unknown");
        assert!(!error.to_string().contains("\"no\""), "{error}");
        assert_eq!(kinds().versions_of("Deployment"), ["apps/v1"]);
    }
}

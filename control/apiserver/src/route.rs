//! What a path names. Pure: no request is answered here.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use wk_api::{Kind, Scope, kinds};
use wk_store::View;

use crate::openapi::Place;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/healthz`, `/livez`, `/readyz`, and one of their checks by its name.
    Health(Probe, Option<&'static str>),
    /// `/version`.
    Version,
    /// `/`.
    Root,
    /// A discovery document.
    Discovery(Document),
    /// `/.well-known/openid-configuration`: who signs service accounts' tokens.
    OpenIdConfiguration,
    /// `/openid/v1/jwks`: the keys of those.
    OpenIdKeys,
    /// `/apis/wk.dev/v1/users`, and one of them: people's certificates.
    People(Option<String>),
    /// `/apis/wk.dev/v1/certificates`, and one of them: which may be taken back.
    Certificates(Option<String>),
    /// `/apis/wk.dev/v1/signingkeys`, and one of them: what signs service accounts' tokens.
    SigningKeys(Option<String>),
    /// A document below `/openapi`.
    OpenApi(Place),
    /// `/v2/…`, the rest of the path as it came: modules.
    Modules(String),
    /// Objects of a kind.
    Resource(Target),
    /// Below a group and version that are served, where nothing is.
    NoSuchResource,
    /// Nothing at all.
    Nowhere,
}

impl Route {
    /// Whether the request goes on to a pod, which answers in its own time.
    pub(crate) fn is_proxy(&self) -> bool {
        matches!(self, Self::Resource(target) if target.subresource.as_deref() == Some("proxy"))
    }
}

/// Which question about the server's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Is the process alive?
    Live,
    /// Can it serve?
    Ready,
}

impl Probe {
    fn of(word: &str) -> Self {
        if word == "readyz" { Self::Ready } else { Self::Live }
    }

    /// The word that its answers use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
        }
    }

    /// What it looks at: that an answer comes, and that the store can confirm its copy.
    pub(crate) fn checks(self) -> &'static [&'static str] {
        match self {
            Self::Live => &["ping"],
            Self::Ready => &["ping", "store"],
        }
    }
}

/// A discovery document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`.
    Resources {
        /// "" for core.
        group: String,
        version: String,
    },
}

/// Objects of a kind: all, those of a namespace, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub kind: &'static Kind,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// What follows a `/proxy`, still percent-encoded: empty, or with a slash first.
    pub below: String,
}

/// Segments of the longest path: `/apis/g/v/namespaces/ns/plural/name/subresource`.
const SEGMENTS_MAX: usize = 8;

/// Which kinds are served: the table's, and those that definitions define.
pub(crate) trait Served {
    fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind>;

    /// Whether there is such a group, or such a version of it.
    fn has(&self, group: &str, version: Option<&str>) -> bool;
}

impl Served for View {
    fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        wk_cluster::kind_in(self, group, version, plural)
    }

    fn has(&self, group: &str, version: Option<&str>) -> bool {
        let is = |kind: &&'static Kind| kind.group == group && version.is_none_or(|version| kind.version == version);
        kinds().iter().any(is) || wk_cluster::kinds_in(self).iter().any(is)
    }
}

/// Reads the path of a URL, still percent-encoded.
pub(crate) fn route(path: &str, served: &impl Served) -> Route {
    if let Some(rest) = path.strip_prefix("/v2/") {
        return Route::Modules(rest.to_owned());
    }
    if path == "/" {
        return Route::Root;
    }
    let (path, below) = split_proxy(path);
    match within(path, served) {
        Route::Resource(target) => Route::Resource(Target { below: below.to_owned(), ..target }),
        other => other,
    }
}

/// Cuts a path behind its `/proxy`: what follows is any path at all, and none of ours.
fn split_proxy(path: &str) -> (&str, &str) {
    let starts: Vec<usize> = path.match_indices('/').map(|(at, _)| at).take(SEGMENTS_MAX).collect();
    let end = |index: usize| starts.get(index + 1).copied().unwrap_or(path.len());
    let segment = |index: usize| starts.get(index).map_or("", |start| &path[start + 1..end(index)]);
    let cut = match [segment(0), segment(1), segment(2), segment(4), segment(6)] {
        ["api", "v1", "nodes", "proxy", _] => end(4),
        ["api", "v1", "namespaces", "pods" | "services", "proxy"] => end(6),
        _ => path.len(),
    };
    path.split_at(cut)
}

/// Reads a path without what follows a `/proxy`.
fn within(path: &str, served: &impl Served) -> Route {
    let Some(segments) = segments(path) else { return Route::Nowhere };
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    match segments.as_slice() {
        ["healthz" | "livez" | "readyz"] => Route::Health(Probe::of(segments[0]), None),
        ["healthz" | "livez" | "readyz", check] => {
            let probe = Probe::of(segments[0]);
            let known = probe.checks().iter().find(|known| *known == check);
            known.map_or(Route::Nowhere, |known| Route::Health(probe, Some(*known)))
        }
        ["version"] => Route::Version,
        [".well-known", "openid-configuration"] => Route::OpenIdConfiguration,
        ["openid", "v1", "jwks"] => Route::OpenIdKeys,
        ["apis", "wk.dev", "v1", "users"] => Route::People(None),
        ["apis", "wk.dev", "v1", "users", name] => Route::People(Some((*name).to_owned())),
        ["apis", "wk.dev", "v1", "certificates"] => Route::Certificates(None),
        ["apis", "wk.dev", "v1", "certificates", serial] => Route::Certificates(Some((*serial).to_owned())),
        ["apis", "wk.dev", "v1", "signingkeys"] => Route::SigningKeys(None),
        ["apis", "wk.dev", "v1", "signingkeys", id] => Route::SigningKeys(Some((*id).to_owned())),
        ["v2"] => Route::Modules(String::new()),
        ["api"] => Route::Discovery(Document::CoreVersions),
        ["apis"] => Route::Discovery(Document::Groups),
        ["openapi", "v2"] => Route::OpenApi(Place::Everything),
        ["openapi", "v3"] => Route::OpenApi(Place::Index),
        ["openapi", "v3", "api", version] => openapi("", version),
        ["openapi", "v3", "apis", group, version] if !group.is_empty() => openapi(group, version),
        ["apis", group] if served.has(group, None) => Route::Discovery(Document::Group((*group).to_owned())),
        ["api", version, rest @ ..] => in_version(served, "", version, rest),
        ["apis", group, version, rest @ ..] if !group.is_empty() => in_version(served, group, version, rest),
        _ => Route::Nowhere,
    }
}

/// The path's segments, decoded; None when it cannot be one of ours.
fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<_> = path
        .split('/')
        .take(SEGMENTS_MAX + 1)
        .map(|segment| {
            let text = percent_decode_str(segment).decode_utf8().ok()?;
            // An encoded slash or a dot segment would let one name pass for another.
            let honest = !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '%', '\0']);
            honest.then_some(text)
        })
        .collect::<Option<_>>()?;
    (segments.len() <= SEGMENTS_MAX).then_some(segments)
}

fn openapi(group: &str, version: &str) -> Route {
    Route::OpenApi(Place::Version { group: group.to_owned(), version: version.to_owned() })
}

fn in_version(served: &impl Served, group: &str, version: &str, rest: &[&str]) -> Route {
    if !served.has(group, Some(version)) || (group.is_empty() && version != "v1") {
        return Route::Nowhere;
    }
    let found = |plural: &str, namespace: Option<&str>, name: Option<&str>, subresource: Option<&str>| {
        let Some(kind) = served.find(group, version, plural) else { return Route::NoSuchResource };
        let fits = match kind.scope {
            Scope::Cluster => namespace.is_none(),
            // Over all namespaces there are only lists.
            Scope::Namespaced => namespace.is_some() || name.is_none(),
        };
        if !fits {
            return Route::NoSuchResource;
        }
        let [namespace, name, subresource] = [namespace, name, subresource].map(|text| text.map(str::to_owned));
        Route::Resource(Target { kind, namespace, name, subresource, below: String::new() })
    };
    match rest {
        [] => Route::Discovery(Document::Resources { group: group.to_owned(), version: version.to_owned() }),
        ["namespaces", name, subresource @ ("status" | "finalize")] if group.is_empty() => {
            found("namespaces", None, Some(name), Some(subresource))
        }
        ["namespaces", namespace, plural] => found(plural, Some(namespace), None, None),
        ["namespaces", namespace, plural, name] => found(plural, Some(namespace), Some(name), None),
        ["namespaces", namespace, plural, name, subresource] => {
            found(plural, Some(namespace), Some(name), Some(subresource))
        }
        [plural] => found(plural, None, None, None),
        [plural, name] => found(plural, None, Some(name), None),
        [plural, name, subresource] => found(plural, None, Some(name), Some(subresource)),
        _ => Route::NoSuchResource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct BuiltIn;

    impl Served for BuiltIn {
        fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
            Kind::find(group, version, plural)
        }

        fn has(&self, group: &str, version: Option<&str>) -> bool {
            kinds().iter().any(|kind| kind.group == group && version.is_none_or(|version| kind.version == version))
        }
    }

    fn route(path: &str) -> Route {
        super::route(path, &BuiltIn)
    }

    fn target(path: &str) -> Target {
        match route(path) {
            Route::Resource(target) => target,
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        let pods = target("/api/v1/pods");
        assert_eq!((pods.kind.plural, pods.namespace, pods.name), ("pods", None, None));
        let pod = target("/api/v1/namespaces/a/pods/web%2D1/log");
        assert_eq!(pod.namespace.as_deref(), Some("a"));
        assert_eq!(pod.name.as_deref(), Some("web-1"));
        assert_eq!(pod.subresource.as_deref(), Some("log"));
        let scale = target("/apis/apps/v1/namespaces/a/deployments/web/scale");
        assert_eq!((scale.kind.kind, scale.subresource.as_deref()), ("Deployment", Some("scale")));
        let namespace = target("/api/v1/namespaces/a");
        assert_eq!((namespace.kind.kind, namespace.name.as_deref()), ("Namespace", Some("a")));
        let status = target("/api/v1/namespaces/a/status");
        assert_eq!((status.kind.kind, status.subresource.as_deref()), ("Namespace", Some("status")));
        assert_eq!(target("/api/v1/nodes/n1/").kind.kind, "Node");
    }

    #[test]
    fn whatever_follows_a_proxy_is_kept_as_it_came() {
        for (path, name, below) in [
            (
                "/api/v1/namespaces/a/services/http:web:80/proxy/x%2F../a//b/c/d/e/f/",
                "http:web:80",
                "/x%2F../a//b/c/d/e/f/",
            ),
            ("/api/v1/namespaces/a/pods/web-1:8080/proxy/", "web-1:8080", "/"),
            ("/api/v1/namespaces/a/pods/web-1/proxy", "web-1", ""),
            ("/api/v1/nodes/n1:10250/proxy/proxy/metrics", "n1:10250", "/proxy/metrics"),
        ] {
            let found = target(path);
            assert_eq!(found.subresource.as_deref(), Some("proxy"), "{path}");
            assert_eq!((found.name.as_deref(), found.below.as_str()), (Some(name), below), "{path}");
        }
        assert_eq!(target("/api/v1/namespaces/a/pods/proxy").name.as_deref(), Some("proxy"));
        assert_eq!(route("/api/v1/namespaces/../pods/a/proxy/x"), Route::Nowhere);
    }

    #[test]
    fn what_is_not_served_is_told_apart_from_what_does_not_exist() {
        for path in ["/apis/example.com/v1/things", "/apis/apps/v9/deployments", "/api/v2", "", "/metrics", "/x/../api"]
        {
            assert_eq!(route(path), Route::Nowhere, "{path}");
        }
        for path in ["/api/v1/gizmos", "/api/v1/pods/a", "/api/v1/namespaces/a/nodes", "/apis/apps/v1/pods"] {
            assert_eq!(route(path), Route::NoSuchResource, "{path}");
        }
    }

    #[test]
    fn encoded_slashes_and_dots_are_no_way_into_another_namespace() {
        for path in ["/api/v1/namespaces/a/pods/..%2f..%2fb", "/api/v1/namespaces/%2e%2e/pods", "/api//v1/pods"] {
            assert_eq!(route(path), Route::Nowhere, "{path}");
        }
    }
}

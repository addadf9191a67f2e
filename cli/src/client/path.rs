//! Paths of the Kubernetes API.

/// A kind of object as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// API group; empty for the core group.
    pub(crate) group: String,
    /// API version within the group.
    pub(crate) version: String,
    /// The kind, such as `Deployment`.
    pub(crate) kind: String,
    /// The name in paths, such as `deployments`.
    pub(crate) plural: String,
    /// The name in messages, such as `deployment`.
    pub(crate) singular: String,
    /// Such as `deploy`.
    pub(crate) short_names: Vec<String>,
    /// Such as `all`.
    pub(crate) categories: Vec<String>,
    /// Whether its objects are in namespaces.
    pub(crate) namespaced: bool,
    /// Whether it can be listed at all.
    pub(crate) listable: bool,
    /// What can be done with it, such as `create`.
    pub(crate) verbs: Vec<String>,
    /// Such as `scale`.
    pub(crate) subresources: Vec<String>,
}

impl Resource {
    /// A namespaced resource that `wk` itself works with.
    pub(crate) fn known(group: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_ascii_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            listable: true,
            verbs: Vec::new(),
            subresources: Vec::new(),
        }
    }

    /// Pods.
    pub(crate) fn pods() -> Self {
        Self::known("", "Pod", "pods")
    }

    /// Deployments.
    pub(crate) fn deployments() -> Self {
        Self::known("apps", "Deployment", "deployments")
    }

    /// Services.
    pub(crate) fn services() -> Self {
        Self::known("", "Service", "services")
    }

    /// Ingresses.
    pub(crate) fn ingresses() -> Self {
        Self::known("networking.k8s.io", "Ingress", "ingresses")
    }

    /// Events.
    pub(crate) fn events() -> Self {
        Self::known("", "Event", "events")
    }

    /// Nodes.
    pub(crate) fn nodes() -> Self {
        Self { namespaced: false, ..Self::known("", "Node", "nodes") }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection; of all namespaces if none is given.
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}", self.api_version())
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", segment(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The path of one object.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), segment(name))
    }

    /// `deployment.apps/web`, as scripts read it.
    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("{}/{name}", self.label())
    }

    /// `deployment.apps`.
    pub(crate) fn label(&self) -> String {
        if self.group.is_empty() { self.singular.clone() } else { format!("{}.{}", self.singular, self.group) }
    }
}

/// Escapes what must not appear in a path segment.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2D", "-")
        .replace("%2E", ".")
        .replace("%5F", "_")
}

/// A query string in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a parameter if there is a value.
    pub(crate) fn maybe<T: ToString>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(name, &value.to_string()),
            None => self,
        }
    }

    /// Appends the query to a path.
    pub(crate) fn on(self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(self.0).finish();
        format!("{path}?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        assert_eq!(Resource::pods().collection(None), "/api/v1/pods");
        assert_eq!(Resource::pods().object("a", "b"), "/api/v1/namespaces/a/pods/b");
        assert_eq!(Resource::deployments().object("a", "b"), "/apis/apps/v1/namespaces/a/deployments/b");
        assert_eq!(Resource::nodes().object("a", "n1"), "/api/v1/nodes/n1");
        assert_eq!(Resource::deployments().qualified("web"), "deployment.apps/web");
    }

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(Resource::pods().object("a", "../x?y"), "/api/v1/namespaces/a/pods/..%2Fx%3Fy");
        assert_eq!(Query::default().with("labelSelector", "a=b,c").on("/p"), "/p?labelSelector=a%3Db%2Cc");
        assert_eq!(Query::default().maybe::<u32>("tail", None).on("/p"), "/p");
    }
}

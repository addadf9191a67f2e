//! What somebody wants to do, and the answer. Names only: whether such a kind is served does not matter to roles.

/// Something that a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Something with objects.
    Resource(Resource<'a>),
    /// A request for a path that is no resource.
    Path {
        /// The method in lower case.
        verb: &'a str,
        /// The path.
        path: &'a str,
    },
}

/// Something that a caller wants to do with objects. What is empty is not meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    /// `get`, `list`, `impersonate`, …
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural of the kind.
    pub resource: &'a str,
    /// `status`, `log`, …
    pub subresource: &'a str,
    /// In which namespace; empty for all, and for cluster-wide kinds.
    pub namespace: &'a str,
    /// Which one; empty for collections.
    pub name: &'a str,
    /// The field selector of a list, as it was sent.
    pub fields: &'a str,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, where there is something to say.
    pub reason: String,
}

impl<'a> Ask<'a> {
    /// `verb` on a kind, everywhere.
    pub fn resource(verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self::Resource(Resource { verb, group, resource, ..Resource::default() })
    }

    /// The same in one namespace. A path has none.
    #[must_use]
    pub fn within(self, namespace: &'a str) -> Self {
        match self {
            Self::Resource(resource) => Self::Resource(Resource { namespace, ..resource }),
            Self::Path { .. } => self,
        }
    }

    /// The same for one object. A path has none.
    #[must_use]
    pub fn named(self, name: &'a str) -> Self {
        match self {
            Self::Resource(resource) => Self::Resource(Resource { name, ..resource }),
            Self::Path { .. } => self,
        }
    }

    /// Kubernetes' words for somebody who may not do this.
    pub fn refusal(&self, user: &str) -> String {
        match *self {
            Self::Path { verb, path } => format!("User {user:?} cannot {verb} path {path:?}"),
            Self::Resource(ask) => {
                let scope = match ask.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let (verb, resource, group) = (ask.verb, ask.path(), ask.group);
                format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}")
            }
        }
    }
}

impl Resource<'_> {
    /// `pods`, `pods/log`.
    pub fn path(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

impl Decision {
    /// Yes.
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }

    /// No.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

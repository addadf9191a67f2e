//! Who holds which rules, by subject: a decision looks at the caller's own bindings and at no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use wk_api::Object;

use super::GROUP;
use super::rule::Rule;
use crate::ask::{Ask, Decision};
use crate::user::{SERVICE_ACCOUNT_PREFIX, User};

/// All roles and bindings of a cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Rbac {
    users: BTreeMap<String, Vec<Grant>>,
    groups: BTreeMap<String, Vec<Grant>>,
    roles: Roles,
}

/// Makes an [`Rbac`] of objects, in any order.
#[derive(Debug, Default)]
pub struct Builder {
    roles: Roles,
    bindings: Vec<(String, Object)>,
}

/// Rules by namespace ("" for ClusterRoles) and name.
type Roles = BTreeMap<(String, String), Arc<[Rule]>>;

/// What one binding gives one subject.
#[derive(Debug, Clone)]
struct Grant {
    /// Where it holds; None everywhere.
    namespace: Option<Arc<str>>,
    /// The role's rules; None while there is no such role.
    rules: Option<Arc<[Rule]>>,
    /// `ClusterRoleBinding "x" of ClusterRole "y" to User "z"`.
    what: Arc<str>,
    /// What to say while there is no such role.
    dangling: Arc<str>,
}

impl Builder {
    /// Takes a Role or, when it has no namespace, a ClusterRole.
    pub fn role(&mut self, role: &Object) {
        let rules = Rule::list(role.at("/rules").unwrap_or(&Value::Null));
        self.roles.insert((role.namespace().to_owned(), role.name().to_owned()), rules.into());
    }

    /// Takes a RoleBinding or, when it has no namespace, a ClusterRoleBinding.
    pub fn binding(&mut self, binding: &Object) {
        self.bindings.push((binding.namespace().to_owned(), binding.clone()));
    }

    /// The finished index.
    pub fn finish(self) -> Rbac {
        let mut rbac = Rbac { roles: self.roles, ..Rbac::default() };
        for (namespace, binding) in &self.bindings {
            rbac.bind(namespace, binding);
        }
        rbac
    }
}

impl Rbac {
    /// An empty index to fill.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn bind(&mut self, namespace: &str, binding: &Object) {
        let (kind, name) = (binding.text("/roleRef/kind"), binding.text("/roleRef/name"));
        // A Role is looked for beside its binding; a ClusterRoleBinding cannot name one.
        let home = match kind {
            "ClusterRole" => "",
            "Role" if !namespace.is_empty() => namespace,
            _ => return,
        };
        let rules = self.roles.get(&(home.to_owned(), name.to_owned())).cloned();
        let (what, place) = match namespace {
            "" => ("ClusterRoleBinding", binding.name().to_owned()),
            namespace => ("RoleBinding", format!("{}/{namespace}", binding.name())),
        };
        let dangling: Arc<str> = format!("{}.{GROUP} {name:?} not found", kind.to_lowercase()).into();
        let scope: Option<Arc<str>> = (!namespace.is_empty()).then(|| namespace.into());
        for subject in binding.items("/subjects") {
            let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
            let (subject_kind, subject_name) = (text("kind"), text("name"));
            let described = match subject_kind {
                "ServiceAccount" => format!("{subject_name}/{}", text("namespace")),
                _ => subject_name.to_owned(),
            };
            let grant = Grant {
                namespace: scope.clone(),
                rules: rules.clone(),
                what: format!("{what} {place:?} of {kind} {name:?} to {subject_kind} {described:?}").into(),
                dangling: Arc::clone(&dangling),
            };
            let holders = match subject_kind {
                "User" => self.users.entry(subject_name.to_owned()),
                "Group" => self.groups.entry(subject_name.to_owned()),
                "ServiceAccount" => {
                    let home = match text("namespace") {
                        "" => namespace,
                        home => home,
                    };
                    self.users.entry(format!("{SERVICE_ACCOUNT_PREFIX}{home}:{subject_name}"))
                }
                _ => continue,
            };
            holders.or_default().push(grant);
        }
    }

    /// The caller's grants that hold in `namespace` (empty: those that hold everywhere).
    fn grants<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let own = self.users.get(&user.name).into_iter();
        let of_groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        own.chain(of_groups)
            .flatten()
            .filter(move |grant| grant.namespace.as_deref().is_none_or(|own| own == namespace && !own.is_empty()))
    }

    /// Whether `user` may do this.
    pub fn decide(&self, user: &User, ask: &Ask<'_>) -> Decision {
        let namespace = match ask {
            Ask::Resource(ask) => ask.namespace,
            Ask::Path { .. } => "",
        };
        let mut dangling: Vec<&str> = Vec::new();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Some(rules) if rules.iter().any(|rule| rule.allows(ask)) => {
                    return Decision::allow(format!("RBAC: allowed by {}", grant.what));
                }
                None if !dangling.contains(&&*grant.dangling) => dangling.push(&grant.dangling),
                Some(_) | None => {}
            }
        }
        Decision::deny(match dangling.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        })
    }

    /// Every rule that `user` holds in `namespace` (empty: everywhere).
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.grants(user, namespace).filter_map(|grant| grant.rules.as_ref()).flat_map(|rules| rules.to_vec()).collect()
    }

    /// The rules of a role; None when there is none. A ClusterRole has no namespace.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&[Rule]> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(|rules| &**rules)
    }
}

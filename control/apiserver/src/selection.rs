//! Which objects of a collection a list, a watch or a deletion is about.

use std::sync::Arc;

use wk_api::custom::convert;
use wk_api::selector::{Fields, Labels};
use wk_api::{Kind, Object, Status};
use wk_cluster::{Cluster, Watch, brief, label_hash};
use wk_store::{Revision, Stored, View};

use crate::query::Query;
use crate::route::Target;

/// A kind, a namespace, and what the selectors say.
#[derive(Clone)]
pub(crate) struct Selection {
    pub kind: &'static Kind,
    pub namespace: Option<String>,
    labels: Labels,
    /// The labels that every selected object has, as briefs know them.
    terms: Vec<u64>,
    /// What is asked of objects as they are stored.
    fields: Fields,
    /// What is asked of them in the version of `kind`, where a webhook makes it of what is stored.
    converted: Option<Fields>,
}

impl Selection {
    pub(crate) fn parse(target: &Target, query: &Query) -> Result<Self, Status> {
        let labels = Labels::parse(query.text("labelSelector"))?;
        let asked = Fields::parse(target.kind, query.text("fieldSelector"))?;
        let by_webhook = convert::asks_webhook(target.kind) && asked.are_of_a_version();
        let (fields, converted) = if by_webhook { (asked.of_every_version(), Some(asked)) } else { (asked, None) };
        Ok(Self {
            kind: target.kind,
            namespace: target.namespace.clone(),
            terms: labels.equalities().map(|(key, value)| label_hash(key, value)).collect(),
            labels,
            fields,
            converted,
        })
    }

    /// Whether the selectors let everything through.
    pub(crate) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.converted.is_none()
    }

    /// What else is asked of an object when it is converted.
    pub(crate) fn converted(&self) -> Option<&Fields> {
        self.converted.as_ref()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.fields.matches(object) && (self.labels.is_empty() || self.labels.matches(&object.labels()))
    }

    /// What the selected objects' names in the store begin with.
    fn prefix(&self) -> String {
        let name = self.fields.name();
        match (&self.namespace, name) {
            // A whole name is a prefix too, and a short walk.
            (Some(namespace), name) => format!("{namespace}/{}", name.unwrap_or_default()),
            (None, Some(name)) if self.kind.scope == wk_api::Scope::Cluster => name.to_owned(),
            (None, _) => String::new(),
        }
    }

    /// The objects of the namespace in `view` whose names in the store come after `after`, selected or not.
    pub(crate) fn walk<'a>(&self, view: &'a View, after: Option<&str>) -> impl Iterator<Item = Arc<Stored>> + use<'a> {
        view.list_after(self.kind.collection(), &self.prefix(), after)
    }

    /// The changes of objects that may be selected before or after them, from just after `after`.
    pub(crate) fn watch(&self, cluster: &Cluster, after: Revision) -> Result<Watch, Status> {
        cluster.watch_selected(self.kind, self.namespace.as_deref(), &self.labels, &self.fields, after)
    }

    /// Whether the selectors let `stored` through. Decodes it only if they look at it, and its brief does not tell.
    pub(crate) fn admits(&self, stored: &Stored) -> bool {
        self.is_all() || self.may_match(stored) && self.matches(&wk_cluster::object(stored))
    }

    /// Of thousands of objects a selector usually wants a few.
    fn may_match(&self, stored: &Stored) -> bool {
        self.terms.is_empty() || {
            let brief = brief(stored);
            self.terms.iter().all(|term| brief.labels().any(|label| label == *term))
        }
    }
}

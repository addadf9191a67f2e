//! How the commands that write do it: the query of a write, dry runs, and the line or the object printed after it.

use http::Method;
use serde_json::Value;

use super::pick::{Picked, hinted};
use crate::args::{DryRun, WriteArgs};
use crate::client::{Client, Payload, Query, Resource};
use crate::render::{Ui, without_managed_fields};

/// Writes as the options say.
pub(super) struct Writing<'a> {
    pub(super) client: &'a Client,
    pub(super) args: &'a WriteArgs,
}

impl Writing<'_> {
    /// The parameters every write carries.
    pub(super) fn query(&self) -> Query {
        let query = Query::default().with("fieldManager", &self.args.field_manager).with("fieldValidation", "Strict");
        if self.args.dry_run == DryRun::Server { query.with("dryRun", "All") } else { query }
    }

    /// Creates an object.
    pub(super) async fn create(&self, resource: &Resource, namespace: &str, object: &Value) -> anyhow::Result<Value> {
        if self.args.dry_run == DryRun::Client {
            return Ok(object.clone());
        }
        let path = self.query().on(&resource.collection(Some(namespace)));
        self.client.send(Method::POST, &path, Payload::json(object)).await
    }

    /// Changes an object by a JSON merge patch.
    pub(super) async fn merge(&self, picked: &Picked, live: &Value, patch: &Value) -> anyhow::Result<Value> {
        if self.args.dry_run == DryRun::Client {
            let mut changed = live.clone();
            json_patch::merge(&mut changed, patch);
            return Ok(changed);
        }
        self.send(picked, Method::PATCH, None, Payload::merge_patch(patch)).await
    }

    /// Puts a changed object in the place of the one it was made of; refused if that has changed meanwhile.
    pub(super) async fn replace(&self, picked: &Picked, object: &Value) -> anyhow::Result<Value> {
        if self.args.dry_run == DryRun::Client {
            return Ok(object.clone());
        }
        self.send(picked, Method::PUT, None, Payload::json(object)).await
    }

    /// Sends anything to an object or a subresource of it.
    pub(super) async fn send(
        &self,
        picked: &Picked,
        method: Method,
        subresource: Option<&str>,
        payload: Payload,
    ) -> anyhow::Result<Value> {
        let mut path = picked.path();
        if let Some(subresource) = subresource {
            path = format!("{path}/{subresource}");
        }
        let sent = self.client.send(method, &self.query().on(&path), payload).await;
        hinted(self.client, picked, sent).await
    }

    /// Tells what was done, or prints the object if `-o` asks for it.
    pub(super) fn report(&self, resource: &Resource, object: Value, verb: &str, ui: &mut Ui) -> anyhow::Result<()> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let qualified = resource.qualified(name);
        self.tell(&qualified, object, verb, ui)
    }

    /// The same for an object whose `KIND/NAME` is known.
    pub(super) fn tell(&self, qualified: &str, mut object: Value, verb: &str, ui: &mut Ui) -> anyhow::Result<()> {
        let Some(output) = &self.args.print.output else {
            return ui.line(&format!("{qualified} {verb}{}", self.tried()));
        };
        if !self.args.print.show_managed_fields {
            without_managed_fields(&mut object);
        }
        let text = output.text(vec![(qualified.to_owned(), object)], true, ui.colour())?;
        ui.data(text.as_bytes())
    }

    /// What a line says of a dry run.
    pub(super) fn tried(&self) -> &'static str {
        match self.args.dry_run {
            DryRun::None => "",
            DryRun::Client => " (dry run)",
            DryRun::Server => " (server dry run)",
        }
    }
}

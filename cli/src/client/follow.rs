//! Following a collection: list, then watch, then again from where it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::{Client, JSON, Lines, Query, refusal};

/// Pause before asking again after the connection broke: a peer's restart takes about a second.
const PAUSE: Duration = Duration::from_millis(300);

/// How often in a row the server may fail to answer before following gives up.
const FAILURES_MAX: u32 = 20;

/// The objects of a collection, kept up to date.
///
/// `changed` can be given up at any time (in a `select!`) without losing a change.
pub(crate) struct Follow {
    client: Client,
    path: String,
    selector: Selector,
    /// The objects by `namespace/name`.
    items: BTreeMap<String, Value>,
    /// Where to go on watching; `None` means list first.
    after: Option<String>,
    stream: Option<Lines>,
    failures: u32,
}

/// Which objects of the collection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
}

impl Selector {
    fn query(&self) -> Query {
        Query::default().maybe("labelSelector", self.labels.as_deref()).maybe("fieldSelector", self.fields.as_deref())
    }
}

impl Follow {
    /// Follows the one object of this name.
    pub(crate) fn object(client: &Client, collection: String, name: &str) -> Self {
        let fields = Some(format!("metadata.name={name}"));
        Self::new(client, collection, Selector { labels: None, fields })
    }

    /// Follows the objects with these labels.
    pub(crate) fn labelled(client: &Client, collection: String, labels: &str) -> Self {
        Self::new(client, collection, Selector { labels: Some(labels.to_owned()), fields: None })
    }

    fn new(client: &Client, path: String, selector: Selector) -> Self {
        let client = client.clone();
        Self { client, path, selector, items: BTreeMap::new(), after: None, stream: None, failures: 0 }
    }

    /// The objects as last seen.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Value> {
        self.items.values()
    }

    /// Waits for the next change; the first call returns with the first list.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        loop {
            let step = self.step().await;
            match step {
                Ok(true) => {
                    self.failures = 0;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) if self.failures < FAILURES_MAX && is_passing(&error) => {
                    self.failures += 1;
                    self.stream = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One request or one event; whether the objects may have changed.
    async fn step(&mut self) -> anyhow::Result<bool> {
        let Some(after) = self.after.clone() else {
            let list = self.client.get(&self.selector.query().on(&self.path), JSON).await?;
            self.after = Some(text(&list, "/metadata/resourceVersion"));
            let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            self.items = items.into_iter().map(|item| (key(&item), item)).collect();
            return Ok(true);
        };
        let Some(stream) = &mut self.stream else {
            let query = self.selector.query().with("watch", "true").with("allowWatchBookmarks", "true");
            let path = query.with("resourceVersion", &after).on(&self.path);
            match self.client.stream(&path, JSON).await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) if is_gone(&error) => self.after = None,
                Err(error) => return Err(error),
            }
            return Ok(false);
        };
        let Some(line) = stream.next().await? else {
            self.stream = None;
            // Streams that end at once must not become a busy loop.
            tokio::time::sleep(PAUSE).await;
            return Ok(false);
        };
        let event: Value = super::decode(&line)?;
        Ok(self.apply(event))
    }

    fn apply(&mut self, mut event: Value) -> bool {
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind == "ERROR" {
            // Whatever the error, a fresh list is right; 410 is the usual one.
            self.after = None;
            self.stream = None;
            return false;
        }
        self.after = Some(text(&object, "/metadata/resourceVersion"));
        match kind {
            "ADDED" | "MODIFIED" => {
                self.items.insert(key(&object), object);
                true
            }
            "DELETED" => self.items.remove(&key(&object)).is_some(),
            _ => false,
        }
    }
}

/// Whether waiting may help: the server cannot be reached, or cannot answer just now.
fn is_passing(error: &anyhow::Error) -> bool {
    match refusal(error) {
        Some(refusal) => refusal.status.is_server_error() || refusal.status == StatusCode::TOO_MANY_REQUESTS,
        None => crate::exit::code_of(error) == crate::exit::Code::Unreachable,
    }
}

/// Whether the server has forgotten the history asked for.
pub(crate) fn is_gone(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == StatusCode::GONE)
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn key(object: &Value) -> String {
    format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

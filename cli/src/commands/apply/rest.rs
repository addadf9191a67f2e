//! What else is wrong with a refused object. A server stops at the first value of a wrong type; it is asked again, without
//! effect and without what is known to be wrong, until it finds nothing new.

use http::Method;
use serde_json::Value;

use super::Placed;
use crate::client::{Payload, Query, Refusal, refusal};
use crate::commands::writing::Writing;
use crate::manifest::Fault;

/// Questions about one object: somebody with more mistakes of this sort finds the others next time.
const ROUNDS: usize = 8;

/// All that is wrong with `object`, beginning with what `first` says.
pub(super) async fn faults(writing: &Writing<'_>, object: &mut Placed<'_>, first: &Refusal) -> Vec<Fault> {
    let mut found: Vec<Fault> = Vec::new();
    let mut refused = first.clone();
    for _ in 0..ROUNDS {
        let news: Vec<Fault> = object.document.refused(&refused);
        // What was taken out is missing now, and what was below it too.
        let is_new = |fault: &Fault| !found.iter().any(|known| covers(&known.field, &fault.field));
        let news: Vec<Fault> = news.into_iter().filter(is_new).collect();
        let fields: Vec<&str> =
            news.iter().map(|fault| fault.field.as_str()).filter(|field| !field.is_empty()).collect();
        // Validation tells everything at once, and what is about no field cannot be taken out.
        let again = refused.faults.is_empty() && !fields.is_empty();
        let mut taken = false;
        for field in fields.iter().filter(|_| again) {
            taken |= object.document.take_out(field);
        }
        if found.is_empty() || refused.status.is_client_error() && refused.reason != "AlreadyExists" {
            found.extend(news);
        }
        if !taken {
            break;
        }
        match ask(writing, object).await {
            Ok(()) => break,
            Err(error) => match refusal(&error) {
                // Of a name that is taken, and of a right that is missing, the first answer has spoken.
                Some(next) if next.status.as_u16() == 400 || next.status.as_u16() == 422 => refused = next.clone(),
                _ => break,
            },
        }
    }
    found
}

/// Whether `field` is `known` or below it.
fn covers(known: &str, field: &str) -> bool {
    !known.is_empty() && field.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether the object would be taken as it is now.
async fn ask(writing: &Writing<'_>, object: &Placed<'_>) -> anyhow::Result<()> {
    let query = Query::default().with("dryRun", "All").with("fieldValidation", "Strict");
    let path = query.on(&object.resource.collection(Some(&object.namespace)));
    let value: &Value = &object.document.value;
    writing.client.send(Method::POST, &path, Payload::json(value)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_covers_itself_and_what_is_below_it() {
        assert!(covers("data.a", "data.a") && covers("spec", "spec.a") && covers("a", "a[0].b"));
        assert!(!covers("data.a", "data.ab") && !covers("", "a") && !covers("a.b", "a"));
    }
}

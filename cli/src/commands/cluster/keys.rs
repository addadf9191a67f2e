//! `wk cluster keys`: what signs service accounts' tokens.

use http::Method;
use serde_json::{Value, json};

use crate::args::{KeysArgs, KeysCommand, StructuredFormat};
use crate::client::{Client, JSON, Payload};
use crate::exit::{Code, ExitError};
use crate::render::{Ui, json as json_text, plain, yaml};

/// Where they are.
const PATH: &str = "/apis/wk.dev/v1/signingkeys";
/// Characters of a key's id that are shown: of 43 random ones these are enough to tell hundreds of keys apart.
const ID_SHOWN: usize = 12;

/// Lists, rotates or forgets.
pub(super) async fn run(client: &Client, args: &KeysArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match &args.command {
        KeysCommand::List(args) => {
            let keys = client.get(PATH, JSON).await?;
            let text = match args.output {
                None => table(&keys, ui.colour()),
                Some(StructuredFormat::Json) => json_text(&keys)?,
                Some(StructuredFormat::Yaml) => yaml(&keys)?,
            };
            ui.data(text.as_bytes())
        }
        KeysCommand::Rotate(args) => {
            let keys = client.send(Method::POST, PATH, Payload::json(&json!({ "now": args.now }))).await?;
            let next = items(&keys).iter().find(|key| key["role"] == "next");
            let (id, when) = next.map_or_else(Default::default, |key| (short(key), time(&key["signs"])));
            ui.line(&format!(
                "key {id} is published and signs from {when}; the old one stays until its tokens have ended"
            ))
        }
        KeysCommand::Forget(args) => {
            let keys = client.get(PATH, JSON).await?;
            let id = chosen(&keys, &args.key)?;
            client.exchange(&Method::DELETE, &format!("{PATH}/{id}"), JSON, None).await?;
            ui.line(&format!("key {} is forgotten; tokens that it signed are refused", args.key))
        }
    }
}

fn items(keys: &Value) -> &[Value] {
    keys["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The one key whose id begins like this.
fn chosen<'a>(keys: &'a Value, begin: &str) -> Result<&'a str, ExitError> {
    let ids = items(keys).iter().filter_map(|key| key["id"].as_str());
    let found: Vec<&str> = ids.filter(|id| id.starts_with(begin)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(ExitError::new(Code::NotFound, format!("no key begins with {begin:?}; see wk cluster keys list"))),
        _ => Err(ExitError::new(Code::Usage, format!("several keys begin with {begin:?}; say more of it"))),
    }
}

fn table(keys: &Value, colour: bool) -> String {
    let row = |key: &Value| {
        let kept = match (key["role"].as_str(), key["secrets"].as_u64()) {
            (Some("retired"), Some(count @ 1..)) => format!("{count} Secrets hold its tokens"),
            (Some("retired"), _) => time(&key["until"]),
            _ => "-".to_owned(),
        };
        let role = key["role"].as_str().unwrap_or("-").to_owned();
        vec![short(key), role, time(&key["created"]), time(&key["signs"]), time(&key["retired"]), kept]
    };
    let rows: Vec<Vec<String>> = items(keys).iter().map(row).collect();
    plain(&["KEY", "ROLE", "CREATED", "SIGNS FROM", "RETIRED", "KEPT UNTIL"], &rows, colour)
}

fn short(key: &Value) -> String {
    key["id"].as_str().unwrap_or_default().chars().take(ID_SHOWN).collect()
}

/// To the minute.
fn time(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| text.chars().take(16).collect::<String>().replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_named_by_as_much_as_tells_it_apart() {
        let keys = json!({ "items": [{ "id": "abc1" }, { "id": "abd2" }] });
        assert_eq!(chosen(&keys, "abd").ok(), Some("abd2"));
        assert!(chosen(&keys, "ab").is_err() && chosen(&keys, "x").is_err());
    }

    #[test]
    fn table_says_what_keeps_an_old_key() {
        let keys = json!({ "items": [
            { "id": "old", "role": "retired", "until": "2026-11-22T03:04:05Z", "secrets": 2 },
            { "id": "new", "role": "signs", "signs": "2026-11-22T03:04:05Z", "secrets": 0 },
        ] });
        let text = table(&keys, false);
        assert!(text.contains("2 Secrets hold its tokens") && text.contains("2026-11-22 03:04"), "{text}");
    }
}

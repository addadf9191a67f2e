//! Members of JSON objects as they stand in the text, without decoding it.
//!
//! For text that was encoded here: what is no JSON is not found out, it only yields nothing of use.

/// The text of the member `name` of the object that `text` is; None when it has none.
pub fn member<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    // Names of ours are plain: what is escaped is another one.
    members(text).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
}

/// The members of the object that `text` is: their names as they are written, and the text of their values.
pub fn members(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text.strip_prefix(b"{");
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let key = value_length(all)?;
        let value = all.get(key..)?.strip_prefix(b":")?;
        let length = value_length(value)?;
        rest = value.get(length..)?.strip_prefix(b",");
        Some((all.get(1..key - 1)?, value.get(..length)?))
    })
}

/// The bytes of the JSON value that `text` begins with; None when it does not end. It has no white space.
pub(crate) fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_length(text),
        b'{' | b'[' => nested_length(text),
        // A number, or a word.
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':');
            Some(text.iter().position(ends)?.max(1))
        }
    }
}

/// The bytes of the object or list that `text` begins with: of what is in it, only where strings end is looked for.
fn nested_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        match text.get(at)? {
            b'"' => {
                at += string_length(&text[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The bytes of the string that `text` begins with, with its quotes.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn each_member_is_found_as_it_stands_there() {
        let value = json!({
            "a": 1, "b": "x\"},{\\", "c": {"metadata": [1, {"}": "]"}, []]}, "d": [], "e": {}, "f": null, "g": -1.5e9,
            "metadata": {"name": "web", "labels": {"a": "\\\\\""}}, "z": true,
        });
        let text = value.to_string();
        for (name, member) in value.as_object().expect("an object") {
            let found = super::member(text.as_bytes(), name).expect("it is there");
            assert_eq!(serde_json::from_slice::<Value>(found).expect("JSON"), *member, "{name}");
        }
        assert_eq!(super::member(text.as_bytes(), "labels"), None, "that one is deeper");
        assert_eq!(super::member(b"{}", "a"), None);
    }

    #[test]
    fn what_is_cut_off_has_no_members_and_does_no_harm() {
        let text = r#"{"a":{"b":["c\\",{"d":"e\""}]},"metadata":{"name":"x"}}"#;
        for end in 0..text.len() - 1 {
            assert_eq!(super::member(&text.as_bytes()[..end], "metadata"), None, "{end}");
            let _ = super::member(&text.as_bytes()[end..], "metadata");
        }
        for odd in ["", "{", "[1]", "{]}", "{\"a\"}", "{,}", "{:}", "{\"", "{\"\\", "{1:2}", "{}}"] {
            let _ = super::member(odd.as_bytes(), "a");
        }
    }
}

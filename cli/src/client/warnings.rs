//! What a server warns of, in `Warning` headers (RFC 7234, section 5.5): `299 - "text"`, several to a header if it likes.

use http::{HeaderMap, header};

/// The code of warnings that are for people.
const FOR_PEOPLE: &str = "299";

/// The texts of the warnings of an answer. What is not written as the RFC says is passed over.
pub(super) fn read(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).into_iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values.flat_map(|value| texts(&value)).filter(|text| !text.is_empty()).collect()
}

fn texts(mut rest: &str) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((code, text, after)) = one(rest) {
        if code == FOR_PEOPLE {
            // Nothing of it drives the terminal.
            found.push(text.chars().filter(|c| !c.is_control()).collect());
        }
        rest = after;
    }
    found
}

/// Code and text of the first warning, and what comes after it.
fn one(text: &str) -> Option<(&str, String, &str)> {
    let (code, rest) = text.trim_start_matches([' ', ',']).split_once(' ')?;
    let (_agent, rest) = rest.trim_start().split_once(' ')?;
    let (told, mut rest) = quoted(rest.trim_start())?;
    // A date may follow.
    if let Some((_, after)) = quoted(rest.trim_start()) {
        rest = after;
    }
    Some((code, told, rest))
}

/// A quoted string without its quotes, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut told = String::new();
    let mut letters = inside.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((told, &inside[at + 1..])),
            '\\' => told.push(letters.next()?.1),
            other => told.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(values: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WARNING, value.parse().expect("a value"));
        }
        read(&headers)
    }

    #[test]
    fn warnings_are_read_as_the_rfc_writes_them() {
        assert_eq!(told(&[r#"299 - "unknown field \"a.b\"""#, r#"299 wk "two""#]), [r#"unknown field "a.b""#, "two"]);
        let dated =
            r#"299 - "one, with a comma" "Sun, 06 Nov 1994 08:49:37 GMT", 199 - "not for people", 299 - "three""#;
        assert_eq!(told(&[dated]), ["one, with a comma", "three"]);
        assert!(told(&["299", "299 - unquoted", r#"299 - "open"#, r#"299 - """#, r#"299 - "\"#]).is_empty());
        assert_eq!(told(&["299 - \"a\tb\""]), ["ab"]);
    }
}

//! Expressions as tokens.

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Op(&'static str),
    End,
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "[?", ".?", "==", "!=", "<=", ">=", "&&", "||", "{", "}", "[", "]", "(", ")", ".", ",", ":", "?", "<", ">", "+",
    "-", "*", "/", "%", "!",
];

/// The tokens and where each begins.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        if letter.is_whitespace() {
            at += letter.len_utf8();
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some((token, length)) = literal(rest)? {
            found.push((token, at));
            at += length;
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            found.push((Token::Ident(rest[..end].to_owned()), at));
            at += end;
        } else if letter.is_ascii_digit() || (letter == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let (token, length) = number(rest)?;
            found.push((token, at));
            at += length;
        } else if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
            found.push((Token::Op(operator), at));
            at += operator.len();
        } else {
            // What begins an operator of two letters is told with the one that does not end it.
            let told: String = rest.chars().take(if "=&|".contains(letter) { 2 } else { 1 }).collect();
            return Err(format!("Syntax error: token recognition error at: '{told}' at {at}"));
        }
    }
    found.push((Token::End, text.len()));
    Ok(found)
}

/// A text or bytes, with its prefix.
fn literal(rest: &str) -> Result<Option<(Token, usize)>, String> {
    let prefix = rest.bytes().take(2).take_while(|byte| b"rRbB".contains(byte)).count();
    let (raw, bytes) = (rest[..prefix].contains(['r', 'R']), rest[..prefix].contains(['b', 'B']));
    let body = &rest[prefix..];
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"].iter().find(|quote| body.starts_with(**quote)) else {
        return Ok(None);
    };
    let inner = &body[quote.len()..];
    let mut end = 0;
    let closed = loop {
        let left = &inner[end..];
        if left.starts_with(quote) {
            break true;
        }
        let Some(letter) = left.chars().next() else { break false };
        if quote.len() == 1 && letter == '\n' {
            break false;
        }
        end += letter.len_utf8();
        if letter == '\\' && !raw {
            end += inner[end..].chars().next().map_or(0, char::len_utf8);
        }
    };
    if !closed {
        return Err("unterminated string literal".to_owned());
    }
    let text = if raw { inner[..end].to_owned() } else { unescape(&inner[..end])? };
    let token = if bytes { Token::Bytes(text.into_bytes()) } else { Token::Text(text) };
    Ok(Some((token, prefix + quote.len() * 2 + end)))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        let escaped = letters.next().ok_or("unterminated escape sequence")?;
        let mut coded = |radix: u32, digits: usize, first: &str| -> Result<char, String> {
            let mut number = first.to_owned();
            number.extend(letters.by_ref().take(digits));
            let code = u32::from_str_radix(&number, radix).ok().and_then(char::from_u32);
            code.ok_or_else(|| format!("invalid escape sequence \\{escaped}{number}"))
        };
        plain.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' | '`' | '?' => escaped,
            'x' | 'X' => coded(16, 2, "")?,
            'u' => coded(16, 4, "")?,
            'U' => coded(16, 8, "")?,
            '0'..='3' => coded(8, 2, &escaped.to_string())?,
            other => return Err(format!("invalid escape sequence \\{other}")),
        });
    }
    Ok(plain)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bad = |text: &str| format!("invalid number {text:?}");
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let unsigned = hex[end..].starts_with(['u', 'U']);
        let value = u64::from_str_radix(&hex[..end], 16).map_err(|_| bad(rest))?;
        let token =
            if unsigned { Token::Uint(value) } else { Token::Int(i64::try_from(value).map_err(|_| bad(rest))?) };
        return Ok((token, 2 + end + usize::from(unsigned)));
    }
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(rest);
    let mut whole = true;
    if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        whole = false;
        end += 1;
        end += digits(&rest[end..]);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let length = digits(&rest[end + 1 + sign..]);
        if length > 0 {
            whole = false;
            end += 1 + sign + length;
        }
    }
    let text = &rest[..end];
    if !whole {
        return text.parse().map(|number| (Token::Double(number), end)).map_err(|_| bad(text));
    }
    if rest[end..].starts_with(['u', 'U']) {
        return text.parse().map(|number| (Token::Uint(number), end + 1)).map_err(|_| bad(text));
    }
    // The least of all integers is written with a minus before a number that is none: it loses its last unit.
    text.parse().map(|number| (Token::Int(number), end)).map_err(|_| bad(text))
}

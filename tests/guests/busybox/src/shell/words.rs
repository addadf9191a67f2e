//! Words: how a script is cut into them, and what they stand for.

use std::iter::Peekable;
use std::str::Chars;

use super::{Shell, Wrong};

/// A part of a script. A word is kept as it was written, with its quotes.
#[derive(Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// `;` or the end of a line.
    End,
    And,
    Or,
    To {
        append: bool,
    },
}

/// Cuts a script.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Wrong> {
    let (mut tokens, mut chars) = (Vec::new(), text.chars().peekable());
    while let Some(&next) = chars.peek() {
        let token = match next {
            ' ' | '\t' | '\r' => {
                chars.next();
                continue;
            }
            '#' => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ';' | '\n' => one(&mut chars, Token::End),
            '>' => {
                chars.next();
                Token::To { append: chars.next_if_eq(&'>').is_some() }
            }
            '&' | '|' => {
                chars.next();
                if chars.next_if_eq(&next).is_none() {
                    return Err(Wrong::Syntax(format!("{next:?} alone is not known here")));
                }
                if next == '&' { Token::And } else { Token::Or }
            }
            '<' | '(' | ')' | '`' => return Err(Wrong::Syntax(format!("{next:?} is not known here"))),
            _ => Token::Word(word(&mut chars)?),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn one(chars: &mut Peekable<Chars<'_>>, token: Token) -> Token {
    chars.next();
    token
}

fn word(chars: &mut Peekable<Chars<'_>>) -> Result<String, Wrong> {
    let mut word = String::new();
    while let Some(next) = chars.next_if(|c| !" \t\r\n;&|<>()`".contains(*c)) {
        word.push(next);
        match next {
            '\\' => word.push(chars.next().ok_or(Wrong::Incomplete)?),
            '\'' => until(chars, '\'', &mut word)?,
            '"' => quoted(chars, &mut word)?,
            '$' => dollar(chars, &mut word)?,
            _ => {}
        }
    }
    Ok(word)
}

fn until(chars: &mut Peekable<Chars<'_>>, end: char, word: &mut String) -> Result<(), Wrong> {
    loop {
        let next = chars.next().ok_or(Wrong::Incomplete)?;
        word.push(next);
        if next == end {
            return Ok(());
        }
    }
}

fn quoted(chars: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), Wrong> {
    loop {
        let next = chars.next().ok_or(Wrong::Incomplete)?;
        word.push(next);
        match next {
            '"' => return Ok(()),
            '\\' => word.push(chars.next().ok_or(Wrong::Incomplete)?),
            '$' => dollar(chars, word)?,
            _ => {}
        }
    }
}

/// What follows a `$`, if it is a command or has braces.
fn dollar(chars: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), Wrong> {
    if chars.next_if_eq(&'{').is_some() {
        word.push('{');
        return until(chars, '}', word);
    }
    if chars.next_if_eq(&'(').is_none() {
        return Ok(());
    }
    word.push('(');
    let mut depth = 1;
    while depth > 0 {
        let next = chars.next().ok_or(Wrong::Incomplete)?;
        word.push(next);
        match next {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' => until(chars, '\'', word)?,
            _ => {}
        }
    }
    Ok(())
}

impl Shell {
    /// A word as one text.
    pub(super) fn text(&mut self, word: &str) -> String {
        self.fields(word, false).join(" ")
    }

    /// A word as the arguments that it becomes: what stands for something is cut at its spaces outside of quotes.
    pub(super) fn expand(&mut self, word: &str) -> Vec<String> {
        self.fields(word, true)
    }

    fn fields(&mut self, word: &str, cuts: bool) -> Vec<String> {
        let (mut fields, mut field, mut there) = (Vec::new(), String::new(), false);
        let (mut chars, mut in_quotes) = (word.chars().peekable(), false);
        while let Some(next) = chars.next() {
            match next {
                '\'' if !in_quotes => {
                    field.extend(chars.by_ref().take_while(|c| *c != '\''));
                    there = true;
                }
                '"' => (in_quotes, there) = (!in_quotes, true),
                '\\' => {
                    let escaped = chars.next().unwrap_or('\\');
                    if in_quotes && !"\\\"$`".contains(escaped) {
                        field.push('\\');
                    }
                    field.push(escaped);
                    there = true;
                }
                '$' => {
                    let value = self.substitute(&mut chars);
                    if in_quotes || !cuts {
                        field.push_str(&value);
                        there |= in_quotes || !value.is_empty();
                        continue;
                    }
                    for (at, part) in value.split(|c: char| c.is_ascii_whitespace()).enumerate() {
                        if at > 0 && there {
                            fields.push(std::mem::take(&mut field));
                            there = false;
                        }
                        field.push_str(part);
                        there |= !part.is_empty();
                    }
                }
                other => {
                    field.push(other);
                    there = true;
                }
            }
        }
        if there {
            fields.push(field);
        }
        fields
    }

    /// What follows a `$` stands for.
    fn substitute(&mut self, chars: &mut Peekable<Chars<'_>>) -> String {
        let mut inner = String::new();
        match chars.peek() {
            Some('(') => {
                let _ = dollar(chars, &mut inner);
                let script = inner.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or_default().to_owned();
                self.output_of(&script)
            }
            Some('{') => {
                let _ = dollar(chars, &mut inner);
                self.value(inner.trim_matches(['{', '}']))
            }
            Some('?' | '#' | '@' | '*' | '0'..='9') => {
                let name = chars.next().map(String::from).unwrap_or_default();
                self.value(&name)
            }
            _ => {
                let letter = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                while let Some(next) = chars.next_if(letter) {
                    inner.push(next);
                }
                if inner.is_empty() { "$".to_owned() } else { self.value(&inner) }
            }
        }
    }
}

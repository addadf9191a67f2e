//! Reads kubectl's JSONPath.
//!
//! ```text
//! template = { text | "{" words "}" }; words = quoted | "range" path | "end" | path;
//! path = ["$" | "@"] { "." name | ".." name | "[" member "]" };
//! member = "*" | index | slice | quoted | name | member "," member | "?(" operand [compare operand] ")".
//! ```

use serde_json::Value;

use super::{Compare, Filter, Node, Operand, Path, Step};

/// Deepest nesting of ranges read: nobody writes three.
const DEPTH_MAX: usize = 16;

/// Reads a whole template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut open: Vec<(Path, Vec<Node>)> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        push_text(&mut nodes, &rest[..start]);
        let mut reader = Reader { rest: &rest[start + 1..] };
        loop {
            reader.blanks();
            if reader.eat("}") {
                break;
            }
            if reader.rest.is_empty() {
                return Err(format!("a {{ has no }} in {text:?}"));
            }
            if let Some(quoted) = reader.quoted()? {
                push_text(&mut nodes, &quoted);
            } else if reader.word("range") {
                if open.len() == DEPTH_MAX {
                    return Err(format!("ranges are nested deeper than {DEPTH_MAX}"));
                }
                reader.blanks();
                open.push((reader.path()?, std::mem::take(&mut nodes)));
            } else if reader.word("end") {
                let (path, outer) = open.pop().ok_or("an {end} has no {range …}")?;
                let inner = std::mem::replace(&mut nodes, outer);
                nodes.push(Node::Range(path, inner));
            } else {
                nodes.push(Node::Path(reader.path()?));
            }
        }
        rest = reader.rest;
    }
    push_text(&mut nodes, rest);
    if open.is_empty() { Ok(nodes) } else { Err("a {range …} has no {end}".to_owned()) }
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.is_empty() {
        nodes.push(Node::Text(text.to_owned()));
    }
}

/// Reads a single path, perhaps in braces, perhaps without its first dot.
pub(super) fn path_alone(text: &str) -> Result<Path, String> {
    let inner = text.trim();
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner).trim();
    let dotted = if inner.starts_with(['.', '[', '$', '@']) { inner.to_owned() } else { format!(".{inner}") };
    let mut reader = Reader { rest: &dotted };
    let path = reader.path()?;
    if reader.rest.is_empty() { Ok(path) } else { Err(format!("{text:?} is no path: cannot read {:?}", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes a keyword that is not the beginning of something longer.
    fn word(&mut self, word: &str) -> bool {
        let ends = |rest: &str| rest.starts_with(|c: char| c == '}' || c.is_whitespace());
        self.rest.strip_prefix(word).is_some_and(ends) && self.eat(word)
    }

    /// A text in quotes, if one comes next.
    fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Some(text));
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        Err(format!("a quote is not closed: {}", self.rest))
    }

    fn path(&mut self) -> Result<Path, String> {
        let root = self.eat("$");
        if !root {
            self.eat("@");
        }
        let mut steps = Vec::new();
        loop {
            if self.eat("..") {
                steps.push(Step::Below);
                if !self.rest.starts_with('[') {
                    steps.push(self.name_or_all()?);
                }
            } else if self.eat(".") {
                if self.rest.starts_with('[') || self.rest.is_empty() || self.rest.starts_with('}') {
                    continue;
                }
                steps.push(self.name_or_all()?);
            } else if self.eat("[") {
                steps.push(self.members()?);
            } else {
                break;
            }
        }
        if steps.is_empty() && !root && !self.rest.is_empty() && !self.rest.starts_with(['}', ' ', ')', '=']) {
            // `{kind}` is `{.kind}`.
            steps.push(self.name_or_all()?);
            let more = self.path()?;
            steps.extend(more.steps);
        }
        Ok(Path { root, steps })
    }

    fn name_or_all(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let end = loop {
            match chars.next() {
                Some((_, '\\')) => name.extend(chars.next().map(|(_, escaped)| escaped)),
                Some((at, c)) if ".[]{}()=!<>,'\"?@$*".contains(c) || c.is_whitespace() => break at,
                Some((_, c)) => name.push(c),
                None => break self.rest.len(),
            }
        };
        if name.is_empty() {
            return Err(format!("expected a field's name before {:?}", self.rest));
        }
        self.rest = &self.rest[end..];
        Ok(Step::Field(name))
    }

    /// What stands in brackets, after the opening one.
    fn members(&mut self) -> Result<Step, String> {
        let mut found = Vec::new();
        loop {
            self.blanks();
            found.push(self.member()?);
            self.blanks();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return Err(format!("a [ has no ] before {:?}", self.rest));
            }
        }
        Ok(if found.len() == 1 { found.remove(0) } else { Step::Union(found) })
    }

    fn member(&mut self) -> Result<Step, String> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        if self.eat("?(") {
            return self.filter().map(|filter| Step::Filter(Box::new(filter)));
        }
        if let Some(name) = self.quoted()? {
            return Ok(Step::Field(name));
        }
        let end = self.rest.find(|c: char| c != '-' && c != ':' && !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let numbers = &self.rest[..end];
        if numbers.is_empty() {
            return self.name_or_all().map_err(|error| format!("in [ … ]: {error}"));
        }
        self.rest = &self.rest[end..];
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("{text:?} in [ … ] is no number"));
        let optional = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(number).transpose();
        let mut parts = numbers.split(':');
        let first = parts.next();
        if !numbers.contains(':') {
            return number(numbers).map(Step::Index);
        }
        Ok(Step::Slice(optional(first)?, optional(parts.next())?, optional(parts.next())?.unwrap_or(1)))
    }

    fn filter(&mut self) -> Result<Filter, String> {
        const COMPARES: [(&str, Compare); 6] = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        let left = self.operand()?;
        self.blanks();
        let sign = COMPARES.into_iter().find(|(sign, _)| self.rest.starts_with(sign));
        let compare = match sign {
            Some((sign, compare)) => {
                self.eat(sign);
                Some((compare, self.operand()?))
            }
            None => None,
        };
        self.blanks();
        if self.eat(")") {
            Ok(Filter { left, compare })
        } else {
            Err(format!("a filter ?( has no ) before {:?}", self.rest))
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.blanks();
        if let Some(text) = self.quoted()? {
            return Ok(Operand::Literal(Value::String(text)));
        }
        if self.rest.starts_with(['@', '$', '.']) {
            return self.path().map(Operand::Path);
        }
        let end = self.rest.find(|c: char| c == ')' || c == '=' || c.is_whitespace()).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        serde_json::from_str(word)
            .map(Operand::Literal)
            .map_err(|_| format!("{word:?} in a filter is neither @.path, text in quotes, nor a number"))
    }
}

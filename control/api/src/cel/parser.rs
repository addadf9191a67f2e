//! Tokens as a tree, with the macros spelled out as comprehensions.

use super::lexer::{Token, tokens};

/// How deep a tree may be, brackets and chains of operators alike: Kubernetes' parser allows 250. Each level is a frame of
/// a thread's stack.
const DEPTH_MAX: usize = 150;

/// Operators, steps and brackets of one expression at most: no published rule has a hundred.
const PARTS_MAX: usize = 1_000;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Ident(String),
    /// `of.field`, `of.?field`.
    Select {
        of: Box<Self>,
        field: String,
        optional: bool,
    },
    /// `has(of.field)`.
    Has {
        of: Box<Self>,
        field: String,
    },
    /// `of[at]`, `of[?at]`.
    Index {
        of: Box<Self>,
        at: Box<Self>,
        optional: bool,
    },
    Call {
        target: Option<Box<Self>>,
        name: String,
        args: Vec<Self>,
    },
    List(Vec<(Self, bool)>),
    Map(Vec<(Self, Self, bool)>),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Ternary(Box<Self>, Box<Self>, Box<Self>),
    Binary(&'static str, Box<Self>, Box<Self>),
    /// `over.all(x, body)` and its kin.
    Each {
        macro_: Macro,
        over: Box<Self>,
        names: Vec<String>,
        when: Option<Box<Self>>,
        body: Box<Self>,
    },
    /// `cel.bind(name, value, body)`.
    Bind {
        name: String,
        value: Box<Self>,
        body: Box<Self>,
    },
}

/// What a macro makes of a list or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// Also `transformList`.
    Map,
    TransformMap,
    OptMap,
    OptFlatMap,
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    parts: usize,
}

type Parsed = Result<Expr, String>;

/// Reads an expression.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, parts: 0 };
    let found = parser.ternary()?;
    if *parser.peek() != Token::End {
        return Err(parser.unexpected());
    }
    if super::check::is_deeper(&found, DEPTH_MAX) {
        return Err(TOO_DEEP.to_owned());
    }
    Ok(found)
}

const TOO_DEEP: &str = "expression recursion limit exceeded";

impl Parser {
    /// Counts a part.
    fn part(&mut self) -> Result<(), String> {
        self.parts += 1;
        if self.parts > PARTS_MAX { Err(TOO_DEEP.to_owned()) } else { Ok(()) }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn unexpected(&self) -> String {
        let at = self.tokens[self.at].1;
        match self.peek() {
            Token::End => format!("Syntax error: mismatched input '<EOF>' at {at}"),
            token => format!("Syntax error: mismatched input {} at {at}", shown(token)),
        }
    }

    fn take(&mut self, operator: &str) -> bool {
        let found = matches!(self.peek(), Token::Op(own) if *own == operator);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, operator: &str) -> Result<(), String> {
        if self.take(operator) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn ternary(&mut self) -> Parsed {
        self.part()?;
        self.depth += 1;
        if self.depth > DEPTH_MAX / 2 {
            return Err(TOO_DEEP.to_owned());
        }
        let condition = self.or()?;
        let found = if self.take("?") {
            let yes = self.or()?;
            self.expect(":")?;
            let no = self.ternary()?;
            Expr::Ternary(Box::new(condition), Box::new(yes), Box::new(no))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(found)
    }

    fn or(&mut self) -> Parsed {
        let mut left = self.and()?;
        while self.take("||") {
            self.part()?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let mut left = self.relation()?;
        while self.take("&&") {
            self.part()?;
            left = Expr::And(Box::new(left), Box::new(self.relation()?));
        }
        Ok(left)
    }

    fn relation(&mut self) -> Parsed {
        let mut left = self.sum()?;
        loop {
            let operator = match self.peek() {
                Token::Op(operator @ ("==" | "!=" | "<" | "<=" | ">" | ">=")) => operator,
                Token::Ident(word) if word == "in" => "in",
                _ => return Ok(left),
            };
            self.next();
            self.part()?;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.sum()?));
        }
    }

    fn sum(&mut self) -> Parsed {
        let mut left = self.product()?;
        while let Token::Op(operator @ ("+" | "-")) = *self.peek() {
            self.next();
            self.part()?;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Parsed {
        let mut left = self.unary()?;
        while let Token::Op(operator @ ("*" | "/" | "%")) = *self.peek() {
            self.next();
            self.part()?;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.unary()?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let (mut nots, mut minuses) = (0_usize, 0_usize);
        while self.take("!") {
            nots += 1;
        }
        while nots == 0 && self.take("-") {
            minuses += 1;
        }
        let mut found = self.member()?;
        if minuses % 2 == 1 {
            found = match found {
                Expr::Int(number) => Expr::Int(-number),
                Expr::Double(number) => Expr::Double(-number),
                other => Expr::Negate(Box::new(other)),
            };
        }
        Ok(if nots % 2 == 1 { Expr::Not(Box::new(found)) } else { found })
    }

    fn member(&mut self) -> Parsed {
        let mut found = self.primary()?;
        loop {
            self.part()?;
            let optional = matches!(self.peek(), Token::Op(".?" | "[?"));
            match self.peek() {
                Token::Op("." | ".?") => {
                    self.next();
                    let Token::Ident(field) = self.next() else { return Err(self.unexpected()) };
                    if !optional && self.take("(") {
                        let args = self.list(")")?;
                        found = call(Some(found), field, args)?;
                    } else {
                        found = Expr::Select { of: Box::new(found), field, optional };
                    }
                }
                Token::Op("[" | "[?") => {
                    self.next();
                    let at = self.ternary()?;
                    self.expect("]")?;
                    found = Expr::Index { of: Box::new(found), at: Box::new(at), optional };
                }
                _ => return Ok(found),
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        Ok(match self.next() {
            Token::Int(number) => Expr::Int(number),
            Token::Uint(number) => Expr::Uint(number),
            Token::Double(number) => Expr::Double(number),
            Token::Text(text) => Expr::Text(text),
            Token::Bytes(bytes) => Expr::Bytes(bytes),
            Token::Ident(word) => match word.as_str() {
                "true" => Expr::Bool(true),
                "false" => Expr::Bool(false),
                "null" => Expr::Null,
                "in" => return Err("Syntax error: unexpected 'in'".to_owned()),
                _ if self.take("(") => {
                    let args = self.list(")")?;
                    call(None, word, args)?
                }
                _ => Expr::Ident(word),
            },
            Token::Op("(") => {
                let inner = self.ternary()?;
                self.expect(")")?;
                inner
            }
            Token::Op("[") => {
                let mut items = Vec::new();
                while !self.take("]") {
                    let optional = self.take("?");
                    items.push((self.ternary()?, optional));
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Expr::List(items)
            }
            Token::Op("{") => self.map()?,
            Token::Op("[?") | Token::End => return Err(self.unexpected()),
            Token::Op(_) => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.ternary()?;
            self.expect(":")?;
            entries.push((key, self.ternary()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(Expr::Map(entries))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Expr>, String> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.ternary()?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Ident(word) => format!("'{word}'"),
        Token::Op(operator) => format!("'{operator}'"),
        Token::Text(text) => format!("{text:?}"),
        Token::Int(number) => format!("'{number}'"),
        other => format!("{other:?}"),
    }
}

/// A call, or what a macro stands for.
fn call(target: Option<Expr>, name: String, mut args: Vec<Expr>) -> Parsed {
    let Some(target) = target else {
        if name != "has" {
            return Ok(Expr::Call { target: None, name, args });
        }
        return match (args.pop(), args.is_empty()) {
            (Some(Expr::Select { of, field, optional: false }), true) => Ok(Expr::Has { of, field }),
            _ => Err("invalid argument to has() macro".to_owned()),
        };
    };
    if target == Expr::Ident("cel".to_owned()) && name == "bind" {
        return match (<[Expr; 3]>::try_from(args)).map(|[name, value, body]| (name, value, body)) {
            Ok((Expr::Ident(name), value, body)) => {
                Ok(Expr::Bind { name, value: Box::new(value), body: Box::new(body) })
            }
            _ => Err("cel.bind() variable names must be simple identifiers".to_owned()),
        };
    }
    let macro_ = match (name.as_str(), args.len()) {
        ("all", 2 | 3) => Macro::All,
        ("exists", 2 | 3) => Macro::Exists,
        ("exists_one" | "existsOne", 2 | 3) => Macro::ExistsOne,
        ("filter", 2) => Macro::Filter,
        ("map", 2 | 3) | ("transformList", 3 | 4) => Macro::Map,
        ("transformMap", 3 | 4) => Macro::TransformMap,
        ("optMap", 2) => Macro::OptMap,
        ("optFlatMap", 2) => Macro::OptFlatMap,
        _ => return Ok(Expr::Call { target: Some(Box::new(target)), name, args }),
    };
    // The last is the body; what comes before it and is no name is a condition.
    let body = Box::new(args.pop().ok_or("a macro without a body")?);
    let two =
        matches!(name.as_str(), "transformList" | "transformMap") || (args.len() == 2 && !matches!(macro_, Macro::Map));
    let when = (args.len() > if two { 2 } else { 1 }).then(|| args.pop()).flatten().map(Box::new);
    let names = args.into_iter().map(|arg| match arg {
        Expr::Ident(name) => Ok(name),
        _ => Err("argument must be a simple name".to_owned()),
    });
    let names = names.collect::<Result<Vec<_>, _>>()?;
    Ok(Expr::Each { macro_, over: Box::new(target), names, when, body })
}

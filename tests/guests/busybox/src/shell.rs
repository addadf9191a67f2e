//! A shell's subset: lists with `;`, `&&` and `||`, `for`, `while`, `if`, variables, quotes, `$(…)`, `>` and `>>`. No pipes,
//! no functions, no jobs: there is one process.

mod words;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::process::exit;

use self::words::{Token, tokens};
use crate::{applets, base};

/// What a shell ends with when it does not understand its script.
const SYNTAX: i32 = 2;
/// What it ends with when there is no such program.
const NOT_FOUND: i32 = 127;

/// One step of a script.
enum Step {
    Simple { words: Vec<String>, to: Option<(String, bool)> },
    For { name: String, words: Vec<String>, body: List },
    While { condition: List, body: List },
    If { condition: List, then: List, other: List },
}

/// When a step is run, by how the one before ended.
enum When {
    Always,
    Success,
    Failure,
}

type List = Vec<(When, Step)>;

/// Why a text is no script.
enum Wrong {
    /// It goes on.
    Incomplete,
    /// It never will be one.
    Syntax(String),
}

/// A shell that runs.
#[derive(Default)]
struct Shell {
    variables: BTreeMap<String, String>,
    args: Vec<String>,
    code: i32,
}

/// `sh [-c SCRIPT [NAME [ARG…]]]`, `sh FILE`, or `sh` for scripts in its input.
pub fn main(args: &[String]) -> i32 {
    match args {
        [] => interactive(),
        [option, script, rest @ ..] if option == "-c" || option == "-ec" => {
            script_of(script, Shell { args: rest.to_vec(), ..Shell::default() })
        }
        [file, ..] if !file.starts_with('-') => match std::fs::read_to_string(file) {
            Ok(script) => script_of(&script, Shell { args: args.to_vec(), ..Shell::default() }),
            Err(error) => {
                eprintln!("sh: {file}: {error}");
                NOT_FOUND
            }
        },
        [option, ..] => {
            eprintln!("sh: {option}: only -c is known here");
            SYNTAX
        }
    }
}

fn script_of(script: &str, mut shell: Shell) -> i32 {
    match parse(script) {
        Ok(list) => shell.run(&list, &mut io::stdout()),
        Err(wrong) => complain(&wrong),
    }
}

fn complain(wrong: &Wrong) -> i32 {
    match wrong {
        Wrong::Incomplete => eprintln!("sh: syntax error: unexpected end of file"),
        Wrong::Syntax(why) => eprintln!("sh: syntax error: {why}"),
    }
    SYNTAX
}

/// Runs what its input says, as soon as a line completes it.
pub fn interactive() -> i32 {
    let (mut shell, mut script, mut line) = (Shell::default(), String::new(), String::new());
    loop {
        line.clear();
        // Not locked for longer: what is called reads on.
        match io::stdin().lock().read_line(&mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => script.push_str(&line),
        }
        match parse(&script) {
            Ok(list) => shell.code = shell.run(&list, &mut io::stdout()),
            Err(Wrong::Incomplete) => continue,
            Err(wrong) => shell.code = complain(&wrong),
        }
        script.clear();
    }
    if script.is_empty() { shell.code } else { complain(&Wrong::Incomplete) }
}

impl Shell {
    fn run(&mut self, list: &List, output: &mut dyn Write) -> i32 {
        for (when, step) in list {
            let wanted = match when {
                When::Always => true,
                When::Success => self.code == 0,
                When::Failure => self.code != 0,
            };
            if wanted {
                self.code = self.step(step, output);
            }
        }
        self.code
    }

    fn step(&mut self, step: &Step, output: &mut dyn Write) -> i32 {
        match step {
            Step::Simple { words, to: None } => self.simple(words, output),
            Step::Simple { words, to: Some((path, append)) } => {
                let path = self.text(path);
                let opened = OpenOptions::new().create(true).write(true).append(*append).truncate(!append).open(&path);
                match opened {
                    Ok(mut file) => self.simple(words, &mut file),
                    Err(error) => {
                        eprintln!("sh: can't create {path}: {error}");
                        1
                    }
                }
            }
            Step::For { name, words, body } => {
                let mut code = 0;
                for value in words.iter().flat_map(|word| self.expand(word)).collect::<Vec<_>>() {
                    self.variables.insert(name.clone(), value);
                    code = self.run(body, output);
                }
                code
            }
            Step::While { condition, body } => {
                let mut code = 0;
                while self.run(condition, output) == 0 {
                    code = self.run(body, output);
                }
                code
            }
            Step::If { condition, then, other } => {
                let chosen = if self.run(condition, output) == 0 { then } else { other };
                self.code = 0;
                self.run(chosen, output)
            }
        }
    }

    fn simple(&mut self, words: &[String], output: &mut dyn Write) -> i32 {
        let sets = words.iter().take_while(|word| assignment(word).is_some()).count();
        for (name, value) in words[..sets].iter().filter_map(|word| assignment(word)) {
            let value = self.text(value);
            self.variables.insert(name.to_owned(), value);
        }
        let args: Vec<String> = words[sets..].iter().flat_map(|word| self.expand(word)).collect();
        let Some((name, args)) = args.split_first() else { return 0 };
        match base(name) {
            "exit" => {
                let _ = output.flush();
                exit(args.first().map_or(self.code, |code| code.parse().unwrap_or(SYNTAX)))
            }
            ":" => 0,
            "export" => {
                for (name, value) in args.iter().filter_map(|word| assignment(word)) {
                    self.variables.insert(name.to_owned(), value.to_owned());
                }
                0
            }
            "sh" => main(args),
            name if applets::is_known(name) => applets::run(name, args, &mut io::stdin().lock(), output),
            _ => {
                eprintln!("sh: {name}: not found");
                NOT_FOUND
            }
        }
    }

    /// What a variable stands for.
    fn value(&self, name: &str) -> String {
        match (name, name.parse::<usize>()) {
            ("?", _) => self.code.to_string(),
            ("#", _) => self.args.len().saturating_sub(1).to_string(),
            ("@" | "*", _) => self.args.get(1..).unwrap_or_default().join(" "),
            (_, Ok(at)) => self.args.get(at).cloned().unwrap_or_default(),
            (name, Err(_)) => {
                self.variables.get(name).cloned().or_else(|| std::env::var(name).ok()).unwrap_or_default()
            }
        }
    }

    /// The output of a command.
    fn output_of(&mut self, script: &str) -> String {
        let mut output = Vec::new();
        match parse(script) {
            Ok(list) => self.code = self.run(&list, &mut output),
            Err(wrong) => self.code = complain(&wrong),
        }
        String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned()
    }
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(letter) && !name.starts_with(|c: char| c.is_ascii_digit()))
        .then_some((name, value))
}

/// Reads a script.
fn parse(text: &str) -> Result<List, Wrong> {
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    let list = list(&mut rest, &[])?;
    match rest.first() {
        None => Ok(list),
        Some(token) => Err(unexpected(token)),
    }
}

fn unexpected(token: &Token) -> Wrong {
    Wrong::Syntax(format!("unexpected {token:?}"))
}

/// Steps until one of the words in `ends`, which is left.
fn list(rest: &mut &[Token], ends: &[&str]) -> Result<List, Wrong> {
    let (mut list, mut when) = (List::new(), When::Always);
    loop {
        match rest.first() {
            None if ends.is_empty() => return Ok(list),
            None => return Err(Wrong::Incomplete),
            Some(Token::End) => *rest = &rest[1..],
            Some(Token::Word(word)) if ends.contains(&word.as_str()) => return Ok(list),
            Some(Token::And | Token::Or) if list.is_empty() => return Err(unexpected(&rest[0])),
            Some(Token::And) => (when, *rest) = (When::Success, &rest[1..]),
            Some(Token::Or) => (when, *rest) = (When::Failure, &rest[1..]),
            Some(Token::To { .. }) => return Err(unexpected(&rest[0])),
            Some(Token::Word(_)) => {
                let step = step(rest)?;
                list.push((std::mem::replace(&mut when, When::Always), step));
            }
        }
    }
}

/// The word that must come next.
fn keyword(rest: &mut &[Token], wanted: &str) -> Result<(), Wrong> {
    while rest.first() == Some(&Token::End) {
        *rest = &rest[1..];
    }
    match rest.split_first() {
        None => Err(Wrong::Incomplete),
        Some((Token::Word(word), after)) if word == wanted => {
            *rest = after;
            Ok(())
        }
        Some((token, _)) => Err(unexpected(token)),
    }
}

fn words(rest: &mut &[Token]) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((Token::Word(word), after)) = rest.split_first() {
        words.push(word.clone());
        *rest = after;
    }
    words
}

fn body(rest: &mut &[Token]) -> Result<List, Wrong> {
    keyword(rest, "do")?;
    let body = list(rest, &["done"])?;
    keyword(rest, "done")?;
    Ok(body)
}

fn step(rest: &mut &[Token]) -> Result<Step, Wrong> {
    let Some(Token::Word(first)) = rest.first() else { return Err(Wrong::Incomplete) };
    match first.as_str() {
        "for" => {
            *rest = &rest[1..];
            let Some((Token::Word(name), after)) = rest.split_first() else { return Err(Wrong::Incomplete) };
            *rest = after;
            keyword(rest, "in")?;
            let words = words(rest);
            Ok(Step::For { name: name.clone(), words, body: body(rest)? })
        }
        "while" => {
            *rest = &rest[1..];
            let condition = list(rest, &["do"])?;
            Ok(Step::While { condition, body: body(rest)? })
        }
        "if" => {
            *rest = &rest[1..];
            let condition = list(rest, &["then"])?;
            keyword(rest, "then")?;
            let then = list(rest, &["else", "fi"])?;
            let mut other = List::new();
            if keyword(rest, "else").is_ok() {
                other = list(rest, &["fi"])?;
            }
            keyword(rest, "fi")?;
            Ok(Step::If { condition, then, other })
        }
        "do" | "done" | "then" | "else" | "fi" => Err(unexpected(&rest[0])),
        _ => {
            let words = words(rest);
            let mut to = None;
            while let Some((Token::To { append }, after)) = rest.split_first() {
                let Some((Token::Word(path), after)) = after.split_first() else { return Err(Wrong::Incomplete) };
                (to, *rest) = (Some((path.clone(), *append)), after);
            }
            Ok(Step::Simple { words, to })
        }
    }
}

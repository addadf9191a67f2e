//! The programs: each as much as tests use of it.

use std::fs;
use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

const KNOWN: [&str; 12] = ["sh", "[", "cat", "echo", "env", "false", "ls", "pwd", "seq", "sleep", "test", "true"];

/// What a program ends with on wrong usage.
const USAGE: i32 = 2;

pub fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Runs one of them, and answers its exit code.
pub fn run(name: &str, args: &[String], input: &mut dyn BufRead, output: &mut dyn Write) -> i32 {
    let done = match name {
        "cat" => cat(args, input, output),
        "echo" => echo(args, output),
        "env" => std::env::vars().try_for_each(|(name, value)| writeln!(output, "{name}={value}")).map(|()| 0),
        "false" => Ok(1),
        "ls" => ls(args, output),
        "pwd" => writeln!(output, "{}", std::env::current_dir().unwrap_or_else(|_| "/".into()).display()).map(|()| 0),
        "seq" => seq(args, output),
        "sleep" => sleep(args),
        "test" | "[" => Ok(test(name, args)),
        _ => Ok(0),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        1
    })
}

fn echo(args: &[String], output: &mut dyn Write) -> io::Result<i32> {
    let (end, words) = match args.split_first() {
        Some((option, rest)) if option == "-n" => ("", rest),
        _ => ("\n", args),
    };
    // At once: whoever watches sees whole lines.
    output.write_all(format!("{}{end}", words.join(" ")).as_bytes())?;
    output.flush()?;
    Ok(0)
}

fn cat(args: &[String], input: &mut dyn BufRead, output: &mut dyn Write) -> io::Result<i32> {
    let mut code = 0;
    let own = ["-".to_owned()];
    for path in if args.is_empty() { &own } else { args } {
        let copied = match path.as_str() {
            "-" => io::copy(input, output),
            path => fs::File::open(path).and_then(|mut file| io::copy(&mut file, output)),
        };
        if let Err(error) = copied {
            eprintln!("cat: {path}: {error}");
            code = 1;
        }
        output.flush()?;
    }
    Ok(code)
}

fn ls(args: &[String], output: &mut dyn Write) -> io::Result<i32> {
    let path = args.iter().find(|arg| !arg.starts_with('-')).map_or(".", String::as_str);
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    names.iter().try_for_each(|name| writeln!(output, "{name}"))?;
    Ok(0)
}

/// `seq [FIRST [STEP]] LAST`, of whole numbers.
fn seq(args: &[String], output: &mut dyn Write) -> io::Result<i32> {
    let numbers: Option<Vec<i64>> = args.iter().map(|arg| arg.parse().ok()).collect();
    let (mut at, step, last) = match numbers.as_deref() {
        Some([last]) => (1, 1, *last),
        Some([first, last]) => (*first, 1, *last),
        Some([first, step, last]) if *step != 0 => (*first, *step, *last),
        _ => {
            eprintln!("usage: seq [FIRST [STEP]] LAST");
            return Ok(USAGE);
        }
    };
    while if step > 0 { at <= last } else { at >= last } {
        writeln!(output, "{at}")?;
        at += step;
    }
    Ok(0)
}

fn sleep(args: &[String]) -> io::Result<i32> {
    match args.first().and_then(|seconds| seconds.trim_end_matches('s').parse().ok()).map(Duration::try_from_secs_f64) {
        Some(Ok(time)) => {
            thread::sleep(time);
            Ok(0)
        }
        _ => {
            eprintln!("usage: sleep SECONDS");
            Ok(USAGE)
        }
    }
}

fn test(name: &str, args: &[String]) -> i32 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let words = match (name, words.as_slice()) {
        ("[", [words @ .., "]"]) => words,
        ("[", _) => {
            eprintln!("[: missing ]");
            return USAGE;
        }
        (_, words) => words,
    };
    let (not, words) = match words {
        ["!", rest @ ..] => (true, rest),
        words => (false, words),
    };
    let number = |text: &str| text.parse::<i64>().unwrap_or_default();
    let holds = match *words {
        [] => false,
        [text] | ["-n", text] => !text.is_empty(),
        ["-z", text] => text.is_empty(),
        ["-e", path] => fs::metadata(path).is_ok(),
        ["-f", path] => fs::metadata(path).is_ok_and(|found| found.is_file()),
        ["-d", path] => fs::metadata(path).is_ok_and(|found| found.is_dir()),
        ["-s", path] => fs::metadata(path).is_ok_and(|found| found.len() > 0),
        [one, "=" | "==", other] => one == other,
        [one, "!=", other] => one != other,
        [one, "-eq", other] => number(one) == number(other),
        [one, "-ne", other] => number(one) != number(other),
        [one, "-lt", other] => number(one) < number(other),
        [one, "-le", other] => number(one) <= number(other),
        [one, "-gt", other] => number(one) > number(other),
        [one, "-ge", other] => number(one) >= number(other),
        _ => {
            eprintln!("{name}: unknown condition {words:?}");
            return USAGE;
        }
    };
    i32::from(holds == not)
}

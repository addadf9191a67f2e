//! What people type and what they read: transcripts of `kubectl` and `wk` sessions against three nodes, compared line by
//! line. A file in `transcripts/` is a session in a namespace of its own, through one of the nodes.
//!
//! They are of one version of kubectl. Another one, if it is there, plays the same sessions: in the folder of its number
//! are only the commands that it answers otherwise.
//!
//! What differs from run to run (times, ages, uids, versions, addresses, ends of names) is redacted on both sides, and
//! spaces are one. `WK_GOLDENS=write cargo test -p wk-e2e --test transcripts` writes what is answered now: read the
//! difference before you believe it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use futures::future::join_all;
use regex::Regex;
use wk_kit::{Cluster, Kubectl};

/// The minor version of kubectl whose words the transcripts have, and the one whose differences are known.
const MINOR: &str = "32";
const OTHER_MINOR: &str = "33";

/// What is redacted, in this order.
static REDACTED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"(Client|Kustomize) Version: v\S+", "$1 Version: <version>"),
        (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
        (r"\bey[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
        (r"applyset-[\w-]{43}-v1", "applyset-<id>-v1"),
        (r"\bdebugger-[0-9a-z]{5}\b", "debugger-<end>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "<time>"),
        (r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
        (r#"(resourceVersion"?: ?)"?\d+"?"#, "$1<version>"),
        (r"\b(?:10|127)\.\d+\.\d+\.\d+(:\d+)?\b", "<address>"),
        // A moment after it was made.
        (r"^(ingress\S* \S+ \S+) <address> ", "$1 "),
        (r"\b(\w[\w-]*)-[0-9a-f]{8,10}-[0-9a-z]{5}\b", "$1-<hash>-<end>"),
        (r"\b([a-z][\w-]*)-[0-9a-f]{8,10}\b", "$1-<hash>"),
        (r"pod-template-hash=[0-9a-f]+", "pod-template-hash=<hash>"),
        (r"<unknown>|<invalid>", "<age>"),
        (r"\b(?:\d+y)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+(?:\.\d+)?s)\b|\b\d+(?:\.\d+)?(?:ms|µs|m|h|d)\b", "<age>"),
        (r"/tmp/[\w./-]+", "<file>"),
    ];
    rules.map(|(pattern, text)| (Regex::new(pattern).expect("a pattern"), text)).into()
});

fn redact(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let mut line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (pattern, with) in REDACTED.iter() {
            line = pattern.replace_all(&line, *with).into_owned();
        }
        lines.push(format!("{}{line}", " ".repeat(indent)).trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}

/// The words of a command line: quotes are those of a shell, and nothing else is.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            (' ', None) => words.push(String::new()),
            (letter, _) => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The commands of a session: the lines that begin with `$ `.
fn commands(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// Plays a session. What it is answered reads as if its namespace were called after the file, which `suffix` is added to.
async fn replay(
    cluster: &Cluster,
    kubectl: &Kubectl,
    (file, text): (&Path, &str),
    number: usize,
    (suffix, image): (&str, &str),
) -> String {
    let stem = file.file_stem().and_then(|name| name.to_str()).expect("a name of text");
    let namespace = &*format!("{stem}{suffix}");
    let node = &cluster.nodes[number % cluster.nodes.len()];
    kubectl.run(&["create", "namespace", namespace]).await.ok();
    // A controller gives it to each namespace, a moment after that is there.
    node.wk(&["--namespace", namespace, "wait", "--for=create", "cm/kube-root-ca.crt", "--timeout=60s"]).await.ok();
    let remarks: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let mut played = remarks.join("\n") + "\n";
    for command in commands(text) {
        let line = command.replace("files/", &format!("{}/", files().display()));
        let line = line.replace("$NS", namespace).replace("$IMAGE", image);
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let set = words.iter().take_while(|word| word.contains('=')).count();
        let environment: Vec<(&str, &str)> = words[..set].iter().filter_map(|word| word.split_once('=')).collect();
        let output = match &words[set..] {
            ["kubectl", rest @ ..] => {
                let kubectl = kubectl.through(&node.kubeconfig());
                kubectl.run_in(&environment, &[&["--namespace", namespace], rest].concat()).await
            }
            ["wk", rest @ ..] => node.wk(&[&["--namespace", namespace], rest].concat()).await,
            other => panic!("{}: neither kubectl nor wk: {other:?}", file.display()),
        };
        let code = output.code.filter(|code| *code != 0).map(|code| format!("[exit {code}]\n")).unwrap_or_default();
        // Before anything is redacted: where the files are differs too.
        let said = format!("{}{}", output.stdout, output.stderr).replace(&files().display().to_string(), "files");
        let said = if suffix.is_empty() { said } else { said.replace(namespace, stem) };
        let said = redact(&said);
        let said = if said.is_empty() { said } else { format!("{said}\n") };
        played = [&played, "\n$ ", command, "\n", &said, &code].concat();
    }
    played
}

/// The commands of a session with what they are answered.
fn blocks(text: &str) -> Vec<&str> {
    text.split("\n$ ").map(str::trim).collect()
}

fn command_of(block: &str) -> &str {
    block.lines().next().unwrap_or_default()
}

/// A session as another version of kubectl has it: `other` has the blocks that differ, after their number.
fn merged(text: &str, other: &str) -> String {
    let mut all = blocks(text);
    for block in blocks(other).into_iter().skip(1) {
        let (number, block) = block.split_once(": ").expect("a number and a command");
        let number: usize = number.parse().expect("a number");
        let is_there = all.get(number).is_some_and(|own| command_of(own) == command_of(block));
        assert!(is_there, "the session has changed since its differences were written: {number}: {block}");
        all[number] = block;
    }
    all.join("\n\n$ ")
}

/// What `played` has otherwise than `text`, as [`merged`] reads it; None when that is nothing.
fn differences(text: &str, played: &str) -> Option<String> {
    let pairs = blocks(text).into_iter().zip(blocks(played)).enumerate();
    let differing: Vec<String> = pairs
        .filter(|(_, (own, other))| own != other)
        .map(|(number, (_, other))| format!("\n\n$ {number}: {other}"))
        .collect();
    let head = "# Only what kubectl of this version answers otherwise: the number of the command in the session, and the answer.";
    (!differing.is_empty()).then(|| format!("{head}{}\n", differing.concat()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

fn files() -> PathBuf {
    folder().join("files")
}

/// The sessions by their files.
fn sessions() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(folder()).expect("the transcripts").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a transcript"))).collect()
}

/// Plays all sessions: the one about nodes, which empties one, then the others at once. They leave nothing behind.
async fn play(
    cluster: &Cluster,
    kubectl: &Kubectl,
    sessions: &[(PathBuf, String)],
    namespaces: &str,
    image: &str,
) -> Vec<String> {
    let empties = |file: &Path| file.file_stem().is_some_and(|name| name == "nodes");
    let mut played = vec![String::new(); sessions.len()];
    for first in [true, false] {
        let these = sessions.iter().enumerate().filter(|(_, (file, _))| empties(file) == first);
        let these = these.map(async |(number, (file, text))| {
            (number, replay(cluster, kubectl, (file, text), number, (namespaces, image)).await)
        });
        for (number, text) in join_all(these).await {
            played[number] = text;
        }
    }
    let stem = |file: &Path| file.file_stem().and_then(|name| name.to_str()).expect("a name of text").to_owned();
    let spaces: Vec<String> = sessions.iter().map(|(file, _)| format!("{}{namespaces}", stem(file))).collect();
    let spaces: Vec<&str> = spaces.iter().map(String::as_str).collect();
    kubectl.run(&[&["delete", "namespace"], &spaces[..]].concat()).await.ok();
    played
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
async fn sessions_read_as_their_transcripts() {
    let cluster = Cluster::empty();
    let Some(kubectl) = Kubectl::find(&cluster.next().kubeconfig(), cluster.dir()) else { return };
    drop(cluster);
    let version = kubectl.run(&["version", "--client", "-o", "json"]).await.json();
    if version["clientVersion"]["minor"] != MINOR {
        eprintln!("skipped: the transcripts are of kubectl 1.{MINOR}, whose words differ from those of {version}");
        return;
    }
    let cluster = Cluster::start(3).await;
    let kubectl = kubectl.through(&cluster.nodes[0].kubeconfig());
    cluster.deploy_hello("image", 1, &[]).await.ok();
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    let image = cluster.wk(&["get", "deploy/image", "-o", path]).await.ok().trim().to_owned();
    cluster.wk(&["delete", "deploy,svc,ing", "image"]).await.ok();
    let mut sessions = sessions();
    let write = std::env::var("WK_GOLDENS").is_ok_and(|value| value == "write");
    let mut wrong = String::new();
    let played = play(&cluster, &kubectl, &sessions, "", &image).await;
    for ((file, expected), played) in sessions.iter_mut().zip(played) {
        if write {
            fs::write(&*file, &played).expect("write the transcript");
            *expected = played;
        } else if expected.trim() != played.trim() {
            wrong = [&wrong, &*file.to_string_lossy(), ":\n", &difference(expected, &played)].concat();
        }
    }
    let Some(other) = kubectl.other(OTHER_MINOR) else {
        assert!(wrong.is_empty(), "{wrong}");
        eprintln!(
            "skipped in part: there is no kubectl.1.{OTHER_MINOR} beside kubectl, to compare what it says otherwise"
        );
        return;
    };
    let played = play(&cluster, &other, &sessions, &format!("-{OTHER_MINOR}"), &image).await;
    for ((file, text), played) in sessions.iter().zip(played) {
        let place = folder().join(format!("1.{OTHER_MINOR}")).join(file.file_name().expect("a name"));
        if write {
            match differences(text, &played) {
                Some(differences) => {
                    fs::create_dir_all(place.parent().expect("a folder")).expect("the folder of the version");
                    fs::write(&place, differences).expect("write the differences");
                }
                None => drop(fs::remove_file(&place)),
            }
            continue;
        }
        let expected = merged(text, &fs::read_to_string(&place).unwrap_or_default());
        if expected.trim() != played.trim() {
            wrong = [&wrong, &*place.to_string_lossy(), ":\n", &difference(&expected, &played)].concat();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lines in which two texts differ, by command.
fn difference(expected: &str, played: &str) -> String {
    let (expected, played) = (blocks(expected), blocks(played));
    let pairs = expected.iter().zip(&played).filter(|(expected, played)| expected != played);
    let told = pairs.map(|(expected, played)| format!("--- expected\n$ {expected}\n--- answered\n$ {played}\n"));
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn differences_are_put_where_they_were_found() {
    let text = "# a\n\n$ one\nx\n\n$ two\ny\n\n$ one\nz\n";
    let played = "# a\n\n$ one\nx\n\n$ two\ny\n\n$ one\nother\n";
    let found = differences(text, played).expect("one");
    assert!(found.ends_with("\n\n$ 3: one\nother\n"), "{found}");
    assert_eq!(merged(text, &found).trim(), played.trim());
    assert_eq!((differences(text, text), merged(text, "").trim()), (None, text.trim()));
}

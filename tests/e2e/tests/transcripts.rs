//! What people type and what they read: transcripts of `kubectl` and `wk` sessions against three nodes, compared line by
//! line. A file in `transcripts/` is a session in a namespace of its own, through one of the nodes.
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

/// The minor version of kubectl whose words the transcripts have.
const MINOR: &str = "32";

/// What is redacted, in this order.
static REDACTED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let rules = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
        (r"(Client|Kustomize) Version: v\S+", "$1 Version: <version>"),
        (r"sha256:[0-9a-f]{64}", "sha256:<digest>"),
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

async fn replay(cluster: &Cluster, kubectl: &Kubectl, file: &Path, number: usize) -> (String, String) {
    let text = fs::read_to_string(file).expect("a transcript");
    let namespace = file.file_stem().and_then(|name| name.to_str()).expect("a name of text");
    let node = &cluster.nodes[number % cluster.nodes.len()];
    kubectl.run(&["create", "namespace", namespace]).await.ok();
    let remarks: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let mut played = remarks.join("\n") + "\n";
    for command in commands(&text) {
        let line = command.replace("files/", &format!("{}/", files().display())).replace("$NS", namespace);
        let words = words(&line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = match words.as_slice() {
            ["kubectl", rest @ ..] => {
                kubectl.through(&node.kubeconfig()).run(&[&["--namespace", namespace], rest].concat()).await
            }
            ["wk", rest @ ..] => node.wk(&[&["--namespace", namespace], rest].concat()).await,
            other => panic!("{}: neither kubectl nor wk: {other:?}", file.display()),
        };
        let code = output.code.filter(|code| *code != 0).map(|code| format!("[exit {code}]\n")).unwrap_or_default();
        // Before anything is redacted: where the files are differs too.
        let said = format!("{}{}", output.stdout, output.stderr).replace(&files().display().to_string(), "files");
        let said = redact(&said);
        let said = if said.is_empty() { said } else { format!("{said}\n") };
        played = [&played, "\n$ ", command, "\n", &said, &code].concat();
    }
    (text, played)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

fn files() -> PathBuf {
    folder().join("files")
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
    let mut sessions: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    sessions.sort();
    let write = std::env::var("WK_GOLDENS").is_ok_and(|value| value == "write");
    let played = sessions.iter().enumerate().map(|(number, file)| replay(&cluster, &kubectl, file, number));
    let mut wrong = String::new();
    for (file, (expected, played)) in sessions.iter().zip(join_all(played).await) {
        if write {
            fs::write(file, &played).expect("write the transcript");
        } else if expected.trim() != played.trim() {
            wrong = [&wrong, &*file.to_string_lossy(), ":\n", &difference(&expected, &played)].concat();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lines in which two texts differ, by command.
fn difference(expected: &str, played: &str) -> String {
    let blocks = |text: &str| text.split("\n$ ").map(|block| block.trim().to_owned()).collect::<Vec<_>>();
    let (expected, played) = (blocks(expected), blocks(played));
    let pairs = expected.iter().zip(&played).filter(|(expected, played)| expected != played);
    let told = pairs.map(|(expected, played)| format!("--- expected\n$ {expected}\n--- answered\n$ {played}\n"));
    told.collect::<Vec<_>>().join("\n")
}

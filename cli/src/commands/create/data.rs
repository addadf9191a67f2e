//! ConfigMaps and Secrets of texts and files.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use wk_ingress::{Pem, PemError};

use super::Made;
use crate::args::{DataArgs, NamedArgs, SecretKind, TlsSecretArgs};
use crate::exit::{Code, ExitError, usage};

/// Keys and what they hold, in the order of the keys.
type Data = std::collections::BTreeMap<String, Vec<u8>>;

/// A ConfigMap.
pub(super) fn config_map(args: &DataArgs) -> Result<Made, ExitError> {
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (key, value) in read(args)? {
        match String::from_utf8(value) {
            Ok(text) => texts.insert(key, text.into()),
            Err(error) => bytes.insert(key, STANDARD.encode(error.as_bytes()).into()),
        };
    }
    let mut object = json!({"data": texts});
    if !bytes.is_empty() {
        object["binaryData"] = bytes.into();
    }
    Ok(Made::of("", "ConfigMap", "configmaps", object))
}

/// A Secret and its name.
pub(super) fn secret(kind: &SecretKind) -> Result<(&NamedArgs, Made), ExitError> {
    let (named, data, kind): (&NamedArgs, Data, &str) = match kind {
        SecretKind::Generic(args) => (&args.data.named, read(&args.data)?, args.kind.as_deref().unwrap_or("Opaque")),
        SecretKind::Tls(args) => {
            let data = [("tls.crt", open(&args.cert)?), ("tls.key", open(&args.key)?)];
            pair(args, &data[0].1, &data[1].1)?;
            (&args.named, data.map(|(key, value)| (key.to_owned(), value)).into(), "kubernetes.io/tls")
        }
        SecretKind::DockerRegistry(args) => {
            let auth = STANDARD.encode(format!("{}:{}", args.docker_username, args.docker_password));
            let mut entry = json!({"username": args.docker_username, "password": args.docker_password, "auth": auth});
            if let Some(email) = &args.docker_email {
                entry["email"] = email.clone().into();
            }
            let config = json!({"auths": {args.docker_server.as_str(): entry}});
            let data = [(".dockerconfigjson".to_owned(), config.to_string().into_bytes())];
            (&args.named, data.into(), "kubernetes.io/dockerconfigjson")
        }
    };
    let data: Map<String, Value> = data.into_iter().map(|(key, value)| (key, STANDARD.encode(value).into())).collect();
    Ok((named, Made::of("", "Secret", "secrets", json!({"type": kind, "data": data}))))
}

/// Certificate and key must be such that a server can use them.
fn pair(args: &TlsSecretArgs, certificate: &[u8], key: &[u8]) -> Result<(), ExitError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pem = Pem { certificate: text(certificate), key: text(key) };
    pem.check().map_err(|error| {
        let (certificate, key) = (args.cert.display(), args.key.display());
        match error {
            PemError::NoChain => usage(format!("{certificate} holds no certificate in PEM")),
            PemError::Chain(why) => usage(format!("{certificate} holds no certificate in PEM")).because(why),
            PemError::Key(why) => usage(format!("{key} holds no private key in PEM")).because(why),
            PemError::Other => usage(format!("the key in {key} is not that of the certificate in {certificate}")),
            PemError::Use(why) => usage(format!("{certificate} and {key} cannot be used")).because(why),
        }
    })
}

fn open(path: &Path) -> Result<Vec<u8>, ExitError> {
    std::fs::read(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Usage };
        ExitError::new(code, format!("read {}", path.display())).because(error)
    })
}

fn read(args: &DataArgs) -> Result<Data, ExitError> {
    let mut data = Data::new();
    let mut add = |key: &str, value: Vec<u8>| match data.insert(key.to_owned(), value) {
        _ if key.is_empty() => Err(usage("a key is empty")),
        None => Ok(()),
        Some(_) => Err(usage(format!("the key {key:?} comes twice"))),
    };
    for literal in &args.from_literal {
        let (key, text) =
            literal.split_once('=').ok_or_else(|| usage("--from-literal is KEY=TEXT, and one has no \"=\""))?;
        add(key, unquoted(text).as_bytes().to_vec())?;
    }
    for file in &args.from_file {
        let (key, path) = match file.split_once('=') {
            Some((key, path)) => (Some(key), Path::new(path)),
            None => (None, Path::new(file)),
        };
        if path.is_dir() {
            if key.is_some() {
                return Err(usage(format!("--from-file {file:?}: a directory's files have their own names")));
            }
            let entries =
                std::fs::read_dir(path).map_err(|error| usage(format!("read {}", path.display())).because(error))?;
            for entry in entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|entry| entry.is_file()) {
                add(&name_of(&entry), open(&entry)?)?;
            }
        } else {
            let own = name_of(path);
            add(key.unwrap_or(&own), open(path)?)?;
        }
    }
    for file in &args.from_env_file {
        let text = String::from_utf8(open(file)?).map_err(|_| usage(format!("{} is no text", file.display())))?;
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key, value.to_owned()),
                // A name alone takes its value from the environment.
                None => (line.trim_end(), std::env::var(line.trim_end()).unwrap_or_default()),
            };
            add(key, value.into_bytes())?;
        }
    }
    Ok(data)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The text without one pair of quotes around it, as kubectl reads literals.
fn unquoted(text: &str) -> &str {
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Command, CreateKind, try_parse};

    fn config(line: &str) -> Result<Value, String> {
        let cli = try_parse(format!("wk create cm a {line}").split_whitespace()).expect("parses");
        let Command::Create(create) = cli.command else { panic!("not create") };
        let Some(CreateKind::Configmap(args)) = create.kind else { panic!("not a ConfigMap") };
        config_map(&args).map(|made| made.object).map_err(|error| error.to_string())
    }

    #[test]
    fn config_maps_hold_texts_files_and_bytes() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("a.txt"), "one").expect("write");
        std::fs::write(dir.path().join("b.bin"), [0xff, 0xfe]).expect("write");
        let made =
            config(&format!("--from-literal x=1=2 --from-file {0} --from-file k={0}/a.txt", dir.path().display()))
                .expect("made");
        assert_eq!(made, json!({"data": {"x": "1=2", "a.txt": "one", "k": "one"}, "binaryData": {"b.bin": "//4="}}));
        std::fs::write(dir.path().join("env"), "# no\nA=1\n\nB=x y\n").expect("write");
        let made = config(&format!("--from-env-file {}/env", dir.path().display())).expect("made");
        assert_eq!(made, json!({"data": {"A": "1", "B": "x y"}}));
        let error = config("--from-literal hidden").expect_err("no value");
        assert!(error.contains("KEY=TEXT") && !error.contains("hidden"), "a secret's may be meant: {error}");
        assert!(config("--from-literal x=1 --from-literal x=2").expect_err("twice").contains("twice"));
        assert!(config("--from-file /no/such/file").expect_err("absent").contains("/no/such/file"));
    }
}

//! `wk cluster recover`: a survivor becomes a cluster of its own after the majority is lost for good.

use anyhow::Context as _;
use wk_store::MemberId;
use wk_store::recovery::{Recovery, Report};

use crate::args::RecoverArgs;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;
use crate::up::data_dir::DataDir;
use crate::up::{members, remains};

/// Says what recovering means, and does it when told to.
pub(super) async fn run(args: &RecoverArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let root = args.data_dir()?;
    if !root.join("identity").exists() {
        let message = format!("{} is no data directory of a node; name one with --data-dir", root.display());
        return Err(ExitError::new(Code::NotFound, message).into());
    }
    // The lock: nobody else uses the directory from here on.
    let data_dir = DataDir::open(&root).await.context("recover works on a node that is stopped")?;
    let identity = data_dir.identity()?.context("the node has no identity")?;
    let name = identity.file.name;
    let store = data_dir.join("store");
    let recovery = Recovery::open(&store, MemberId(identity.file.member))?;
    let others: Vec<String> = members::all(&recovery.view())
        .into_iter()
        .filter(|member| member.name != name)
        .map(|member| format!("{} ({})", member.name, member.address))
        .collect();
    let meaning = meaning(name.as_str(), &others, recovery.report());
    if !args.yes {
        ui.note(&meaning);
        let message =
            format!("nothing was changed; to go on: wk cluster recover --data-dir {} --yes", data_dir.root().display());
        return Err(usage(message).into());
    }
    let report = recovery.carry_out(|stored| remains::fate(stored, |node| node == name.as_str()))?;
    ui.note(&meaning);
    ui.line(&format!("recovered: node {name} is a cluster of its own, at revision {}", report.revision))?;
    ui.line(&format!("the files of before are in {}; delete them when all is well", report.aside.display()))?;
    ui.line(&format!("start it with: wk up --data-dir {} (and --listen and ports as before)", root.display()))?;
    ui.line("then let further nodes join with the token it prints, under names and in directories of their own")
}

/// What a person has to know before they say yes.
fn meaning(name: &str, others: &[String], report: &Report) -> String {
    let Report { last, committed, voted, .. } = report;
    let mut text =
        format!("Recovering makes node {name} the only member of the cluster, with what its own disk holds:\n");
    let mut item = |words: &str| {
        text.push_str("  - ");
        text.push_str(words);
        text.push('\n');
    };
    item(&format!("kept is every write up to revision {last}, the end of its log"));
    match last.0.saturating_sub(committed.0) {
        0 => item("all of them are known to have been acknowledged by a majority"),
        unsure => item(&format!(
            "whether a majority had the last {unsure} of them is not known here: they are kept, also those of which a client \
             was told that they failed"
        )),
    }
    item("lost is what the other members acknowledged and this one never received");
    if !voted {
        item("this node had no vote: what it lacks may be much. Recover on one that voted, if there is any");
    }
    if others.is_empty() {
        item("no other member is known to it");
    } else {
        item(&format!("out for good: {}", others.join(", ")));
        item("their nodes and the pods bound to them are taken out; controllers replace the pods");
        item(
            "never start them again with their old data: pods of theirs would run beside yours, and if most of them come \
              back they are the old cluster. Empty their data directories and let them join anew, under other names",
        );
    }
    text.pop();
    text
}

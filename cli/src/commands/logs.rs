//! `wk logs`: prints what pods wrote, of one pod or of all pods of a deployment.

use bytes::Bytes;
use futures::StreamExt as _;

use super::pods;
use crate::args::LogsArgs;
use crate::client::{Client, Lines, Query, Resource, refusal};
use crate::exit::{Code, ExitError, usage};
use crate::fields::name;
use crate::render::Ui;

/// Lines of each pod when many are asked for at once by labels, as with kubectl.
const TAIL_OF_MANY: i64 = 10;

/// A log to read.
struct Source {
    pod: String,
    container: String,
}

/// Prints the logs.
pub(super) async fn run(client: &Client, args: &LogsArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let sources = sources(client, args, ui).await?;
    let several = sources.len() > 1;
    let mut streams = Vec::new();
    for source in &sources {
        let prefix = match (several || args.prefix, args.all_containers) {
            (true, true) => format!("[{}/{}] ", source.pod, source.container),
            (true, false) => format!("[{}] ", source.pod),
            (false, _) => String::new(),
        };
        match client.stream(&path(client, source, args), "text/plain, */*").await {
            Ok(lines) => streams.push((prefix, lines)),
            // One pod that has not started yet does not hide what the others say.
            Err(error) if several && refusal(&error).is_some() => {
                ui.note(&format!("{}: {error:#}", source.pod));
            }
            Err(error) => return Err(error.context(format!("logs of pod {}", source.pod))),
        }
    }
    if args.follow {
        let all = streams.into_iter().map(|(prefix, lines)| Box::pin(prefixed(prefix, lines)));
        let mut all = futures::stream::select_all(all);
        while let Some(line) = all.next().await {
            ui.data(&line?)?;
        }
        for source in &sources {
            still_allowed(client, &source.pod).await?;
        }
    } else {
        for (prefix, lines) in streams {
            let mut lines = Box::pin(prefixed(prefix, lines));
            while let Some(line) = lines.next().await {
                ui.data(&line?)?;
            }
        }
    }
    Ok(())
}

/// Fails if a log that was followed has ended because its reader is not let in any more. That of a container that ended
/// ends too, and that is no failure, nor is it that the pod has gone.
async fn still_allowed(client: &Client, pod: &str) -> anyhow::Result<()> {
    match client.find(&Resource::pods().object(client.namespace(), pod)).await {
        Err(error) if refusal(&error).is_some() => Err(error.context(format!("the log of pod {pod} ended"))),
        _ => Ok(()),
    }
}

/// The logs meant.
async fn sources(client: &Client, args: &LogsArgs, ui: &mut Ui) -> anyhow::Result<Vec<Source>> {
    let mut found = match (&args.target, &args.selector) {
        (Some(target), _) => pods::meant(client, target).await?.pods,
        (None, Some(labels)) => pods::labelled(client, labels).await?,
        (None, None) => return Err(usage("say which: POD, KIND/NAME or -l LABELS").into()),
    };
    if found.is_empty() {
        let message = format!("no pods match {}", args.selector.as_deref().unwrap_or_default());
        return Err(ExitError::new(Code::NotFound, message).into());
    }
    if found.len() > args.max_log_requests {
        if args.follow && args.selector.is_some() {
            let message = format!(
                "{} pods match; at most {} are followed at once: narrow it down, or raise --max-log-requests",
                found.len(),
                args.max_log_requests
            );
            return Err(usage(message).into());
        }
        ui.note(&format!("{} pods match; showing the first {}", found.len(), args.max_log_requests));
        found.truncate(args.max_log_requests);
    }
    let chosen = args.container.as_deref().or(args.second.as_deref());
    let mut sources = Vec::new();
    for pod in &found {
        let known = pods::containers(pod);
        if let Some(wanted) = chosen.filter(|wanted| !known.contains(wanted)) {
            let message = format!("pod {} has no container {wanted:?}; it has {}", name(pod), known.join(", "));
            return Err(ExitError::new(Code::NotFound, message).into());
        }
        let wanted =
            if args.all_containers { known } else { chosen.or_else(|| pods::container(pod)).into_iter().collect() };
        sources.extend(
            wanted.into_iter().map(|container| Source { pod: name(pod).to_owned(), container: container.to_owned() }),
        );
    }
    Ok(sources)
}

/// The lines as a stream, each with the prefix and its end.
fn prefixed(prefix: String, lines: Lines) -> impl futures::Stream<Item = anyhow::Result<Vec<u8>>> {
    futures::stream::try_unfold((prefix, lines), |(prefix, mut lines)| async move {
        let line: Option<Bytes> = lines.next().await?;
        Ok(line.map(|line| ([prefix.as_bytes(), &line, b"\n"].concat(), (prefix, lines))))
    })
}

fn path(client: &Client, source: &Source, args: &LogsArgs) -> String {
    let on = |flag: bool| flag.then_some("true");
    let tail = args.tail.or(args.selector.is_some().then_some(TAIL_OF_MANY)).filter(|tail| *tail >= 0);
    Query::default()
        .with("container", &source.container)
        .maybe("follow", on(args.follow))
        .maybe("previous", on(args.previous))
        .maybe("timestamps", on(args.timestamps))
        .maybe("tailLines", tail)
        .maybe("sinceSeconds", args.since.map(|since| since.as_secs().max(1)))
        .maybe("sinceTime", args.since_time.as_deref())
        .maybe("limitBytes", args.limit_bytes)
        .maybe("level", args.level.as_deref())
        .on(&format!("{}/log", Resource::pods().object(client.namespace(), &source.pod)))
}

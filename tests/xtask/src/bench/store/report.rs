//! Tables of both sides, with the ratios where we lose, too.

#![expect(clippy::print_stdout, reason = "its result goes to the terminal")]

use std::path::Path;

use super::super::machine;
use super::super::table::{Table, median, range, ratio};
use super::failures::{self, Restart};
use super::load::Measured;
use super::parts::{self, Watches};

/// Reads one figure out of what was seen.
type Figure<T> = fn(&T) -> f64;

/// Rounds of figures: for each row, for each side.
pub(super) struct Rows<T> {
    sides: usize,
    rows: Vec<(String, Vec<Vec<T>>)>,
}

impl<T> Rows<T> {
    pub(super) fn new(sides: usize) -> Self {
        Self { sides, rows: Vec::new() }
    }

    pub(super) fn begin(&mut self, title: String) {
        self.rows.push((title, (0..self.sides).map(|_| Vec::new()).collect()));
    }

    pub(super) fn add(&mut self, side: usize, seen: T) {
        self.rows.last_mut().expect("a row was begun").1[side].push(seen);
    }

    /// Title, and for each figure ours, etcd's, and the ratio.
    fn cells(&self, figures: &[(Figure<T>, usize)]) -> impl Iterator<Item = Vec<String>> {
        self.rows.iter().map(move |(title, sides)| {
            let mut cells = vec![title.clone()];
            for (figure, digits) in figures {
                let series: Vec<Vec<f64>> = sides.iter().map(|seen| seen.iter().map(figure).collect()).collect();
                cells.extend(triple(&series, *digits));
            }
            cells
        })
    }
}

/// The medians of ours and of etcd's, and the median of the rounds' ratios.
fn triple(series: &[Vec<f64>], digits: usize) -> [String; 3] {
    let cell = |side: Option<&Vec<f64>>| side.map_or("-".to_owned(), |side| format!("{:.digits$}", median(side)));
    let quotient = match series {
        [ours, etcd] => format!("{:.2}", ratio(ours, etcd)),
        _ => "-".to_owned(),
    };
    [cell(series.first()), cell(series.get(1)), quotient]
}

/// Milliseconds from a leader's death to the next write, for each side.
pub(super) type Failover = Vec<Vec<f64>>;

/// What is compared, and how far it can be.
pub(super) fn introduce(etcd: Option<&str>, dir: &Path) {
    let etcd = etcd.map_or("no etcd".to_owned(), |version| format!("three of etcd {version}"));
    println!(
        "{}Three peers of ours and {etcd}, measured in turns with their data side by side ({}). Each cluster's processes \
         and the client share the cores: the ratios are those of a small machine. One client process, {} connections to \
         each peer, without TLS. It speaks gRPC with etcd, in a lean client, and a binary protocol with ours: part of the \
         difference is that. Settings are the defaults: elections after 0.4 to 0.8 s (ours), 1 to 2 s (etcd); heartbeats \
         every 100 ms; etcd keeps all revisions. Clients are spread over all peers unless it is said otherwise. Medians of \
         the rounds; x is ours divided by etcd's.\n",
        machine(),
        filesystem(dir),
        super::cluster::CONNECTIONS,
    );
}

/// The file system below `dir`, in words.
fn filesystem(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        dir.starts_with(point).then_some((point.len(), kind))
    });
    match mount.max_by_key(|(length, _)| *length) {
        Some((_, "tmpfs")) => "on tmpfs, which makes fsync cost nothing: choose another --dir".to_owned(),
        Some((_, kind)) => format!("on {kind}"),
        None => "on an unknown file system".to_owned(),
    }
}

pub(super) fn writes(rows: &Rows<Measured>) {
    let title = format!("Writes ({} objects, overwritten in turns; a single writer is at the leader):", parts::OBJECTS);
    requests(&title, "writes/s", rows);
}

pub(super) fn reads(rows: &Rows<Measured>) {
    requests("Linearizable reads of 1 KiB:", "reads/s", rows);
}

fn requests(title: &str, rate: &str, rows: &Rows<Measured>) {
    let rate = format!("{rate} ours");
    let columns = [
        "",
        &rate,
        "etcd",
        "x",
        "p50 ms ours",
        "etcd",
        "x",
        "p99 ms ours",
        "etcd",
        "x",
        "CPU µs of peers ours",
        "etcd",
        "x",
    ];
    let mut table = Table::new(title, &columns);
    let figures: [(Figure<Measured>, usize); 4] = [
        (|seen| seen.per_second, 0),
        (|seen| seen.latency.median, 2),
        (|seen| seen.latency.p99, 2),
        (|seen| seen.cpu, 0),
    ];
    rows.cells(&figures).for_each(|cells| table.row(&cells));
    println!("{}", table.finish());
}

pub(super) fn watches(rows: &Rows<Watches>) {
    let title = format!(
        "{} watchers, objects of 1 KiB; from before the write to the watcher. Ours watches collections (one for each \
         object in the first row, ten in the second), etcd keys and prefixes:",
        parts::WATCHERS
    );
    let columns = [
        "",
        "writes/s ours",
        "etcd",
        "x",
        "delivery p50 ms ours",
        "etcd",
        "x",
        "p99 ms ours",
        "etcd",
        "x",
        "deliveries a write ours",
        "etcd",
        "x",
    ];
    let mut table = Table::new(&title, &columns);
    let figures: [(Figure<Watches>, usize); 4] = [
        (|seen| seen.writes_per_second, 0),
        (|seen| seen.delivery.median, 2),
        (|seen| seen.delivery.p99, 2),
        (|seen| seen.deliveries, 1),
    ];
    rows.cells(&figures).for_each(|cells| table.row(&cells));
    println!("{}", table.finish());
}

pub(super) fn failover(sides: &Failover) {
    let title = format!(
        "The leader is killed while {} clients write to the others: until the first write sent after that is acknowledged, \
         {} times:",
        failures::WRITERS,
        sides.first().map_or(0, Vec::len)
    );
    let mut table = Table::new(&title, &["", "ours", "etcd", "x"]);
    for (what, figure) in [("median ms", median as fn(&[f64]) -> f64), ("longest ms", |series| range(series).1)] {
        let series: Vec<Vec<f64>> = sides.iter().map(|series| vec![figure(series)]).collect();
        let mut cells = vec![what.to_owned()];
        cells.extend(triple(&series, 0));
        table.row(&cells);
    }
    println!("{}", table.finish());
}

pub(super) fn restart(sides: &[Restart], objects: usize) {
    let title = format!(
        "One peer alone with {objects} objects of 1 KiB, killed and started again: until its first linearizable read, and \
         its memory after that, less that of an empty one:"
    );
    let mut table = Table::new(&title, &["", "ours", "etcd", "x"]);
    let figures: [(&str, Figure<Restart>); 3] = [
        ("restart ms", |seen| median(&seen.millis)),
        ("bytes of RSS an object", |seen| seen.resident),
        ("of it anonymous", |seen| seen.anonymous),
    ];
    for (what, figure) in figures {
        let series: Vec<Vec<f64>> = sides.iter().map(|seen| vec![figure(seen)]).collect();
        let mut cells = vec![what.to_owned()];
        cells.extend(triple(&series, 0));
        table.row(&cells);
    }
    println!("{}", table.finish());
}

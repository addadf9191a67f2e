//! What can be typed: the command line as types, one file a family of commands.

mod access;
mod backup;
mod change;
mod cluster;
mod compile;
mod create;
mod deploy;
mod get;
mod info;
mod node;
mod objects;
mod shared;
mod streams;
mod up;
mod user;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use access::{AuthArgs, AuthCommand, CanIArgs, WhoamiArgs};
pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use change::{
    AutoscaleArgs, EditArgs, MarkArgs, PatchArgs, PatchType, RolloutArgs, RolloutChangeArgs, RolloutCommand,
    RolloutHistoryArgs, RolloutStatusArgs, RolloutUndoArgs, ScaleArgs, SetArgs, SetCommand, SetImageArgs,
};
pub(crate) use cluster::{ClusterArgs, ClusterCommand, KeysArgs, KeysCommand, MembersArgs, RecoverArgs, RemoveArgs};
pub(crate) use compile::CompileArgs;
pub(crate) use create::{
    BindingArgs, BudgetArgs, CreateArgs, CreateKind, CronJobArgs, DataArgs, IngressArgs, JobArgs, NamedArgs,
    PriorityClassArgs, QuotaArgs, RoleArgs, RunArgs, SecretKind, ServiceKind, TlsSecretArgs, TokenRequestArgs,
};
pub(crate) use deploy::{DeployArgs, EnvChange, Route, is_dns_label};
pub(crate) use get::{ApiResourcesArgs, DescribeArgs, DiffArgs, EventsArgs, ExplainArgs, GetArgs, WaitArgs};
pub(crate) use info::{CompletionArgs, StatusArgs, TokenArgs, TokenFormat, VersionArgs};
pub(crate) use node::{
    CordonArgs, DrainArgs, NodeArgs, NodeCommand, TaintArgs, TopArgs, TopCommand, TopNodesArgs, TopPodsArgs,
    UpgradeArgs,
};
pub(crate) use objects::{ApplyArgs, Cascade, DeleteArgs, StructuredFormat};
pub(crate) use shared::{DryRun, PickArgs, WriteArgs};
pub(crate) use streams::{AttachArgs, CpArgs, DebugArgs, ExecArgs, LogsArgs, Place, PortForwardArgs, PortPair};
pub(crate) use up::{AccessArgs, MESH_PORT, PeerAddress, UpArgs};
pub(crate) use user::{AddArgs, RevokeArgs, UserArgs, UserCommand};

/// Kubernetes' model without containers and without a master: every machine runs `wk up`.
#[derive(Debug, Parser)]
#[command(name = "wk", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options every command takes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GlobalArgs {
    /// Kubeconfig of the cluster to talk to
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) context: Option<String>,
    /// Act as this user, if we may
    #[arg(long = "as", global = true, value_name = "USER", help_heading = "Global options")]
    pub(crate) act_as: Option<String>,
    /// With --as: act as a member of this group
    #[arg(long = "as-group", global = true, value_name = "GROUP", help_heading = "Global options")]
    pub(crate) act_as_group: Vec<String>,
    /// Namespace to work in [default: the kubeconfig's, else "default"]
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) namespace: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a node: the first one makes a cluster, the others join it
    Up(Box<UpArgs>),
    /// Run a WebAssembly file in the cluster and give it a URL
    Deploy(DeployArgs),
    /// Show objects
    Get(GetArgs),
    /// Tell about objects in words, with what belongs to them and what happened
    Describe(DescribeArgs),
    /// Make objects that must not be there yet, from files or a few words
    Create(CreateArgs),
    /// Create or update the objects described in files
    Apply(ApplyArgs),
    /// Show what `wk apply` would change
    Diff(DiffArgs),
    /// Change an object in an editor
    Edit(EditArgs),
    /// Set the images of containers
    Set(SetArgs),
    /// Change objects by a patch
    Patch(PatchArgs),
    /// Set and remove labels
    Label(MarkArgs),
    /// Set and remove annotations
    Annotate(MarkArgs),
    /// Delete objects
    Delete(DeleteArgs),
    /// Change the number of replicas
    Scale(ScaleArgs),
    /// Let the number of replicas follow their load
    Autoscale(AutoscaleArgs),
    /// Watch, hold, repeat or take back the rollout of a workload
    Rollout(RolloutArgs),
    /// Wait until objects are made, gone or in a state
    Wait(WaitArgs),
    /// Show what happened
    Events(EventsArgs),
    /// Print what a pod wrote
    Logs(LogsArgs),
    /// Look into a pod: its imports and what answers them, limits, the last failure, the last requests
    Debug(DebugArgs),
    /// Run a program in a pod
    Exec(ExecArgs),
    /// Connect to the program of a pod
    Attach(AttachArgs),
    /// Listen here and lead connections to a pod
    PortForward(PortForwardArgs),
    /// Copy files to and from pods
    Cp(CpArgs),
    /// What the fields of a kind mean
    Explain(ExplainArgs),
    /// What we may do, and who we are
    Auth(AuthArgs),
    /// Show how much CPU and memory is used
    Top(TopArgs),
    /// Let no new pods come to nodes
    Cordon(CordonArgs),
    /// Let new pods come to nodes again
    Uncordon(CordonArgs),
    /// Empty nodes, as far as disruption budgets allow
    Drain(DrainArgs),
    /// Cordon, drain or upgrade nodes
    Node(NodeArgs),
    /// Keep pods off nodes unless they tolerate it
    Taint(TaintArgs),
    /// Show the kinds the server has
    ApiResources(ApiResourcesArgs),
    /// Show the versions of the API the server has
    ApiVersions,
    /// Where the API is
    ClusterInfo,
    /// Nodes, leader, voters and pods at a glance
    Status(StatusArgs),
    /// Members of the cluster: who votes and why; remove one, or recover from the loss of most
    Cluster(ClusterArgs),
    /// Write everything the cluster holds to a file
    Backup(BackupArgs),
    /// Make a new cluster of a backup
    Restore(RestoreArgs),
    /// Compile a WebAssembly file for another kind of machine
    Compile(CompileArgs),
    /// What a node starts to compile a module: the module on standard input, code on standard output
    #[command(hide = true)]
    CompileWorker,
    /// What a node asks a program before it goes on as that: the formats of data that it reads, as JSON
    #[command(hide = true)]
    DataFormats,
    /// Print the token a further node joins with
    Token(TokenArgs),
    /// People: make a kubeconfig for one, list them, take their access away
    User(UserArgs),
    /// Print the kubeconfig in use, with its files embedded
    Kubeconfig,
    /// Print the versions of this program and of the server
    Version(VersionArgs),
    /// Print the completion script for a shell
    Completion(CompletionArgs),
}

/// The whole command line, with the exit codes below its help.
pub(crate) fn command() -> clap::Command {
    Cli::command().after_help(crate::exit::help())
}

/// Parses the process's command line; prints the help or the mistake and exits when there is nothing to run.
pub(crate) fn parse() -> Cli {
    try_parse(std::env::args_os()).unwrap_or_else(|error| error.exit())
}

/// Parses any command line.
pub(crate) fn try_parse<I, T>(words: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words)?;
    check_token(&mut command, &matches)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// `--token` means nothing without `--join`. clap's `requires` would also refuse a `WK_TOKEN` that merely lies around
/// in the environment, so the check is made by hand.
fn check_token(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(up) = matches.subcommand_matches("up") else { return Ok(()) };
    let typed = up.value_source("token") == Some(ValueSource::CommandLine);
    if typed && !up.contains_id("join") {
        return Err(command.error(
            clap::error::ErrorKind::MissingRequiredArgument,
            "--token TOKEN goes with --join ADDRESS: the address of a node of the cluster to join",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        try_parse(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn help_documents_the_exit_codes() {
        let help = command().render_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("timed out waiting"), "{help}");
    }

    #[test]
    fn join_and_token_require_each_other() {
        assert!(parse("wk up --join 127.0.0.1").expect_err("no token").contains("--token"));
        assert!(parse("wk up --token x").expect_err("no address").contains("--join"));
        let Command::Up(up) = parse("wk up --join 127.0.0.1 --token x").expect("both").command else {
            panic!("not up")
        };
        assert_eq!(up.join.expect("join").to_string(), "127.0.0.1:7443");
    }

    #[test]
    fn a_node_votes_or_does_not_or_is_a_witness() {
        for line in ["wk up --no-vote --witness", "wk up --vote --witness", "wk up --vote --no-vote"] {
            assert!(parse(line).is_err(), "{line}");
        }
        let Command::Up(up) = parse("wk up --no-vote --voter-timeout 3s").expect("parses").command else {
            panic!("not up")
        };
        assert!(up.no_vote && up.voter_timeout == Some(std::time::Duration::from_secs(3)));
    }

    #[test]
    fn global_options_go_anywhere() {
        let cli = parse("wk get pods -n kube-system").expect("parses");
        assert_eq!(cli.global.namespace.as_deref(), Some("kube-system"));
    }

    #[test]
    fn words_after_two_dashes_are_the_programs() {
        let cli = parse("wk deploy a.wasm --name a -- --verbose x").expect("parses");
        let Command::Deploy(deploy) = cli.command else { panic!("not deploy") };
        assert_eq!(deploy.args, ["--verbose", "x"]);
    }
}

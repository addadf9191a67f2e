//! `wk create` as typed: from files, or one of the kinds that are quicker typed than written.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::deploy::duration;
use super::shared::{PrintArgs, WriteArgs};

/// Options of `wk create`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct CreateArgs {
    /// File or directory with the objects; "-" is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
    #[command(subcommand)]
    pub(crate) kind: Option<CreateKind>,
}

/// What can be made without a file.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum CreateKind {
    /// A ConfigMap of texts and files
    #[command(visible_alias = "cm")]
    Configmap(DataArgs),
    /// A Secret: generic, tls or docker-registry
    Secret(SecretArgs),
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace(NamedArgs),
    /// A ServiceAccount
    #[command(visible_alias = "sa")]
    Serviceaccount(NamedArgs),
    /// A Deployment of one image
    #[command(visible_alias = "deploy")]
    Deployment(RunArgs),
    /// A Job of one image, or of a CronJob's template
    Job(JobArgs),
    /// A CronJob of one image
    #[command(visible_alias = "cj")]
    Cronjob(CronJobArgs),
    /// A Role
    Role(RoleArgs),
    /// A ClusterRole
    Clusterrole(RoleArgs),
    /// A RoleBinding
    Rolebinding(BindingArgs),
    /// A ClusterRoleBinding
    Clusterrolebinding(BindingArgs),
    /// A ResourceQuota
    #[command(visible_alias = "resourcequota")]
    Quota(QuotaArgs),
    /// A token of a ServiceAccount; it is printed, not kept
    Token(TokenRequestArgs),
    /// An Ingress
    #[command(visible_alias = "ing")]
    Ingress(IngressArgs),
    /// A Service: clusterip, nodeport, loadbalancer or externalname
    #[command(visible_alias = "svc")]
    Service(ServiceArgs),
    /// A PriorityClass
    #[command(visible_alias = "pc")]
    Priorityclass(PriorityClassArgs),
    /// A PodDisruptionBudget
    #[command(visible_alias = "pdb")]
    Poddisruptionbudget(BudgetArgs),
}

/// Options of what only has a name.
#[derive(Debug, Clone, Args)]
pub(crate) struct NamedArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) write: WriteArgs,
}

/// Options of what holds data.
#[derive(Debug, Clone, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// A key and its text
    #[arg(long, value_name = "KEY=TEXT")]
    pub(crate) from_literal: Vec<String>,
    /// A file under its name or the key, or the files of a directory
    #[arg(long, value_name = "[KEY=]FILE")]
    pub(crate) from_file: Vec<String>,
    /// A file of KEY=TEXT lines
    #[arg(long, value_name = "FILE")]
    pub(crate) from_env_file: Vec<PathBuf>,
}

/// Options of `wk create secret`.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretArgs {
    #[command(subcommand)]
    pub(crate) kind: SecretKind,
}

/// Kinds of Secrets.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SecretKind {
    /// Of texts and files
    Generic(GenericSecretArgs),
    /// Of a certificate and its key
    Tls(TlsSecretArgs),
    /// Of the password for a registry
    DockerRegistry(RegistrySecretArgs),
}

/// Options of `wk create secret generic`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GenericSecretArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Its type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
}

/// Options of `wk create secret tls`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TlsSecretArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: PathBuf,
    /// Its key, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

/// Options of `wk create secret docker-registry`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RegistrySecretArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The registry
    #[arg(long, value_name = "HOST", default_value = "https://index.docker.io/v1/")]
    pub(crate) docker_server: String,
    /// The user
    #[arg(long, value_name = "NAME")]
    pub(crate) docker_username: String,
    /// The password
    #[arg(long, value_name = "PASSWORD")]
    pub(crate) docker_password: String,
    /// The user's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker_email: Option<String>,
}

/// Options of what runs an image.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The image; several make several containers
    #[arg(long, value_name = "IMAGE", required = true)]
    pub(crate) image: Vec<String>,
    /// How many pods
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub(crate) replicas: u32,
    /// The port it serves
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// What it runs
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Options of `wk create job`.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The image
    #[arg(long, value_name = "IMAGE", required_unless_present = "from", conflicts_with = "from")]
    pub(crate) image: Option<String>,
    /// The CronJob it is made of, such as cronjob/nightly
    #[arg(long, value_name = "cronjob/NAME", conflicts_with = "command")]
    pub(crate) from: Option<String>,
    /// What it runs
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Options of `wk create cronjob`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CronJobArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: String,
    /// When, such as "*/5 * * * *"
    #[arg(long, value_name = "CRON")]
    pub(crate) schedule: String,
    /// Whether a failed run is tried again in its pod
    #[arg(long, value_name = "POLICY", default_value = "OnFailure", value_parser = ["OnFailure", "Never"])]
    pub(crate) restart: String,
    /// What it runs
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Options of `wk create role` and `clusterrole`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// What may be done: get, list, watch, create, update, patch, delete, or *
    #[arg(long, value_name = "VERB,…", value_delimiter = ',', required_unless_present = "aggregation_rule")]
    pub(crate) verb: Vec<String>,
    /// With what: pods, deployments.apps, pods/log
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    pub(crate) resource: Vec<String>,
    /// Only with these
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) resource_name: Vec<String>,
    /// clusterrole: with these paths, such as /metrics
    #[arg(long = "non-resource-url", value_name = "PATH,…", value_delimiter = ',')]
    pub(crate) non_resource_url: Vec<String>,
    /// clusterrole: the rules of all ClusterRoles with these labels
    #[arg(long, value_name = "LABEL=VALUE,…", value_delimiter = ',')]
    pub(crate) aggregation_rule: Vec<String>,
}

/// Options of `wk create rolebinding` and `clusterrolebinding`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BindingArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The ClusterRole they get
    #[arg(long, value_name = "NAME", required_unless_present = "role", conflicts_with = "role")]
    pub(crate) clusterrole: Option<String>,
    /// rolebinding: the Role they get
    #[arg(long, value_name = "NAME")]
    pub(crate) role: Option<String>,
    /// A user
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Vec<String>,
    /// A group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// A ServiceAccount
    #[arg(long, value_name = "NAMESPACE:NAME")]
    pub(crate) serviceaccount: Vec<String>,
}

/// Options of `wk create quota`.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The limits, such as pods=10,requests.cpu=4
    #[arg(long, value_name = "WHAT=AMOUNT,…", value_delimiter = ',')]
    pub(crate) hard: Vec<String>,
    /// What it counts, such as BestEffort
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',')]
    pub(crate) scopes: Vec<String>,
}

/// Options of `wk create token`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TokenRequestArgs {
    /// The ServiceAccount
    #[arg(value_name = "SERVICEACCOUNT")]
    pub(crate) name: String,
    /// How long it is good for [default: what the server gives]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Who it is meant for [default: the API server]
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Vec<String>,
    /// It ends with this object: Pod, Secret or Node
    #[arg(long, value_name = "KIND", requires = "bound_object_name")]
    pub(crate) bound_object_kind: Option<String>,
    /// The name of that object
    #[arg(long, value_name = "NAME", requires = "bound_object_kind")]
    pub(crate) bound_object_name: Option<String>,
    /// The uid of that object
    #[arg(long, value_name = "UID", requires = "bound_object_kind")]
    pub(crate) bound_object_uid: Option<String>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

/// Options of `wk create ingress`.
#[derive(Debug, Clone, Args)]
pub(crate) struct IngressArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// A route: shop.example/cart=shop:80, with a star for all below (/*), ",tls[=SECRET]" for TLS
    #[arg(long, value_name = "HOST/PATH=SERVICE:PORT")]
    pub(crate) rule: Vec<String>,
    /// The class
    #[arg(long, value_name = "NAME")]
    pub(crate) class: Option<String>,
    /// Where everything else goes
    #[arg(long, value_name = "SERVICE:PORT")]
    pub(crate) default_backend: Option<String>,
    /// An annotation
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
}

/// Options of `wk create service`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    pub(crate) kind: ServiceKind,
}

/// Types of Services.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ServiceKind {
    /// With an address within the cluster
    Clusterip(ServicePortArgs),
    /// With a port on every node
    Nodeport(ServicePortArgs),
    /// With an address outside the cluster
    Loadbalancer(ServicePortArgs),
    /// Another name for a host outside
    Externalname(ServicePortArgs),
}

/// Options of a Service.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServicePortArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// A port, and the one it leads to
    #[arg(long, value_name = "PORT[:TARGET],…", value_delimiter = ',')]
    pub(crate) tcp: Vec<String>,
    /// clusterip: the address, or None
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) clusterip: Option<String>,
    /// nodeport: the port on every node
    #[arg(long, value_name = "PORT")]
    pub(crate) node_port: Option<u16>,
    /// externalname: the host
    #[arg(long, value_name = "HOST")]
    pub(crate) external_name: Option<String>,
}

/// Options of `wk create priorityclass`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PriorityClassArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The priority: higher goes first
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 0)]
    pub(crate) value: i32,
    /// For pods that name no class
    #[arg(long)]
    pub(crate) global_default: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    /// Whether it may take the place of others
    #[arg(long, value_name = "POLICY", default_value = "PreemptLowerPriority", value_parser = ["PreemptLowerPriority", "Never"])]
    pub(crate) preemption_policy: String,
}

/// Options of `wk create pdb`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BudgetArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// The labels of its pods, such as app=web
    #[arg(long, value_name = "LABELS")]
    pub(crate) selector: String,
    /// So many, or such a share, must stay
    #[arg(
        long,
        value_name = "N|PERCENT",
        required_unless_present = "max_unavailable",
        conflicts_with = "max_unavailable"
    )]
    pub(crate) min_available: Option<String>,
    /// So many, or such a share, may go
    #[arg(long, value_name = "N|PERCENT")]
    pub(crate) max_unavailable: Option<String>,
}

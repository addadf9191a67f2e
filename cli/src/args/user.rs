//! `wk user` as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

/// People of the cluster.
#[derive(Debug, Clone, Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) command: UserCommand,
}

/// What to do about them.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a kubeconfig for a person, with a certificate of its own, and print it
    Add(AddArgs),
    /// Who has a certificate, in which groups, until when
    List,
    /// Take a person's access away: at once, whatever they have open
    Revoke(RevokeArgs),
}

/// Options of `wk user add`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AddArgs {
    /// The person's name in roles: letters, digits and @._-+
    pub(crate) name: String,
    /// A group they are in; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// A role they get in the namespace (-n): a Role there, or a ClusterRole such as view, edit, admin
    #[arg(long, value_name = "ROLE", conflicts_with = "cluster_role")]
    pub(crate) role: Option<String>,
    /// A ClusterRole they get everywhere
    #[arg(long, value_name = "ROLE")]
    pub(crate) cluster_role: Option<String>,
    /// How long the certificate is good for
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = super::deploy::duration)]
    pub(crate) expires: Duration,
    /// Write the kubeconfig to this file, which only its owner may read, instead of printing it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Options of `wk user revoke`.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RevokeArgs {
    /// The person's name
    pub(crate) name: Option<String>,
    /// A certificate by its serial number, as `wk user list` or `openssl x509 -serial` shows it: one of an
    /// admin.kubeconfig, or one that was asked for with a CertificateSigningRequest
    #[arg(long, value_name = "SERIAL")]
    pub(crate) certificate: Option<String>,
    /// Every administrator's certificate that was made before the one this command uses
    #[arg(long)]
    pub(crate) older: bool,
}

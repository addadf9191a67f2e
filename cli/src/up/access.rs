//! Who is let in by the API, and what is put on record, from what was typed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use wk_access::audit::{Level, Policy};
use wk_access::tokens::Keyring;
use wk_access::tokens::oidc::Provider;
use wk_apiserver::{Audit, Fetch, Oidc, Security, Sink};
use wk_base::error::Chain;
use wk_mesh::{Authority, Https};

use crate::args::AccessArgs;
use crate::exit::usage;

/// Keys of a provider are some kilobytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// A provider that takes longer holds up whoever brings its token.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(5);

/// What the options say. Files are read now, so that a mistake is told at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    audit: Option<Audit>,
    oidc: Option<Arc<Oidc>>,
    anonymous: bool,
}

impl Access {
    /// Resolves what was typed.
    pub(crate) fn resolve(args: &AccessArgs) -> anyhow::Result<Self> {
        let audit = args.audit_log.as_ref().map(|log| {
            let policy = match &args.audit_policy {
                None => Policy::all(Level::Metadata),
                Some(path) => {
                    let what = || format!("--audit-policy {}", path.display());
                    let text = std::fs::read_to_string(path).with_context(what)?;
                    let value: serde_json::Value = serde_yaml::from_str(&text).with_context(what)?;
                    Policy::parse(&value).with_context(what)?
                }
            };
            anyhow::Ok(Audit::new(policy, Sink::open(log)?))
        });
        let (audit, oidc) = (audit.transpose()?, oidc(args)?.map(Arc::new));
        Ok(Self { audit, oidc, anonymous: args.anonymous_auth })
    }

    /// The same for the API server.
    pub(crate) fn security(&self, keys: &Keyring, authority: &Authority) -> Security {
        Security {
            keys: keys.clone(),
            anonymous: self.anonymous,
            authority: Some(authority.clone()),
            audit: self.audit.clone(),
            oidc: self.oidc.clone(),
        }
    }
}

fn oidc(args: &AccessArgs) -> anyhow::Result<Option<Oidc>> {
    let (Some(issuer), Some(client)) = (&args.oidc_issuer_url, &args.oidc_client_id) else { return Ok(None) };
    if !issuer.starts_with("https://") {
        return Err(usage("--oidc-issuer-url begins with https://: keys that anybody can change prove nothing").into());
    }
    let required = args.oidc_required_claim.iter().map(|claim| {
        let split = claim.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        split.ok_or_else(|| usage(format!("--oidc-required-claim {claim}: expected CLAIM=VALUE")))
    });
    let provider = Provider {
        issuer: issuer.clone(),
        client: client.clone(),
        username_claim: args.oidc_username_claim.clone(),
        username_prefix: args.oidc_username_prefix.clone(),
        groups_claim: args.oidc_groups_claim.clone(),
        groups_prefix: args.oidc_groups_prefix.clone(),
        required: required.collect::<Result<_, _>>()?,
    };
    let roots = args
        .oidc_ca_file
        .as_ref()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("--oidc-ca-file {}", path.display())));
    let https = Https::new(roots.transpose()?.as_deref()).context("the OpenID Connect provider")?;
    Ok(Some(Oidc::new(provider, Arc::new(Documents(https)))))
}

struct Documents(Https);

#[async_trait]
impl Fetch for Documents {
    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let got = self.0.get(url, DOCUMENT_BYTES_MAX, DOCUMENT_DEADLINE).await;
        got.map_err(|error| format!("{url}: {}", Chain(&error)))
    }
}

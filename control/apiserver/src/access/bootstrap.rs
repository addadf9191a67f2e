//! Bootstrap tokens: `<id>.<secret>` of a Secret `bootstrap-token-<id>` in kube-system that says that it may be used for
//! authentication. Those that `wk up` prints do not say so: they let nodes join and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use wk_access::{AUTHENTICATED, BOOTSTRAPPERS, User};
use wk_api::{Object, kinds};
use wk_cluster::Freshness;

use crate::server::ApiServer;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// Before the id in the user name.
const USER_PREFIX: &str = "system:bootstrap:";
/// Groups that a token may name begin with this.
const GROUP_PREFIX: &str = "system:bootstrappers:";

/// Who bears `token`; None when it is unknown, over, or not for this.
pub(super) async fn user(server: &ApiServer, token: &str) -> Option<User> {
    let (id, secret) = token.split_once('.')?;
    let is_word = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if !is_word(id, ID_LENGTH) || !is_word(secret, SECRET_LENGTH) {
        return None;
    }
    let name = format!("bootstrap-token-{id}");
    // By what this peer knows: strangers may ask this as often as they like.
    let found = server.cluster.get(&kinds::SECRET, Some(NAMESPACE), &name, Freshness::Local).await.ok()?;
    let text = |key: &str| field(&found, key);
    // Digests, so that the time it takes says nothing about how much of a guess was right.
    let holds = found.text("/type") == TYPE
        && !found.is_deleting()
        && text("token-id").as_deref() == Some(id)
        && text("token-secret").is_some_and(|own| Sha256::digest(own) == Sha256::digest(secret))
        && text("usage-bootstrap-authentication").as_deref() == Some("true");
    let now = server.cluster.clock().now();
    let is_over = text("expiration")
        .is_some_and(|end| end.parse::<wk_base::time::Timestamp>().is_ok_and(|end| end > now).eq(&false));
    if !holds || is_over {
        return None;
    }
    let mut user = User::new(format!("{USER_PREFIX}{id}"), [BOOTSTRAPPERS, AUTHENTICATED]);
    let extra = text("auth-extra-groups").unwrap_or_default();
    user.groups.extend(extra.split(',').filter(|group| group.starts_with(GROUP_PREFIX)).map(str::to_owned));
    Some(user)
}

fn field(secret: &Object, key: &str) -> Option<String> {
    let data = secret.at("/data")?.get(key)?.as_str()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

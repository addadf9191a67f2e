//! Acting as somebody else (`kubectl --as`): each part of the other's identity has to be allowed.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use wk_access::{ANONYMOUS, AUTHENTICATED, Ask, SERVICE_ACCOUNTS, UNAUTHENTICATED, User, service_account_name};
use wk_api::{Reason, Status};

use super::Caller;
use super::people::Person;
use crate::server::ApiServer;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

const VERB: &str = "impersonate";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Everything of an identity that one request may ask for: each part is a decision of its own.
const PARTS_MAX: usize = 128;

/// The caller that `user` wants to be, if they may.
pub(super) async fn apply(
    server: &ApiServer,
    user: User,
    person: Option<Person>,
    headers: &HeaderMap,
) -> Result<Caller, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(Caller { user, behind: None, person, certificate: None });
    }
    let meant = read(headers)?;
    match service_account_name(&meant.name) {
        Some((namespace, name)) => {
            let ask = Ask::resource(VERB, "", "serviceaccounts").within(namespace).named(name);
            server.authorize(&user, &ask).await?;
        }
        None => server.authorize(&user, &Ask::resource(VERB, "", "users").named(&meant.name)).await?,
    }
    for group in &meant.groups {
        server.authorize(&user, &Ask::resource(VERB, "", "groups").named(group)).await?;
    }
    for (key, values) in &meant.extra {
        for value in values {
            let Ask::Resource(ask) = Ask::resource(VERB, AUTHENTICATION, "userextras").named(value) else { continue };
            let ask = Ask::Resource(wk_access::Resource { subresource: key, ..ask });
            server.authorize(&user, &ask).await?;
        }
    }
    if !meant.uid.is_empty() {
        server.authorize(&user, &Ask::resource(VERB, AUTHENTICATION, "uids").named(&meant.uid)).await?;
    }
    Ok(Caller { user: whole(meant), behind: Some(user), person, certificate: None })
}

/// Adds the groups that such a user is in anyway.
fn whole(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account_name(&user.name)
    {
        user.groups = vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
    }
    let own = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(own.to_owned());
    }
    user
}

fn read(headers: &HeaderMap) -> Result<User, Status> {
    let unreadable = || Status::bad_request("the Impersonate headers are not readable");
    let texts = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().map(str::to_owned).map_err(|_| unreadable())).collect::<Result<Vec<_>, _>>()
    };
    let one = |name: &str| Ok::<_, Status>(texts(name)?.into_iter().next().unwrap_or_default());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = percent_decode_str(key).decode_utf8().map_err(|_| unreadable())?.into_owned();
        extra.insert(key, texts(name.as_str())?);
    }
    let user = User { name: one(USER)?, uid: one(UID)?, groups: texts(GROUP)?, extra };
    if user.name.is_empty() {
        let message = "impersonation of a group, a uid or an extra without impersonating a user";
        return Err(Status::new(500, Reason::InternalError, format!("Internal error occurred: {message}")));
    }
    if user.groups.len() + user.extra.values().map(Vec::len).sum::<usize>() > PARTS_MAX {
        return Err(Status::bad_request(format!("more than {PARTS_MAX} groups and extras to impersonate")));
    }
    Ok(user)
}

//! `/api/v1/watch/…`: how collections were watched before there was `?watch=true`. Still asked for by old clients and by
//! Kubernetes' own tests, so such a path is read as the newer one.

use http::Uri;

/// The same question in today's form; None for a path that is no such one.
pub(crate) fn newer(uri: &Uri) -> Option<Uri> {
    let (head, rest) = uri.path().split_once("/watch/")?;
    // `/api/v1` or `/apis/<group>/<version>`.
    let depth = head.matches('/').count();
    if !(head.starts_with("/api/") && depth == 2 || head.starts_with("/apis/") && depth == 3) {
        return None;
    }
    let parts: Vec<&str> = rest.split('/').collect();
    let (collection, name) = match parts.as_slice() {
        [kind] => ((*kind).to_owned(), None),
        ["namespaces", namespace, kind] => (format!("namespaces/{namespace}/{kind}"), None),
        ["namespaces", namespace, kind, name] => (format!("namespaces/{namespace}/{kind}"), Some(*name)),
        [kind, name] => ((*kind).to_owned(), Some(*name)),
        _ => return None,
    };
    let mut query = "watch=true".to_owned();
    if let Some(name) = name {
        query.push_str("&fieldSelector=metadata.name%3D");
        query.push_str(name);
    }
    if let Some(given) = uri.query() {
        query.push('&');
        query.push_str(given);
    }
    format!("{head}/{collection}?{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_form_is_read_as_the_new_one_and_nothing_else_is() {
        let newer = |path: &str| newer(&path.parse().expect("a URI")).map(|uri| uri.to_string());
        for (old, new) in [
            ("/api/v1/watch/pods", "/api/v1/pods?watch=true"),
            (
                "/api/v1/watch/namespaces/default/configmaps?resourceVersion=7",
                "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=7",
            ),
            (
                "/apis/apps/v1/watch/namespaces/a/deployments/web",
                "/apis/apps/v1/namespaces/a/deployments?watch=true&fieldSelector=metadata.name%3Dweb",
            ),
            ("/api/v1/watch/nodes/n1", "/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Dn1"),
        ] {
            assert_eq!(newer(old).as_deref(), Some(new), "{old}");
        }
        for other in ["/api/v1/pods", "/api/v1/namespaces/watch/pods", "/v2/watch/x", "/apis/watch/x"] {
            assert_eq!(newer(other), None, "{other}");
        }
    }
}

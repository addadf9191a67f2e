//! Whose share a user takes. Whoever may make service accounts in a namespace may make as many as they like: all of one
//! namespace share what one user has, and wait in turns among themselves.

/// The name under which the user's requests are counted: a user's own, or that of all accounts of a namespace.
pub(super) fn of(user: &str) -> &str {
    const ACCOUNT: &str = "system:serviceaccount:";
    let Some(account) = user.strip_prefix(ACCOUNT) else { return user };
    account.find(':').map_or(user, |end| &user[..ACCOUNT.len() + end])
}

#[cfg(test)]
mod tests {
    use super::super::seats::{Asked, Flow, Seats};
    use super::of;

    #[test]
    fn accounts_of_a_namespace_are_counted_as_one() {
        let web = "system:serviceaccount:shop:web";
        assert_eq!(of(web), of("system:serviceaccount:shop:other"));
        assert_ne!(of(web), of("system:serviceaccount:shop-2:web"));
        assert_ne!(of(web), of("system:serviceaccount:shop2:web"));
        let seats = Seats::shared(4, 1);
        let ask = |user: &str| seats.ask(&Flow::new(user, None, String::new()));
        let held = [ask(web), ask("system:serviceaccount:other:web")];
        assert!(held.iter().all(|asked| matches!(asked, Asked::Seat(_))));
        assert!(matches!(ask("system:serviceaccount:shop:other"), Asked::Wait(_)));
        for own in ["ann", "system:node:n1", "system:serviceaccount:odd", ""] {
            assert_eq!(of(own), own);
        }
    }
}

//! How long ago something was, as kubectl says it.

/// The time since an RFC 3339 time: `5s`, `2m30s`, `3h12m`, `4d1h`; `<unknown>` if it is none.
pub(crate) fn ago(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(then) => wk_api::table::human(jiff::Timestamp::now().duration_since(then).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

//! `wasi:http/outgoing-handler`: a guest's requests, carried by its sandbox's [`Network`].
//!
//! Not here: where they go and whether they may.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};
use wk_base::body::{self, BoxError};

use crate::network::{Network, NetworkError, Patience};

/// What becomes of the rest of a request once its response's head is here: nothing of ours.
pub(super) type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
pub(super) type Sent = (Response<WasiBody>, Io);

/// The longest a guest may wait for a connection: the usual limit of operating systems and proxies is no shorter, and a
/// guest that waits holds an instance.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// The longest a guest may wait for the head of a response, and what it waits for when it says nothing: ten minutes
/// and one, for servers that compute and for servers that are gone.
const FIRST_BYTE_MAX: Duration = Duration::from_mins(10);
const FIRST_BYTE_DEFAULT: Duration = Duration::from_mins(1);

/// The same between two pieces of a body.
const BETWEEN_BYTES_MAX: Duration = Duration::from_mins(10);
const BETWEEN_BYTES_DEFAULT: Duration = Duration::from_mins(1);

/// Sends a request and waits for the head of its response.
pub(super) async fn send(
    network: Arc<dyn Network>,
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Result<Sent, Error> {
    let response = network.request(request.map(body::boxed), patience(options)).await.map_err(|why| error(&why))?;
    let response = response.map(|body| body.map_err(|why| body_error(&why)).boxed_unsync());
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

fn patience(options: Option<RequestOptions>) -> Patience {
    let options = options.unwrap_or_default();
    let within = |given: Option<Duration>, default: Duration, max: Duration| given.unwrap_or(default).min(max);
    Patience {
        connect: within(options.connect_timeout, CONNECT_MAX, CONNECT_MAX),
        first_byte: within(options.first_byte_timeout, FIRST_BYTE_DEFAULT, FIRST_BYTE_MAX),
        between_bytes: within(options.between_bytes_timeout, BETWEEN_BYTES_DEFAULT, BETWEEN_BYTES_MAX),
    }
}

/// In the words of `wasi:http`.
fn error(why: &NetworkError) -> Error {
    match why {
        NetworkError::Denied => Error::HttpRequestDenied,
        NetworkError::NoName => Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None },
        NetworkError::NameFailed => Error::DnsError { rcode: Some("SERVFAIL".into()), info_code: None },
        NetworkError::Refused => Error::ConnectionRefused,
        NetworkError::Unreachable | NetworkError::NotHere => Error::DestinationUnavailable,
        NetworkError::ConnectTimeout => Error::ConnectionTimeout,
        NetworkError::ReadTimeout => Error::ConnectionReadTimeout,
        NetworkError::TooMany(_) => Error::ConnectionLimitReached,
        NetworkError::Reset => Error::ConnectionTerminated,
        NetworkError::Certificate(_) => Error::TlsCertificateError,
        NetworkError::Tls(_) => Error::TlsProtocolError,
        NetworkError::Protocol(_) => Error::HttpProtocolError,
        NetworkError::InUse => Error::InternalError(Some(why.to_string())),
        NetworkError::Failed(message) => Error::InternalError(Some(message.clone())),
    }
}

fn body_error(why: &BoxError) -> Error {
    match why.downcast_ref::<NetworkError>() {
        Some(why) => error(why),
        None => Error::HttpResponseIncomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_waits_as_long_as_it_says_within_what_is_allowed() {
        let hour = Some(Duration::from_hours(1));
        let given = RequestOptions { connect_timeout: hour, first_byte_timeout: hour, between_bytes_timeout: hour };
        let most = patience(Some(given));
        assert_eq!(most.connect, CONNECT_MAX);
        assert_eq!(most.first_byte, FIRST_BYTE_MAX);
        assert_eq!(most.between_bytes, BETWEEN_BYTES_MAX);
        let short = Some(Duration::from_millis(5));
        let given = RequestOptions { connect_timeout: short, ..RequestOptions::default() };
        assert_eq!(patience(Some(given)).connect, Duration::from_millis(5));
        assert_eq!(patience(None).first_byte, FIRST_BYTE_DEFAULT);
    }
}

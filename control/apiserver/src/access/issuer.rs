//! What others need to verify service accounts' tokens: OpenID Connect's discovery document and keys.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use wk_access::tokens::service_account::ISSUER;
use wk_base::body::{Body, full};

use crate::server::ApiServer;

/// `/.well-known/openid-configuration`.
pub(crate) fn configuration() -> Response<Body> {
    let value = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    answer(&value, HeaderValue::from_static("application/json"))
}

/// `/openid/v1/jwks`.
pub(crate) fn keys(server: &ApiServer) -> Response<Body> {
    answer(&server.access.security.keys.jwks(), HeaderValue::from_static("application/jwk-set+json"))
}

fn answer(value: &Value, media_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    // As in Kubernetes. A key is published for this long before it signs.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

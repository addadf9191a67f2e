//! A `wasi:http` 0.3 middleware: refuses one path, and passes everything else on to the next handler.

wit_bindgen::generate!({ path: "wit", world: "wk:guests/middleware", generate_all });

use exports::wasi::http::handler::Guest;
use wasi::http::handler;
use wasi::http::types::{ErrorCode, Request, Response};

struct Middleware;

export!(Middleware);

impl Guest for Middleware {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        if request.get_path_with_query().as_deref() == Some("/private") {
            return Err(ErrorCode::HttpRequestDenied);
        }
        let response = handler::handle(request).await?;
        println!("passed on: {}", response.get_status_code());
        Ok(response)
    }
}

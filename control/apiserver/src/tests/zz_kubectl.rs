use super::kit::Harness;
use std::sync::Arc;
use hyper_util::rt::{TokioExecutor, TokioIo};
#[tokio::test(flavor = "multi_thread")]
async fn zz_serve() {
    let Ok(port) = std::env::var("ZZ_PORT") else { return };
    let api = Harness::start().await;
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let server = Arc::clone(&api.server);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let server = Arc::clone(&server);
                async move {
                    use wk_mesh::Handler as _;
                    let peer = wk_mesh::Peer::User { name: "admin".into(), groups: vec!["system:masters".into()] };
                    eprintln!("{} {} {:?} {:?}", request.method(), request.uri(), request.headers().get("content-type"), request.headers().get("accept"));
                    let r = server.handle(peer, request.map(wk_base::body::boxed)).await;
                    eprintln!("   -> {}", r.status());
                    Ok::<_, std::convert::Infallible>(r)
                }
            });
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

//! One live instance of an HTTP component: made, asked, and asked again where the pod's instances are kept.

use std::sync::Arc;
use std::time::Instant;

use http::Request;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wk_base::body::Body;

use crate::engine::Engine;
use crate::failure::Failure;
use crate::host::Host;
use crate::http::{Answer, Verdict, incoming};
use crate::sandbox::Sandbox;
use crate::service;

/// An HTTP component, linked, of either version.
pub(crate) enum HttpPre {
    /// `wasi:http/incoming-handler` 0.2: one request at a time.
    Proxy(ProxyPre<Host>),
    /// `wasi:http/handler` 0.3: many at once.
    Service(ServicePre<Host>),
}

/// Its exports in one instance.
pub(crate) enum Exports {
    Proxy(Proxy),
    Service(Service),
}

/// An instance and how much it has been used.
pub(crate) struct Instance {
    pub(crate) store: Store<Host>,
    pub(crate) exports: Exports,
    /// Requests it has answered.
    pub(crate) served: u32,
    pub(crate) born: Instant,
}

impl Instance {
    /// A fresh one.
    pub(crate) async fn start(engine: &Engine, pre: &HttpPre, sandbox: &Arc<Sandbox>) -> Result<Self, Failure> {
        engine.admit(sandbox)?;
        let mut store = Host::store(engine.wasmtime(), sandbox, engine.running());
        let exports = match pre {
            HttpPre::Proxy(pre) => pre.instantiate_async(&mut store).await.map(Exports::Proxy),
            HttpPre::Service(pre) => pre.instantiate_async(&mut store).await.map(Exports::Service),
        };
        match exports {
            Ok(exports) => {
                store.data_mut().limits.started();
                Ok(Self { store, exports, served: 0, born: Instant::now() })
            }
            Err(error) => Err(Failure::of(&error, &store.data().limits)),
        }
    }

    /// Has one request answered, to the end of all that the guest does about it. After a failure the instance is of no
    /// more use.
    pub(crate) async fn answer(
        &mut self,
        request: Request<Body>,
        set: oneshot::Sender<Answer>,
        verdict: &Verdict,
    ) -> Result<(), Failure> {
        let request = incoming(request);
        let store = &mut self.store;
        let outcome = match &self.exports {
            Exports::Proxy(proxy) => {
                async {
                    let mut http = store.data_mut().http();
                    let request = http.new_incoming_request(Scheme::Http, request)?;
                    let answer: Resource<HostResponseOutparam> = http.new_response_outparam(set)?;
                    proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, answer).await
                }
                .await
            }
            Exports::Service(service) => {
                let call = store.run_concurrent(async |accessor| {
                    service::answer(accessor, service, request, set, verdict).await?;
                    service::settled(accessor).await;
                    Ok(())
                });
                call.await.and_then(|answered| answered)
            }
        };
        self.served = self.served.saturating_add(1);
        outcome.map_err(|error| Failure::of(&error, &self.store.data().limits))
    }
}

//! An HTTP server on the loopback that answers as the test says and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::scratch::eventually;

/// A call that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) peer: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Receiver {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    /// `answer` is given the number of the call, from 1.
    pub(crate) async fn start<R: IntoResponse>(
        answer: impl Fn(usize) -> R + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let seen = Arc::clone(&calls);
        let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                            uri: Uri,
                            headers: HeaderMap,
                            body: Bytes| {
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(Call {
                    peer,
                    path: uri.path().to_owned(),
                    headers,
                    body,
                });
                seen.len()
            };
            let response: Response = answer(number).into_response();
            async move { response }
        };
        let app = Router::new().fallback(handler);
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        #[expect(
            clippy::disallowed_methods,
            reason = "the server ends with the test's runtime"
        )]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, calls }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits for this many calls.
    pub(crate) async fn until(&self, count: usize) -> Vec<Call> {
        let what = format!("{count} calls arrive");
        eventually(&what, async || self.calls().len() >= count).await;
        self.calls()
    }
}

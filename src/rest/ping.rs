//! Whether PostgREST answers, for `/readyz`.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, header};

use super::Rest;
use super::body::Upload;

impl Rest {
    /// Asks PostgREST for the head of its root, within `within`. The error says what happened instead.
    pub async fn ping(&self, within: Duration) -> Result<(), String> {
        let upstream = self.upstream().ok_or("PostgREST has not been started")?;
        let request = Request::builder()
            .method(Method::HEAD)
            .uri(format!("{}/", upstream.target().base()))
            .header(header::HOST, upstream.target().authority())
            .body(Upload::new(Body::empty(), 0))
            .map_err(|error| error.to_string())?;
        let answer = async {
            let mut channel = upstream
                .connect()
                .await
                .map_err(|error| error.to_string())?;
            channel
                .send(request)
                .await
                .map_err(|error| error.error().to_string())
        };
        let answer = tokio::time::timeout(within, answer)
            .await
            .map_err(|_| "no answer in time".to_owned())??;
        if answer.status().is_server_error() {
            return Err(format!("PostgREST answered {}", answer.status()));
        }
        Ok(())
    }
}

//! What is counted, on a page in the text form of `OpenMetrics` 1.0: plain HTTP on an address of this machine, for a
//! scraper beside the program; one path, one method, no secret.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const FORM: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Scrapes at once; more wait.
const AT_ONCE: usize = 4;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long one connection may last.
const WHOLE: Duration = Duration::from_secs(60);
/// Pause after the system refused to accept.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the page as it is now; may take its time.
pub type Page = Arc<dyn Fn() -> String + Send + Sync>;

/// Everything in a registry.
#[must_use]
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if prometheus_client::encoding::text::encode(&mut text, registry).is_err() {
        tracing::error!("metrics cannot be written");
    }
    text
}

/// Names on a page of metrics, without the suffixes of their kind.
#[must_use]
pub fn named(text: &str) -> BTreeSet<String> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = kinds.filter_map(|line| line.split(' ').next());
    names.map(bare).collect()
}

/// Names in the tables of a page that says what each means, without the suffixes of their kind: a program's test holds
/// this against [`named`].
#[must_use]
pub fn described(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(['`', '{']).next());
    names.map(bare).collect()
}

fn bare(name: &str) -> String {
    let name = name.trim_end_matches("_total").trim_end_matches("_info");
    name.to_owned()
}

/// Serves `/metrics` until it is dropped.
pub async fn serve(listener: TcpListener, page: Page) {
    let free = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = Arc::clone(&free).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = Arc::clone(&page);
                drop(tokio::spawn(async move {
                    if tokio::time::timeout(WHOLE, answer(stream, page))
                        .await
                        .is_err()
                    {
                        tracing::debug!("a scraper took too long");
                    }
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept scrapers");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, page: Page) {
    let service = service_fn(move |request| respond(request, Arc::clone(&page)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a scraper's connection failed");
    }
}

async fn respond(
    request: Request<Incoming>,
    page: Page,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let of = |status, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    if request.uri().path() != "/metrics" {
        return Ok(of(StatusCode::NOT_FOUND, String::new()));
    }
    if *request.method() != Method::GET {
        return Ok(of(StatusCode::METHOD_NOT_ALLOWED, String::new()));
    }
    let text = tokio::task::spawn_blocking(move || page()).await;
    Ok(match text {
        Ok(text) => {
            let mut response = of(StatusCode::OK, text);
            response.headers_mut().insert(CONTENT_TYPE, FORM);
            response
        }
        Err(_panicked) => of(StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    })
}

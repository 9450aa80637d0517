//! Logs, traces, metrics: set up once per process, by environment, off when nobody listens.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Seconds; from a cache hit to a long poll.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// Flushes what is not exported yet when dropped; keep it until the end of `main`.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter cannot start")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// First thing in `main`.
///
/// Logs go to stderr: text on a terminal, else JSON (`DF_LOG_FORMAT=text|json` decides it); `RUST_LOG` filters.
/// Traces go out over OTLP/HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `…_TRACES_ENDPOINT`) is set.
pub fn init(service: &'static str, verbose: bool) -> Result<Telemetry, TelemetryError> {
    let ours = "info,df_peer=debug,df_store=debug,df_http=debug,scheduler=debug,dfdaemon=debug,manager=debug";
    init_at(service, if verbose { ours } else { "info" })
}

/// As [`init`], with log levels of its own where `RUST_LOG` does not say.
pub fn init_at(service: &'static str, levels: &str) -> Result<Telemetry, TelemetryError> {
    // Both TLS providers could be linked by some dependency; choosing ours once avoids a panic at the first handshake.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    metrics_handle();

    let traces = if exporter_wanted() { Some(tracer_provider(service)?) } else { None };
    let spans = traces.as_ref().map(|provider| {
        // Spans are exported whatever the log level is.
        tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(EnvFilter::new("info"))
    });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(levels));
    let text = match std::env::var("DF_LOG_FORMAT").as_deref() {
        Ok("text") => true,
        Ok(_) => false,
        Err(_) => std::io::IsTerminal::is_terminal(&std::io::stderr()),
    };
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if text { stderr.with_target(false).boxed() } else { stderr.json().flatten_event(true).boxed() };
    // Fails when a test has set a subscriber already; then that one stays.
    let _ = tracing_subscriber::registry().with(spans).with(logs.with_filter(filter)).try_init();
    Ok(Telemetry { traces })
}

fn exporter_wanted() -> bool {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty());
    set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
}

fn tracer_provider(service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| format!("dragonfly-{service}"));
    let resource = Resource::builder().with_service_name(name).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

fn metrics_handle() -> Option<&'static PrometheusHandle> {
    if METRICS.get().is_none() {
        let built = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &DURATION_BUCKETS)
            .map(PrometheusBuilder::install_recorder);
        if let Ok(Ok(handle)) = built {
            let _ = METRICS.set(handle);
        }
    }
    METRICS.get()
}

/// The body of `/metrics`.
pub fn render_metrics() -> String {
    metrics_handle().map(PrometheusHandle::render).unwrap_or_default()
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take()
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "some spans were not exported");
        }
    }
}

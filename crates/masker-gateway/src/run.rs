//! The life of the gateway: start, serve, reload, drain, stop.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};
use tracing::{error, info, warn};

use crate::{
    arguments::Arguments,
    config::{Config, ConfigErrors},
    connection::Service,
    forward::router,
    gateway::Gateway,
    process::harden,
    reload::Certificates,
    serve::{Role, serve},
};
use masker_log::LOG;
use masker_types::limits::{BLOCKING_CALLS_STOP_MS_MAX, LOG_END_MS_MAX};

/// The exit code for a start that failed.
const FAILED: u8 = 1;
/// The exit code for an invalid configuration, certificate or key.
const INVALID: u8 = 3;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Runs the gateway until `SIGTERM` or `SIGINT`, or checks its files.
pub fn run(arguments: &Arguments) -> ExitCode {
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => return invalid(&errors),
    };
    // Behind proxies, the certificate may be for a name that only they know.
    let host = config.trusted_proxies.is_empty().then(|| config.public_url.host().to_owned());
    let certificates = match Certificates::load(config.files.clone(), host) {
        Ok(loaded) => loaded,
        Err(problems) => return invalid(&ConfigErrors::new(&arguments.config, problems)),
    };
    if arguments.check {
        return match certificates.fault() {
            Some(fault) => invalid(&ConfigErrors::new(&arguments.config, vec![fault])),
            None => ExitCode::SUCCESS,
        };
    }
    masker_log::start(config.log_level, config.log_format);
    harden();
    let exit = match start(&config, &arguments.config, certificates) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            error!("{message}");
            error!("masker-gateway failed to start");
            ExitCode::from(FAILED)
        }
    };
    LOG.finish(Duration::from_millis(LOG_END_MS_MAX));
    exit
}

fn invalid(errors: &ConfigErrors) -> ExitCode {
    for line in errors.lines() {
        // If standard error is closed, the exit code still reports the failure.
        let _ = writeln!(io::stderr(), "masker-gateway: {line}");
    }
    ExitCode::from(INVALID)
}

fn start(config: &Config, file: &Path, certificates: Certificates) -> Result<(), String> {
    let thread_error = |error: io::Error| format!("failed to start threads: {error}");
    LOG.start_thread(|| {}).map_err(thread_error)?;
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(thread_error)?;
    let outcome = runtime.block_on(serve_until_stop(config, file, certificates));
    runtime.shutdown_timeout(Duration::from_millis(BLOCKING_CALLS_STOP_MS_MAX));
    outcome
}

/// Handlers of the signals. From their creation on, none of these signals ends the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let handler = |kind| signal(kind).map_err(|error| format!("failed to register signal handlers: {error}"));
        Ok(Signals {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
            hangup: handler(SignalKind::hangup())?,
        })
    }
}

async fn serve_until_stop(config: &Config, file: &Path, certificates: Certificates) -> Result<(), String> {
    let Signals { mut terminate, mut interrupt, hangup } = Signals::new()?;
    let (stop, stopped) = watch::channel(false);
    let gateway = Gateway::new(config, certificates);
    let routes = router(Arc::clone(&gateway));
    let tls = |mtls| {
        let (gateway, router, stop) = (Arc::clone(&gateway), routes.clone(), stopped.clone());
        Role::Tls(Box::new(Service { gateway, router, mtls, stop }))
    };
    let mut listeners = vec![("tls", config.listen, tls(false))];
    listeners.extend(config.mtls.map(|address| ("mtls", address, tls(true))));
    listeners.extend(
        config.redirect.map(|address| ("redirect", address, Role::Redirect(Arc::clone(&gateway), stopped.clone()))),
    );
    let mut bound = Vec::new();
    for (name, address, role) in listeners {
        bound.push((name, bind(address).await?, role));
    }
    let mut serving = JoinSet::new();
    for (name, listener, role) in bound {
        let address = listener.local_addr().unwrap_or(config.listen);
        info!(listener = name, %address, "listening");
        serving.spawn(serve(listener, role, stopped.clone()));
    }
    notify(&[NotifyState::Ready]);
    info!(version = env!("CARGO_PKG_VERSION"), public_url = %config.public_url, "serving");
    // A task of its own: a disk that does not answer must not delay a stop.
    let reloading = tokio::spawn(reload(Arc::clone(&gateway), file.to_owned(), config.check_files, hangup));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    reloading.abort();
    info!("stopping");
    notify(&[NotifyState::Stopping]);
    stop.send_replace(true);
    let mut cut_off = 0;
    while let Some(ended) = serving.join_next().await {
        match ended {
            Ok(count) => cut_off += count,
            Err(panicked) => error!(error = %panicked, "listener task panicked"),
        }
    }
    if cut_off > 0 {
        warn!(cut_off, "connections were cut off");
    }
    info!("stopped");
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("failed to listen on {address}: {error}"))
}

/// Reloads the certificates on `SIGHUP` and on changes of their files, and warns each day of one that ends soon.
async fn reload(gateway: Arc<Gateway>, file: PathBuf, every: Duration, mut hangup: Signal) {
    let mut checks = interval_at(Instant::now() + every, every);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut days = interval(Duration::from_secs(DAY_SECONDS));
    let certificates = &gateway.certificates;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                let now = NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0));
                notify(&[NotifyState::Reloading, now]);
                certificates.reload(&file).await;
                notify(&[NotifyState::Ready]);
            }
            _ = checks.tick() => {
                if certificates.have_changed().await {
                    info!("the certificate files have changed");
                    certificates.reload(&file).await;
                }
            }
            _ = days.tick() => certificates.warn_of_fault(),
        }
    }
}

/// Notifies systemd if it listens. A failure is only logged.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "failed to notify systemd");
    }
}

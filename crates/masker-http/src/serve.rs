//! Connections: accepted within bounds, served, and drained at the end.

use std::{
    future::poll_fn,
    io,
    os::fd::AsRawFd,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONNECTION, EXPECT, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntGauge;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Handle,
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant as TokioInstant, timeout_at},
};
use tokio_io_timeout::TimeoutStream;
use tracing::{debug, error, trace, warn};

use super::{
    Service,
    answer::AnswerBody,
    audit::CallerCache,
    body::{body_ended, drain},
    context::{ConnectionInfo, RequestContext},
    input::Input,
    operation::{Answered, RunToEnd, catch_panics},
    refusal::RefusalStream,
    seat::{Seat, displaced},
    shares::{Shares, overloaded},
    shutdown::ConnectionProgress,
    sockets::{SocketCount, Sockets},
    workers::{WorkerSlot, Workers},
};
use masker_access::{Displaceable, Peer, Resource};
use masker_types::limits::{DRAIN_SECONDS_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// Pause after a failure to accept a connection, such as too many open files, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// How the connections and their operations ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were cut off.
    pub cut_off: usize,
    /// Operations of connections that had ended before, and that were still running.
    pub unfinished: usize,
}

/// Serves connections until `stop` is true, then gives requests in flight up to [`DRAIN_SECONDS_MAX`] seconds to end. Must
/// be called on a multi-threaded runtime, which runs the operations that take long.
pub async fn serve(
    listener: UnixListener,
    workers: Workers,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) -> DrainReport {
    let sockets = Arc::new(Sockets::default());
    let mut connections = JoinSet::new();
    let stopping = stop.clone();
    let mut stopped = pin!(async move { stop.wait_for(|stop| *stop).await.is_ok() });
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = accept(&listener, &sockets, &workers, &service) => match accepted {
                Ok(Some((accepted, worker))) => {
                    let main = Handle::current();
                    connections.spawn_on(connection(accepted, main, Arc::clone(&service), stopping.clone()), worker);
                }
                Ok(None) => {}
                Err(failed) => {
                    warn!(error = %failed, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
        }
    }
    drop(listener);
    let deadline = TokioInstant::now() + Duration::from_secs(DRAIN_SECONDS_MAX);
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    let cut_off = match timeout_at(deadline, drain).await {
        Ok(()) => 0,
        Err(_) => {
            let cut_off = connections.len();
            connections.shutdown().await;
            cut_off
        }
    };
    // Each connection has a place, and each operation that outlives one keeps it.
    let unfinished = match timeout_at(deadline, service.shares.all_given_back()).await {
        Ok(()) => 0,
        Err(_) => service.shares.connections(),
    };
    DrainReport { cut_off, unfinished }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(panicked) = ended {
        error!(error = %panicked, "connection task panicked");
    }
}

/// A connection, and what it takes as long as it lasts.
struct AcceptedConnection {
    stream: std::os::unix::net::UnixStream,
    _socket: SocketCount,
    _worker_slot: WorkerSlot,
}

/// Accepts the next connection; `None` if its user has too many. Its own task finds out whether there is a place for it.
async fn accept<'w>(
    listener: &UnixListener,
    sockets: &Arc<Sockets>,
    workers: &'w Workers,
    service: &Service,
) -> io::Result<Option<(AcceptedConnection, &'w Handle)>> {
    let (stream, _) = listener.accept().await?;
    let uid = stream.peer_cred()?.uid();
    let Some(socket) = sockets.count(uid, service.access.is_owner(uid)) else {
        service.send_last(&stream, &overloaded());
        debug!(uid, "connection refused: its user has too many");
        return Ok(None);
    };
    let (worker_slot, worker) = workers.slot().ok_or_else(|| io::Error::other("no thread to serve it"))?;
    // Events on it must reach the worker's runtime, so this one's registration is undone.
    Ok(Some((AcceptedConnection { stream: stream.into_std()?, _socket: socket, _worker_slot: worker_slot }, worker)))
}

async fn connection(
    accepted: AcceptedConnection,
    main: Handle,
    service: Arc<Service>,
    mut stop: watch::Receiver<bool>,
) {
    let stopping = stop.clone();
    let AcceptedConnection { stream, _socket, _worker_slot } = accepted;
    let stream = match UnixStream::from_std(stream) {
        Ok(stream) => stream,
        Err(failed) => return warn!(error = %failed, "failed to serve a connection"),
    };
    let peer = match Peer::of(&stream) {
        Ok(peer) => Arc::new(peer),
        Err(failed) => return warn!(error = %failed, "connection refused: its peer is unknown"),
    };
    let seat = Arc::new(Seat::new(service.shares.account(service.access.share(&peer))));
    let charge = match Shares::charge(Resource::Connections, &seat, 1).await {
        Ok(charge) => charge,
        Err(refusal) => {
            service.send_last(&stream, &refusal);
            return debug!(uid = peer.uid(), "connection refused: there is no place for it");
        }
    };
    let caller_cache = CallerCache::default();
    let info = Arc::new(ConnectionInfo { peer, caller_cache, seat: Arc::clone(&seat), _charge: charge });
    // Valid as long as the stream, which lasts until the end of this function.
    let descriptor = stream.as_raw_fd();
    let counted = CountedConnection::new(service.metrics.http.connections.clone());
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(service.timeouts.write));
    let progress = Arc::new(ConnectionProgress::default());
    let answer = service_fn(|request| {
        let (service, info) = (Arc::clone(&service), Arc::clone(&info));
        let (main, progress, stopping) = (&main, &progress, &stopping);
        async move {
            let number = progress.begin();
            info.seat.note_request();
            let key_in_fragment = progress.has_key_in_fragment();
            let mut answered = service.respond(&info, main, request, key_in_fragment).await?;
            // The channel has news once, when the daemon stops.
            if key_in_fragment || info.seat.is_displaced() || stopping.has_changed().unwrap_or(true) {
                close_after(&mut answered.response);
            }
            answered.response.body_mut().begin(&info.seat);
            match answered.unread {
                None => progress.finish(),
                // In a separate task, so the answer does not wait for it.
                Some(body) => {
                    let progress = Arc::clone(progress);
                    tokio::spawn(async move {
                        drain(body).await;
                        progress.finish_drain(number);
                    });
                }
            }
            Ok::<_, JoinError>(answered.response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.timeouts.head)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .serve_connection(
            TokioIo::new(RefusalStream::new(stream, Arc::clone(&service), Arc::clone(&info), Arc::clone(&progress))),
            answer,
        );
    let mut served = pin!(served);
    let mut grace_period = pin!(async {
        // The value borrows the channel's lock, so it must not be held.
        drop(stop.wait_for(|stop| *stop).await);
        tokio::time::sleep(progress.grace_period()).await;
    });
    let (mut stop_polled, mut over) = (false, false);
    let ended = poll_fn(|task| {
        if !stop_polled {
            seat.waker().register(task.waker());
        }
        loop {
            if let Poll::Ready(ended) = served.as_mut().poll(task) {
                return Poll::Ready(Some(ended));
            }
            // A request that is being admitted answers it itself.
            if seat.is_displaced() && !progress.handler_is_running() {
                return Poll::Ready(None);
            }
            // Polled once, it wakes this task when the daemon stops. Polling it for each request would take a lock that
            // all connections share.
            if !over && (!stop_polled || stopping.has_changed().unwrap_or(true)) {
                stop_polled = true;
                over = grace_period.as_mut().poll(task).is_ready();
            }
            if !over {
                return Poll::Pending;
            }
            progress.wake_when_drained(task.waker());
            if !progress.end() {
                return Poll::Pending;
            }
        }
    })
    .await;
    // Before the log says that it has ended.
    drop(counted);
    match ended {
        Some(Ok(())) => trace!("connection ended"),
        // Clients may send nonsense or go away: this is nothing for an operator to look into.
        Some(Err(failed)) => debug!(error = %failed, "connection ended early"),
        None => {
            // A client cannot tell the end of an answer from this one in the middle of it.
            if !seat.has_unsent() {
                service.send_last(&descriptor, &displaced());
            }
            debug!(uid = info.peer.uid(), "connection displaced");
        }
    }
}

/// Counts as an open connection until it is dropped, also by a panic.
struct CountedConnection(IntGauge);

impl CountedConnection {
    fn new(connections: IntGauge) -> Self {
        connections.inc();
        CountedConnection(connections)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Service {
    /// Answers a request: admits it on its head, reads its body, and runs its operation.
    ///
    /// # Errors
    /// The operation's task was cancelled, which happens when the daemon stops, or recording its end panicked.
    async fn respond(
        self: &Arc<Self>,
        connection: &Arc<ConnectionInfo>,
        main: &Handle,
        request: Request<Incoming>,
        key_in_fragment: bool,
    ) -> Result<Answered, JoinError> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let mut ctx = RequestContext::new(
            Arc::clone(connection),
            self.ids.next(),
            self.access.local_caller(&connection.peer),
            self.policies.load_full(),
            (started, self.timestamps(started)),
        );
        ctx.key_in_fragment = key_in_fragment;
        let matched = self.router.find(&head.method, head.uri.path());
        ctx.route = matched.as_ref().ok().map(|matched| matched.route);
        let mut input = Input::new(body);
        // Whether such a client goes on with its body is its own choice (RFC 9110 section 10.1.1).
        input.is_held_back = head.headers.contains_key(EXPECT);
        let may_go_on = input.is_held_back;
        let announced_bytes = input.announced_bytes();
        let mut admission = Admission { service: self, main, ctx: &mut ctx, is_over: false };
        let admitted = catch_panics(self.admit(admission.ctx, matched, &head, &mut input)).await;
        admission.is_over = true;
        drop(admission);
        let mut answered = match admitted {
            Ok(route) if route.runs_in_place(announced_bytes) => {
                RunToEnd::new((route.run)(Arc::clone(self), ctx, input), main).await
            }
            // A task runs on where its handle is dropped.
            Ok(route) => main.spawn((route.run)(Arc::clone(self), ctx, input)).await?,
            Err(refusal) => {
                let (service, delay) = (Arc::clone(self), ctx.refusal_delay);
                let recording = Box::pin(async move { service.finish(ctx, input, Err(refusal)).await });
                let answered = RunToEnd::new(recording, main).await;
                if delay > Duration::ZERO {
                    tokio::time::sleep(delay).await;
                }
                answered
            }
        };
        if answered.unread.is_some() && may_go_on {
            close_after(&mut answered.response);
        }
        Ok(answered)
    }
}

/// A request that is being admitted. If its connection ends meanwhile, which drops this, the request is recorded.
struct Admission<'a> {
    service: &'a Arc<Service>,
    main: &'a Handle,
    ctx: &'a mut RequestContext,
    is_over: bool,
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let (service, ctx) = (Arc::clone(self.service), self.ctx.copy_of_head());
            // Nothing but a body takes time here.
            self.main.spawn(async move { service.finish(ctx, Input::default(), Err(body_ended())).await });
        }
    }
}

/// Announces that nothing is read after this answer.
fn close_after(response: &mut Response<AnswerBody>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_connection_that_panics_is_no_longer_counted() {
        let connections = IntGauge::new("connections", "of the test").unwrap();
        let counted = connections.clone();
        let panicked = catch_unwind(move || {
            let _counted = CountedConnection::new(counted);
            panic!("expected by the test");
        });
        assert!(panicked.is_err());
        assert_eq!(connections.get(), 0);
    }
}

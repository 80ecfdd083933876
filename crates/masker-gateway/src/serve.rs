//! The listeners: connections within bounds, and their end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, error, warn};

use crate::{
    connection::Service,
    counts::AddressSlot,
    gateway::Gateway,
    pace::Activity,
    places::{Listener, Place},
    redirect,
};
use masker_types::limits::DRAIN_SECONDS_MAX;

/// Pause after a failure to accept a connection, such as too many open files, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// What a listener does with its connections.
#[derive(Clone)]
pub(crate) enum Role {
    /// Serves TLS.
    Tls(Box<Service>),
    /// Redirects plain HTTP to TLS.
    Redirect(Arc<Gateway>, watch::Receiver<bool>),
}

impl Role {
    fn gateway(&self) -> &Arc<Gateway> {
        match self {
            Role::Tls(service) => &service.gateway,
            Role::Redirect(gateway, _) => gateway,
        }
    }

    async fn serve(self, accepted: Accepted) {
        let Accepted { stream, peer, seat, _slot } = accepted;
        match (self, seat) {
            (Role::Tls(service), Seat::Tls(_place, activity)) => tokio::select! {
                () = service.serve(stream, peer, Arc::clone(&activity)) => {}
                () = activity.displaced() => debug!(%peer, "connection displaced: another one needs its place"),
            },
            (Role::Redirect(gateway, stop), _) => redirect::serve(&gateway, stream, stop).await,
            // A listener for TLS gives only such places.
            (Role::Tls(_), Seat::Redirect { .. }) => {}
        }
    }
}

/// Serves connections until `stop` is true, then gives those that are left up to [`DRAIN_SECONDS_MAX`] seconds. Returns how many were
/// cut off.
pub(crate) async fn serve(listener: TcpListener, role: Role, mut stop: watch::Receiver<bool>) -> usize {
    let mut connections = JoinSet::new();
    {
        // The value borrows the channel's lock, so it must not be held.
        let mut stopped = pin!(async { stop.wait_for(|stop| *stop).await.is_ok() });
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        if let Some(accepted) = admit(&role, stream, address) {
                            connections.spawn(role.clone().serve(accepted));
                        }
                    }
                    Err(failed) => {
                        warn!(error = %failed, "failed to accept a connection");
                        sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                    }
                },
            }
        }
    }
    drop(listener);
    let deadline = Instant::now() + Duration::from_secs(DRAIN_SECONDS_MAX);
    let drain = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    match timeout_at(deadline, drain).await {
        Ok(()) => 0,
        Err(_) => {
            let cut_off = connections.len();
            connections.shutdown().await;
            cut_off
        }
    }
}

/// A connection with its place.
struct Accepted {
    stream: TcpStream,
    peer: IpAddr,
    seat: Seat,
    /// `None` for a trusted proxy, whose connections are those of many.
    _slot: Option<AddressSlot>,
}

/// The place of a connection.
enum Seat {
    Tls(Place, Arc<Activity>),
    Redirect { _permit: OwnedSemaphorePermit },
}

impl Seat {
    fn take(role: &Role) -> Option<Self> {
        match role {
            Role::Tls(service) => {
                let activity = Activity::new(service.gateway.bounds.write);
                let listener = if service.mtls { Listener::Mtls } else { Listener::Bearer };
                let place = service.gateway.places.take(listener, &activity)?;
                Some(Seat::Tls(place, activity))
            }
            Role::Redirect(gateway, _) => {
                Arc::clone(&gateway.redirects).try_acquire_owned().ok().map(|_permit| Seat::Redirect { _permit })
            }
        }
    }
}

/// Gives a connection its place. Without one it ends at once: before the handshake, no answer would be understood.
fn admit(role: &Role, stream: TcpStream, address: SocketAddr) -> Option<Accepted> {
    let (peer, gateway) = (address.ip().to_canonical(), role.gateway());
    let slot = if gateway.proxies.contains(peer) {
        None
    } else {
        let slot = match role {
            Role::Tls(_) => gateway.connections_by_address.take(peer),
            Role::Redirect(..) => gateway.redirects_by_address.take(peer),
        };
        if slot.is_none() {
            debug!(%peer, "connection refused: its address has too many");
            return None;
        }
        slot
    };
    let Some(seat) = Seat::take(role) else {
        debug!(%peer, "connection refused: there are too many");
        return None;
    };
    // Requests and answers are written as a whole, so waiting for more would only delay them. It fails where the client is gone.
    let _: io::Result<()> = stream.set_nodelay(true);
    Some(Accepted { stream, peer, seat, _slot: slot })
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(panicked) = ended {
        error!(error = %panicked, "connection task panicked");
    }
}

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

use crate::{connection::Service, counts::AddressSlot, gateway::Gateway, redirect};
use masker_types::limits::DRAIN_SECONDS_MAX;

/// Pause after a failure to accept a connection, such as too many open files, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 50;

/// What a listener does with its connections.
#[derive(Clone)]
pub(crate) enum Role {
    /// Serves TLS.
    Tls(Box<Service>),
    /// Redirects plain HTTP to TLS.
    Redirect(Arc<Gateway>),
}

impl Role {
    fn gateway(&self) -> &Arc<Gateway> {
        match self {
            Role::Tls(service) => &service.gateway,
            Role::Redirect(gateway) => gateway,
        }
    }

    async fn serve(self, stream: TcpStream, peer: IpAddr) {
        match self {
            Role::Tls(service) => service.serve(stream, peer).await,
            Role::Redirect(gateway) => redirect::serve(&gateway, stream).await,
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
                        if let Some(accepted) = admit(role.gateway(), stream, address) {
                            let role = role.clone();
                            connections.spawn(async move {
                                let Accepted { stream, peer, _permit, _slot } = accepted;
                                role.serve(stream, peer).await;
                            });
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
    _permit: OwnedSemaphorePermit,
    /// `None` for a trusted proxy, whose connections are those of many.
    _slot: Option<AddressSlot>,
}

/// Gives a connection its place. Without one it ends at once: before the handshake, no answer would be understood.
fn admit(gateway: &Gateway, stream: TcpStream, address: SocketAddr) -> Option<Accepted> {
    let peer = address.ip().to_canonical();
    let slot = if gateway.proxies.contain(peer) {
        None
    } else {
        let slot = gateway.connections_by_address.take(peer);
        if slot.is_none() {
            debug!(%peer, "connection refused: its address has too many");
            return None;
        }
        slot
    };
    let Ok(permit) = Arc::clone(&gateway.connections).try_acquire_owned() else {
        debug!(%peer, "connection refused: there are too many");
        return None;
    };
    // Requests and answers are written as a whole, so waiting for more would only delay them. It fails where the client is gone.
    let _: io::Result<()> = stream.set_nodelay(true);
    Some(Accepted { stream, peer, _permit: permit, _slot: slot })
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(panicked) = ended {
        error!(error = %panicked, "connection task panicked");
    }
}

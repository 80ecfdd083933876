//! The checks of a request's head, before anything of it reaches the daemon.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{
        Extensions, HeaderMap, HeaderValue, Method, Response, Uri, Version, header, request::Parts, uri::Authority,
    },
};
use tracing::debug;

use crate::{
    counts::AddressSlot,
    gateway::{ClientKind, ConnectionInfo, Gateway},
    headers::{ADDRESS, CERTIFICATE, strip_request},
    problem::{Problem, RequestId},
};
use masker_types::{
    error_code::Code,
    limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX},
};

/// The only route without a credential.
pub(crate) const HEALTH: &str = "/health";
/// Begins the path of all others.
pub(crate) const API: &str = "/api/v1/";
/// The routes with bodies of any length, which the daemon reads while they arrive.
const STREAMED: [&str; 3] = ["/api/v1/text/mask/stream", "/api/v1/text/restore/stream", "/api/v1/vault/import"];

/// The routes whose answers a client may read as slowly as it likes, as far as the daemon is concerned.
const READ_SLOWLY: [&str; 1] = ["/api/v1/vault/export"];
/// Bytes of a head to the daemon besides its headers and its path: the method, the version, the host and the line ends.
const HEAD_REST_BYTES_MAX: usize = 128;
/// Headers that the client of the daemon may add: `Host`, and one for the length of the body.
const HEADERS_ADDED_MAX: usize = 2;

/// A request that may be forwarded. As an argument of a handler, it is found by the checks of the head.
pub(crate) struct Admitted {
    /// The connection that it came over.
    pub(crate) connection: Arc<ConnectionInfo>,
    pub(crate) is_health: bool,
    /// Whether the client may read the answer as slowly as it likes.
    pub(crate) may_be_slow: bool,
    /// Counts the request for its address.
    pub(crate) slot: AddressSlot,
    /// The largest body that it may have, in bytes; `None` for any.
    pub(crate) body_max: Option<u64>,
}

impl FromRequestParts<Arc<Gateway>> for Admitted {
    type Rejection = Response<Body>;

    async fn from_request_parts(head: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Response<Body>> {
        let id = request_id(&head.extensions, gateway);
        connection_of(head).and_then(|connection| admit(gateway, &connection, head)).map_err(|problem| {
            debug!(request_id = id.text(), code = problem.code.as_str(), "request refused");
            problem.response(id)
        })
    }
}

/// Returns the id of a request.
pub(crate) fn request_id(extensions: &Extensions, gateway: &Gateway) -> RequestId {
    extensions.get::<RequestId>().copied().unwrap_or_else(|| gateway.ids.next())
}

/// Checks a head, and changes its headers to those that the daemon gets.
///
/// # Errors
/// The answer to a request that is not forwarded.
fn admit(gateway: &Gateway, connection: &Arc<ConnectionInfo>, head: &mut Parts) -> Result<Admitted, Problem> {
    check_size(&head.uri, &head.headers, (HEADERS_MAX, HEAD_BYTES_MAX))?;
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Problem::unread(Code::RouteMethod, "the gateway forwards no CONNECT and no TRACE"));
    }
    // With both lengths, hyper has read the chunks. The daemon must not see the other one.
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let is_health = head.uri.path() == HEALTH;
    let with_port = matches!(connection.client, ClientKind::Bearer);
    // A load balancer that asks for the health knows an address only.
    if !host_is(head, |host| is_health || gateway.public_url.is_host(host, with_port))? {
        let detail = "the request names another host than the `public_url` of this gateway";
        return Err(Problem::unread(Code::RequestMisdirected, detail));
    }
    check_origin(gateway, &head.headers)?;
    let address = gateway.proxies.client(connection.peer, &head.headers)?;
    let Some(slot) = gateway.requests_by_address.take(address) else {
        let detail = "this address has as many requests in flight as it may; try again once one of them is answered";
        return Err(Problem::unread(Code::RateLimited, detail));
    };
    // Before the credential is looked at: `Connection` may name its header.
    strip_request(&mut head.headers);
    check_credential(connection, &head.headers, is_health)?;
    head.headers.insert(ADDRESS, ascii(&address_text(address))?);
    if let ClientKind::Certificate(identity) = &connection.client {
        head.headers.insert(CERTIFICATE, ascii(&identity.header)?);
    }
    let body_max = (!STREAMED.contains(&head.uri.path())).then_some(BODY_BYTES_MAX as u64);
    check_length(&head.headers, body_max)?;
    // The daemon has the same bounds, for the head with what the gateway adds.
    check_size(&head.uri, &head.headers, (HEADERS_MAX - HEADERS_ADDED_MAX, HEAD_BYTES_MAX - HEAD_REST_BYTES_MAX))?;
    let may_be_slow = READ_SLOWLY.contains(&head.uri.path());
    Ok(Admitted { connection: Arc::clone(connection), is_health, may_be_slow, slot, body_max })
}

fn address_text(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// Checks a head against bounds on its headers and bytes. HTTP/1.1 heads were bounded while they arrived; those of HTTP/2 can be larger.
fn check_size(uri: &Uri, headers: &HeaderMap, (count_max, bytes_max): (usize, usize)) -> Result<(), Problem> {
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if headers.len() > count_max || lines + path > bytes_max {
        return Err(Problem::unread(Code::RequestTooLarge, "the head of the request has too many headers or bytes"));
    }
    Ok(())
}

/// Applies a check to the host that a request names in one or two places.
fn host_is(head: &Parts, is_right: impl Fn(&Authority) -> bool) -> Result<bool, Problem> {
    let malformed =
        || Problem::unread(Code::RequestInvalid, "a request names its host once, in `Host` or in `:authority`");
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).map_err(|_| malformed())?),
        (None, None) => None,
        _ => return Err(malformed()),
    };
    match (head.uri.authority(), &host) {
        // The target of HTTP/1.1 counts only together with `Host`, which every request has.
        (Some(_), None) if head.version != Version::HTTP_2 => Err(malformed()),
        (Some(authority), None) => Ok(is_right(authority)),
        (None, Some(host)) => Ok(is_right(host)),
        (Some(authority), Some(host)) if authority == host => Ok(is_right(host)),
        _ => Err(malformed()),
    }
}

/// A browser names the page that sends a request. Only pages of the gateway itself may.
fn check_origin(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Problem> {
    let own = gateway.public_url.origin();
    if headers.get_all(header::ORIGIN).iter().all(|origin| origin.as_bytes() == own.as_bytes()) {
        return Ok(());
    }
    Err(Problem::unread(Code::PermDenied, "a page of another origin may send no requests to this gateway"))
}

/// Checks that a request has one credential. Whether it is valid, the daemon decides.
fn check_credential(connection: &ConnectionInfo, headers: &HeaderMap, is_health: bool) -> Result<(), Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (given.next(), given.next());
    if connection.is_outdated() {
        let detail = "other client certificates are accepted than when the connection began: connect again";
        return Err(Problem::unread(Code::AuthInvalid, detail));
    }
    match (&connection.client, first, second) {
        (ClientKind::Unusable, _, _) => {
            let detail =
                "the client certificate is malformed, or has too many or too long names; the gateway's log says which";
            Err(Problem::unread(Code::AuthInvalid, detail))
        }
        (ClientKind::Certificate(_), Some(_), _) => {
            let detail = "a request over this listener has the certificate as its credential, and no `Authorization`";
            Err(Problem::unread(Code::AuthSeveral, detail))
        }
        (ClientKind::Certificate(_), None, _) if connection.has_expired() => {
            Err(Problem::unread(Code::AuthExpired, "the client certificate has expired since the connection began"))
        }
        (ClientKind::Certificate(_), None, _) => Ok(()),
        (ClientKind::Bearer, Some(_), Some(_)) => {
            Err(Problem::unread(Code::RequestInvalid, "a request has one `Authorization` header"))
        }
        (ClientKind::Bearer, Some(credential), None) if is_bearer(credential) => Ok(()),
        (ClientKind::Bearer, Some(_), None) => {
            Err(Problem::unread(Code::AuthInvalid, "`Authorization` is not `Bearer` and a credential"))
        }
        (ClientKind::Bearer, None, _) if is_health => Ok(()),
        (ClientKind::Bearer, None, _) => {
            let detail = "this request needs a credential: an API key in the header `Authorization: Bearer`";
            Err(Problem::unread(Code::AuthMissing, detail))
        }
    }
}

/// Returns whether a header is the scheme `Bearer` and a credential.
fn is_bearer(credential: &HeaderValue) -> bool {
    let text = credential.as_bytes().trim_ascii();
    let scheme = text.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    let (scheme, credential) = text.split_at(scheme);
    scheme.eq_ignore_ascii_case(b"bearer") && !credential.trim_ascii().is_empty()
}

fn check_length(headers: &HeaderMap, body_max: Option<u64>) -> Result<(), Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match body_max.zip(announced) {
        Some((max, announced)) if announced > max => Err(too_large()),
        _ => Ok(()),
    }
}

/// Returns the problem of a body that is too large.
pub(crate) fn too_large() -> Problem {
    Problem::unread(Code::RequestTooLarge, "the body of a request has at most 16 MiB")
}

fn ascii(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::internal())
}

/// Returns the connection of a request. Each request of a connection has it.
fn connection_of(head: &Parts) -> Result<Arc<ConnectionInfo>, Problem> {
    head.extensions.get::<Arc<ConnectionInfo>>().cloned().ok_or_else(Problem::internal)
}

const _: () = assert!(BODY_BYTES_MAX == 16 * 1024 * 1024);

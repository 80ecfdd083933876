//! What reaches the daemon of a request, and the client of an answer.

use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use sha2::{Digest, Sha256};

use crate::{
    client::{Answer, Connector},
    recorder::{Recorder, run},
    site::{GatewaySite, HOST},
};

/// Every answer has these.
fn assert_strict(answer: &Answer) {
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("strict-transport-security", "max-age=31536000"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name} of {} {}", answer.status, answer.body);
    }
    assert_eq!(answer.header("x-request-id").map(str::len), Some(32));
}

#[test]
fn a_request_is_forwarded_without_what_its_client_may_not_say() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let headers = [
            ("host", HOST),
            ("authorization", "Bearer masker_live_x"),
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("x-masker-session", "s"),
            ("origin", "https://masker.example"),
            ("masker-gateway-address", "192.0.2.9"),
            ("Masker-Gateway-Certificate", "sha256:00"),
            ("masker-gateway-login", "admin"),
            ("masker_gateway_address", "192.0.2.9"),
            ("x-forwarded-for", "192.0.2.9"),
            ("forwarded", "for=192.0.2.9"),
            ("connection", "x-listed, masker-gateway-address"),
            ("x-listed", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("cookie", "a=b"),
        ];
        let answer = client.request("POST /api/v1/tokenize?a=%2F..&b", &headers, "{\"a\":1}").await;
        assert_strict(&answer);
        assert_eq!((answer.status, answer.body.as_str()), (200, "served"));
        // The id is the daemon's, which has logged it; what is about the connection is not passed on.
        assert_eq!(answer.header("x-request-id"), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!((answer.header("x-inner"), answer.header("keep-alive")), (None, None));
        let request = daemon.next().await;
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/api/v1/tokenize?a=%2F..&b"));
        assert_eq!(request.body, b"{\"a\":1}");
        let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let expected =
            ["authorization", "content-length", "content-type", "host", "masker-gateway-address", "x-masker-session"];
        assert_eq!(names, expected);
        assert_eq!(request.all("authorization"), ["Bearer masker_live_x"]);
        assert_eq!(request.all("masker-gateway-address"), ["127.0.0.1"]);
        gateway.process.stop();
    });
}

#[test]
fn a_certificate_is_passed_on_by_its_listener_alone() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let identity = site.clients.client(&["ci.example", "spiffe://example/a,b"]);
        let expected = format!(
            "sha256:{}, san:dns:ci.example, san:uri:spiffe://example/a%2Cb",
            HEXLOWER.encode(&Sha256::digest(identity.public_key()))
        );
        let mtls = Connector::mtls(&site, &gateway, &identity);
        let host = [("host", "masker.example:8444"), ("masker-gateway-certificate", "san:dns:other.example")];
        assert_eq!(mtls.request("GET /api/v1/sessions", &host, "").await.status, 200);
        let request = daemon.next().await;
        assert_eq!(request.all("masker-gateway-certificate"), [expected.as_str()]);
        assert_eq!(request.all("masker-gateway-address"), ["127.0.0.1"]);
        assert!(request.all("authorization").is_empty());

        // Two credentials are one too many.
        let both = [("host", HOST), ("authorization", "Bearer x")];
        let answer = mtls.request("GET /api/v1/sessions", &both, "").await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "auth.several"));
        assert_strict(&answer);

        // The other listener asks for no certificate.
        let tls = Connector::tls(&site, &gateway);
        assert_eq!(tls.get("/api/v1/sessions").await.status, 200);
        let request = daemon.next().await;
        assert!(request.all("masker-gateway-certificate").is_empty() && !daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn heads_that_are_not_allowed_never_reach_the_daemon() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let (host, bearer) = (("host", HOST), ("authorization", "Bearer x"));
        let get = "GET /api/v1/sessions";
        for (line, headers, status, code) in [
            (get, vec![host], 401, "auth.missing"),
            (get, vec![host, ("authorization", "Bearer")], 401, "auth.invalid"),
            (get, vec![host, ("authorization", "Basic eDp4")], 401, "auth.invalid"),
            (get, vec![host, ("authorization", "")], 401, "auth.invalid"),
            (get, vec![host, bearer, ("connection", "authorization")], 401, "auth.missing"),
            (get, vec![host, bearer, bearer], 400, "request.invalid"),
            (get, vec![bearer], 400, "request.invalid"),
            (get, vec![host, host, bearer], 400, "request.invalid"),
            (get, vec![("host", "masker.example:8443"), bearer], 421, "request.misdirected"),
            (get, vec![("host", "127.0.0.1"), bearer], 421, "request.misdirected"),
            ("GET https://other.example/api/v1/sessions", vec![host, bearer], 400, "request.invalid"),
            (get, vec![host, bearer, ("origin", "https://other.example")], 403, "perm.denied"),
            (get, vec![host, bearer, ("origin", "http://masker.example")], 403, "perm.denied"),
            (get, vec![host, bearer, ("origin", "null")], 403, "perm.denied"),
            ("GET /metrics", vec![host, bearer], 404, "route.not_found"),
            ("GET /api/v1", vec![host, bearer], 404, "route.not_found"),
            ("GET /", vec![host], 401, "auth.missing"),
            ("TRACE /api/v1/sessions", vec![host, bearer], 405, "route.method"),
            ("POST /api/v1/x", vec![host, bearer, ("content-length", "16777217")], 413, "request.too_large"),
        ] {
            let answer = client.request(line, &headers, "").await;
            assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{line} {headers:?}");
            assert_strict(&answer);
            assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
        }
        // The health needs no credential, and no name of the host.
        let health = client.request("GET /health", &[("host", "127.0.0.1:8443")], "").await;
        assert_eq!((health.status, health.body.as_str()), (200, "served"));
        assert_eq!(daemon.next().await.target, "/health");
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn a_body_has_one_length() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let client = Connector::tls(&site, &gateway);
        let head =
            "POST /api/v1/x HTTP/1.1\r\nhost: masker.example\r\nauthorization: Bearer x\r\nconnection: close\r\n";
        let chunked = "3\r\nabc\r\n0\r\n\r\nGET /api/v1/smuggled HTTP/1.1\r\nhost: masker.example\r\n\r\n";
        for lengths in [
            "content-length: 3\r\ncontent-length: 4\r\n",
            "content-length: +3\r\n",
            "content-length: 3, 4\r\n",
            "transfer-encoding: chunked, identity\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding : chunked\r\n",
        ] {
            let answer = Answer::parse(&client.raw(&format!("{head}{lengths}\r\n{chunked}")).await.unwrap());
            assert_eq!((answer.status, answer.problem().as_str()), (400, "request.invalid"), "{lengths}");
            assert_strict(&answer);
        }
        // With both, the chunks count, and what is behind them never becomes a part of a request to the daemon.
        for lengths in [
            "content-length: 999\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 999\r\n",
        ] {
            let answer = Answer::parse(&client.raw(&format!("{head}{lengths}\r\n{chunked}")).await.unwrap());
            assert_eq!((answer.status, answer.body.as_str()), (200, "served"), "{lengths}");
            let request = daemon.next().await;
            assert_eq!((request.target.as_str(), request.body.as_slice()), ("/api/v1/x", &b"abc"[..]));
            assert_eq!((request.all("content-length").len(), request.all("transfer-encoding")), (0, vec!["chunked"]));
        }
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn http2_is_checked_as_http1_is() {
    run(async {
        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut client = Connector::tls(&site, &gateway).http2::<Empty<Bytes>>().await;
        let get = |uri: &str, headers: &[(&str, &str)]| {
            let mut request = Request::get(uri).header("authorization", "Bearer x");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Empty::new()).unwrap()
        };
        let answer = client.send_request(get("https://masker.example/api/v1/a?b=c", &[("x-a", "b")])).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "served");
        let request = daemon.next().await;
        assert_eq!((request.target.as_str(), request.all("x-a")), ("/api/v1/a?b=c", vec!["b"]));
        assert_eq!(request.all("host"), ["masker"]);
        let many = vec![("x-a", "b"); 70];
        for (uri, headers, status) in [
            ("https://other.example/api/v1/a", vec![], 421),
            ("https://masker.example:8443/api/v1/a", vec![], 421),
            ("https://masker.example/api/v1/a", vec![("host", "other.example")], 400),
            ("https://masker.example/api/v1/a", vec![("authorization", "Bearer y")], 400),
            ("https://masker.example/api/v1/a", vec![("origin", "https://other.example")], 403),
            ("https://masker.example/api/v1/a", many, 413),
        ] {
            let answer = client.send_request(get(uri, &headers)).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{uri} {headers:?}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

#[test]
fn only_a_listed_proxy_names_the_address_of_its_client() {
    run(async {
        for (setting, expected) in [("trusted_proxies = [\"127.0.0.0/8\"]", "2001:db8::7"), ("", "127.0.0.1")] {
            let site = GatewaySite::new().with(setting);
            let daemon = Recorder::listen(site.socket());
            let gateway = site.start();
            let client = Connector::tls(&site, &gateway);
            let headers =
                [("host", HOST), ("authorization", "Bearer x"), ("x-forwarded-for", "192.0.2.1, 2001:db8::7")];
            assert_eq!(client.request("GET /api/v1/a", &headers, "").await.status, 200);
            assert_eq!(daemon.next().await.all("masker-gateway-address"), [expected]);
            gateway.process.stop();
        }
    });
}

#[test]
fn plain_http_is_redirected_and_nothing_else() {
    run(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let site = GatewaySite::new();
        let daemon = Recorder::listen(site.socket());
        let gateway = site.start();
        let mut stream = tokio::net::TcpStream::connect(gateway.address("redirect")).await.unwrap();
        let request = "POST /api/v1/a?b HTTP/1.1\r\nhost: other.example\r\nauthorization: Bearer x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let answer = Answer::parse(&text);
        assert_eq!(answer.status, 308);
        assert_eq!(answer.header("location"), Some("https://masker.example/api/v1/a?b"));
        assert_eq!(answer.header("strict-transport-security"), None);
        assert!(!daemon.has_more());
        gateway.process.stop();
    });
}

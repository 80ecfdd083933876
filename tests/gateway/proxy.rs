//! An HTTP proxy that notes what it is asked for, and connects to one address.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A proxy. Its thread ends with the process.
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts a proxy that takes each `CONNECT` to this address.
    pub fn to(target: SocketAddr) -> Self {
        Proxy::start("HTTP/1.1 200 OK\r\n\r\n", Some(target))
    }

    /// Starts a proxy that refuses each `CONNECT`.
    pub fn that_refuses() -> Self {
        Proxy::start("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", None)
    }

    fn start(answer: &'static str, target: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&heads);
        thread::spawn(move || {
            while let Ok((mut client, _)) = listener.accept() {
                let head = read_head(&mut client);
                noted.lock().unwrap().push(head);
                client.write_all(answer.as_bytes()).unwrap();
                if let Some(target) = target {
                    connect(client, TcpStream::connect(target).unwrap());
                }
            }
        });
        Proxy { address, heads }
    }

    /// Returns its address, as the variable `HTTPS_PROXY` names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns its address with a user and a password.
    pub fn url_with(&self, user: &str) -> String {
        format!("http://{user}@{}", self.address)
    }

    /// Returns the heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    // The client waits for an answer, so nothing follows the head.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn connect(client: TcpStream, server: TcpStream) {
    for (from, to) in [(&client, &server), (&server, &client)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            // One of them may be gone at any time.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
    }
}

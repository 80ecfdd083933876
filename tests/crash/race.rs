//! Two daemons started at once on one vault: one serves, the other gives the reason why it does not.

use std::{path::PathBuf, sync::Barrier, thread};

use crate::harness::{Daemon, Ended, Site};

const RACES: usize = 20;

/// Starts two daemons at once. Returns the result of each.
fn race(site: &Site, sockets: &[PathBuf; 2]) -> Vec<Result<Daemon, Ended>> {
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        let starts: Vec<_> = sockets
            .iter()
            .map(|socket| {
                let (launch, begin) = (site.launch().care_keys().socket(socket), &begin);
                scope.spawn(move || {
                    begin.wait();
                    launch.attempt()
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().expect("it was ready or gone")).collect()
    })
}

/// Races daemons for a vault repeatedly. Each winner can be reached by its socket and has the data of those before
/// it; each loser gives one of these reasons.
fn race_repeatedly(site: &Site, sockets: &[PathBuf; 2], reasons: &[&str]) {
    let mut tokens = Vec::new();
    for round in 0..RACES {
        let (serving, refused): (Vec<_>, Vec<_>) = race(site, sockets).into_iter().partition(Result::is_ok);
        assert_eq!((serving.len(), refused.len()), (1, 1), "round {round}");
        for ended in refused.into_iter().filter_map(Result::err) {
            let log = ended.code(1);
            assert!(reasons.iter().any(|reason| log.contains(reason)), "round {round}:\n{log}");
        }
        for daemon in serving.into_iter().flatten() {
            let mut client = daemon.client();
            tokens.push(client.token("NAME", &format!("winner {round}")));
            for (value, token) in tokens.iter().enumerate() {
                assert_eq!(client.value(token), format!("winner {value}"));
            }
            // Half of them leave their socket behind.
            if round % 2 == 0 {
                daemon.kill()
            } else {
                daemon.stop()
            };
        }
    }
}

#[test]
fn one_of_two_daemons_on_one_vault_serves() {
    let site = Site::new();
    let sockets = [site.path("one.sock"), site.path("other.sock")];
    race_repeatedly(&site, &sockets, &["a vault is served by one process at a time"]);
}

#[test]
fn one_of_two_daemons_on_one_vault_and_socket_serves() {
    let site = Site::new();
    let sockets = [site.socket(), site.socket()];
    let reasons = ["a vault is served by one process at a time", "another process is listening on this socket"];
    race_repeatedly(&site, &sockets, &reasons);
}

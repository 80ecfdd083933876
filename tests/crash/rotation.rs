//! `kill -9`, fifty times, during rotations under load: each token keeps its value, no value gets a second one, each
//! rotation continues, and the counts are exact. And a rotation on a disk that fills up.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    disk::SmallDisk,
    kill::{check_vault, load_until_killed},
    load::Load,
    number,
    promises::{Extent, Promises},
};
use crate::{
    harness::{Client, LIMIT, Launch, Site, TestKey},
    powercut::disk::Seeded,
};

on_each_engine!(rotations_survive_fifty_kills, a_rotation_waits_for_room_on_a_full_disk,);

const CONNECTIONS: usize = 4;
/// Values that exist before the first rotation: enough that one rotation takes longer than a daemon lives.
const VALUES: usize = 4_000;
/// Values of one request.
const CHUNK: usize = 1_000;

/// Starts with the key of a generation, and as the old key that of the generation before.
pub fn launch(site: &Site, generation: u64, with_old: bool) -> Launch<'_> {
    let key = |generation: u64| TestKey::named(&format!("care {generation}"));
    let launch = site.launch().care_keys().key("K_CARE", &key(generation));
    if with_old { launch.old_key("K_CARE", &key(generation - 1)) } else { launch }
}

/// Mints values that are never forgotten. Returns them with their tokens.
fn mint(client: &mut Client) -> Vec<(String, String)> {
    let values: Vec<String> = (0..VALUES).map(|number| format!("patient {number}")).collect();
    let tokens = values.chunks(CHUNK).flat_map(|chunk| client.tokens("NAME", chunk)).collect::<Vec<_>>();
    values.into_iter().zip(tokens).collect()
}

/// Checks that each token has its value, and that each value has only this token.
fn assert_kept(client: &mut Client, minted: &[(String, String)]) {
    for chunk in minted.chunks(CHUNK) {
        let tokens: Vec<&str> = chunk.iter().map(|(_, token)| token.as_str()).collect();
        for (result, (value, _)) in client.rehydrate(&tokens).iter().zip(chunk) {
            assert_eq!(result["value"], *value, "{result}");
        }
        let items: Vec<Value> = chunk.iter().map(|(value, _)| crate::harness::item("NAME", value)).collect();
        for (result, token) in client.ask_items("/api/v1/lookup", &items).iter().zip(&tokens) {
            assert_eq!(result["tokens"], json!([token]), "{result}");
        }
    }
}

/// Starts a rotation of the key's records to its active generation. Returns its id.
pub fn begin(client: &mut Client) -> String {
    let response = client.post("/api/v1/vault/rotations", &json!({"new_kid": "K_CARE"}));
    assert_eq!(response.status, 202);
    response.json()["id"].as_str().expect("an id").to_owned()
}

/// Returns the latest rotation.
pub fn latest(client: &mut Client) -> Value {
    client.get("/api/v1/vault/rotations").ok()["rotations"][0].clone()
}

/// Waits until the latest rotation has ended.
fn wait(client: &mut Client) -> Value {
    wait_within(client, LIMIT)
}

/// Waits until the latest rotation has ended, up to a limit.
pub fn wait_within(client: &mut Client, limit: Duration) -> Value {
    let began = Instant::now();
    loop {
        let rotation = latest(client);
        if rotation["state"] != "running" {
            return rotation;
        }
        // Each query is a round trip to the daemon, so this loop needs no pause.
        assert!(began.elapsed() < limit, "it does not end: {rotation}");
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// Checks that the active generation seals all records, and that the old one is removable.
pub fn assert_register_exact(client: &mut Client, records: u64) {
    let keys = client.get("/api/v1/keys").ok();
    let of_kid: Vec<&Value> =
        keys["keys"].as_array().expect("keys").iter().filter(|key| key["kid"] == "K_CARE").collect();
    let counted: u64 = of_kid.iter().map(|key| count(&key["vault_records"])).sum();
    assert_eq!(counted, records, "{keys}");
    for key in of_kid {
        let is_active = key["generation"] == "active";
        assert_eq!(key["removable"], !is_active, "{keys}");
        assert_eq!(count(&key["vault_records"]), if is_active { records } else { 0 }, "{keys}");
    }
}

fn rotations_survive_fifty_kills(engine: &str) {
    let (seed, kills) = (number("CRASH_SEED", 1), number("CRASH_KILLS", 50));
    println!("seed {seed}");
    let began = Instant::now();
    let site = Site::of(engine);
    let mut random = Seeded(seed);
    let (mut load, mut promises) = (Load::new(seed, CONNECTIONS), Promises::default());

    let daemon = launch(&site, 1, false).start();
    let minted = mint(&mut daemon.client());
    daemon.stop();

    let mut generation = 2;
    let mut daemon = launch(&site, generation, true).start();
    begin(&mut daemon.client());
    let (mut in_the_middle, mut done) = (0, 0);
    for kill in 0..kills {
        for step in load_until_killed(&daemon, &mut load, &promises, 120, &mut random) {
            promises.note(&step.exchange);
        }
        daemon.kill();

        daemon = launch(&site, generation, true).start();
        let mut client = daemon.client();
        let rotation = latest(&mut client);
        if rotation["state"] == "running" {
            in_the_middle += u64::from(count(&rotation["rows_resealed"]) > 0);
        } else {
            assert_eq!((&rotation["state"], &rotation["rows_failed"]), (&json!("done"), &json!(0)), "{rotation}");
            done += 1;
            // The active key becomes the old one; the one before it is gone.
            daemon.stop();
            generation += 1;
            daemon = launch(&site, generation, true).start();
            client = daemon.client();
            begin(&mut client);
        }
        promises.check(&mut client, Extent::Sample(400), &mut random);
        promises.assert_kept(&format!("seed {seed}, after kill {kill}"));
    }

    let mut client = daemon.client();
    assert_eq!(wait(&mut client)["state"], "done");
    promises.check(&mut client, Extent::All, &mut random);
    promises.assert_kept(&format!("seed {seed}, after the last kill"));
    assert_kept(&mut client, &minted);
    let records = check_vault(&mut client);
    promises.check_count(records - VALUES as u64);
    assert_register_exact(&mut client, records);
    daemon.stop();
    // Nothing is missing without the old key.
    let daemon = launch(&site, generation, false).start();
    let mut client = daemon.client();
    assert_eq!(client.health().0, "ok");
    assert_kept(&mut client, &minted);
    promises.check(&mut client, Extent::All, &mut random);
    promises.assert_kept(&format!("seed {seed}, without the old key"));
    daemon.stop();
    println!(
        "{kills} kills, {in_the_middle} of them in the middle of a rotation, {done} rotations done on the way; {records} \
         records at the end; {:.1} s",
        began.elapsed().as_secs_f32()
    );
    assert!(in_the_middle >= kills / 4, "the kills missed the rotations: {in_the_middle} of {kills}");
}

fn a_rotation_waits_for_room_on_a_full_disk(engine: &str) {
    let mut site = Site::of(engine);
    let Some(disk) = SmallDisk::mount(site.path("disk"), 24) else { return };
    site.set("vault", "data_dir", format!("{:?}", disk.0.join("vault")));
    let daemon = launch(&site, 1, false).start();
    let minted = mint(&mut daemon.client());
    daemon.stop();

    let daemon = launch(&site, 2, true).start();
    let mut client = daemon.client();
    let ballast = disk.leave(&disk.0.join("ballast"), 250 << 10);
    let id = begin(&mut client);
    let began = Instant::now();
    while client.health().0 == "ok" {
        let rotation = latest(&mut client);
        assert_eq!(rotation["state"], "running", "the disk is too large for this test: {rotation}");
        assert!(began.elapsed() < LIMIT, "the disk does not fill up: {rotation}");
    }
    let rest = disk.leave(&disk.0.join("rest"), 0);
    fs::remove_file(&ballast).and_then(|()| fs::remove_file(rest)).expect("they were made");
    let rotation = wait(&mut client);
    assert_eq!((&rotation["state"], &rotation["id"]), (&json!("done"), &json!(id)), "{rotation}");
    assert_eq!((count(&rotation["rows_resealed"]), count(&rotation["rows_failed"])), (VALUES as u64, 0), "{rotation}");
    assert_kept(&mut client, &minted);
    let records = check_vault(&mut client);
    assert_register_exact(&mut client, records);
    daemon.kill();
    let daemon = launch(&site, 2, false).start();
    assert_kept(&mut daemon.client(), &minted);
    daemon.stop();
}

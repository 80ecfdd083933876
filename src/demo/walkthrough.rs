//! What the demonstration does, step by step, and says while it does it.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    time::{Duration, Instant},
};

use comfy_table::{Table, presets};
use indicatif::HumanCount;
use tokio::time::sleep;

use super::{
    DemoError,
    daemon::{Daemon, DemoDirectory},
    dataset::{PassStats, Sheet},
    patients::{self, COLUMNS, PATIENTS, SEED},
};
use masker_api::{KeyList, Rotation, RotationBegin};
use masker_client::Client;
use masker_core::crypto::SecretKey;

/// Patients that are shown before and after: by their place in the file.
const SHOWN_ROWS: [usize; 3] = [2, 14, 108];
/// Columns that are shown.
const SHOWN_COLUMNS: [&str; 6] = ["name", "dob", "ssn", "phone", "address", "diagnosis"];
/// Pause between two looks at the rotation.
const ROTATION_LOOK: Duration = Duration::from_millis(20);
/// Characters of a field that are shown.
const SHOWN_CHARACTERS: usize = 52;

/// The story. Everything is dropped at its end: the daemon, its vault and its keys.
pub(super) async fn tell(out: &mut impl Write) -> Result<(), DemoError> {
    let began = Instant::now();
    let mut story = Story { out, steps: 0 };
    story.line("masker, from values to tokens and back, through a crash and a change of keys.")?;
    story.line("Keys, vault and patients are made up for this run and gone after it.")?;

    let place = DemoDirectory::new()?;
    let (original, restored, tokens) =
        (place.path("patients.csv"), place.path("restored.csv"), place.path("tokens.csv"));
    let first_key = generate()?;

    story.step("A daemon")?;
    let daemon = Daemon::start(&place, &first_key, None).await?;
    story.started(&daemon)?;
    let mut client = Client::connect(&place.socket()).await?;
    let first_fingerprint = story.keys(&mut client).await?;

    story.step("A file of patients becomes a file of tokens")?;
    Sheet { rows: patients::patients(SEED, PATIENTS) }.write(&original)?;
    let patients = Sheet::read(&original)?;
    let (tokenized, minted) = patients.tokenize(&mut client).await?;
    tokenized.write(&tokens)?;
    let distinct = patients.identifying().collect::<BTreeSet<_>>().len();
    story.line(&format!(
        "{} patients, {} values of {} kinds, in {}.",
        grouped(patients.rows.len()),
        grouped(minted.fields),
        COLUMNS.iter().filter(|column| column.kind.is_some()).count(),
        pace(&minted),
    ))?;
    story.line(&format!(
        "{} tokens were minted; {} fields hold a value that had one by then, and got that.",
        grouped(minted.count("new")),
        grouped(minted.count("known")),
    ))?;
    claim(minted.count("new") == distinct, "each distinct value has one token")?;
    story.table(&patients, &tokenized)?;
    let left = unchanged_fields(&patients, &tokenized);
    claim(left == 0, "no identifying value is left in the file of tokens")?;
    story.line("The diagnosis identifies nobody and is no entity of the policy: it was never sent.")?;

    story.step("kill -9")?;
    let pid = daemon.pid();
    daemon.kill()?;
    story.line(&format!("Process {pid} is gone, between two instructions. It could save nothing any more."))?;

    story.step("Another start, with another key")?;
    let second_key = generate()?;
    let daemon = Daemon::start(&place, &second_key, Some(&first_key)).await?;
    story.line("MASKER_KEY_K_HEALTHCARE is a new key; the one before it is MASKER_KEY_K_HEALTHCARE_OLD.")?;
    story.started(&daemon)?;
    // A connection of its own: the one before ended with its daemon.
    let mut client = Client::connect(&place.socket()).await?;
    let second_fingerprint = story.keys(&mut client).await?;
    claim(first_fingerprint != second_fingerprint, "the active key is another one")?;

    story.step("The file of tokens becomes a file of patients")?;
    let (rehydrated, opened) = Sheet::read(&tokens)?.rehydrate(&mut client).await?;
    rehydrated.write(&restored)?;
    story.line(&format!("{} tokens, in {}.", grouped(opened.fields), pace(&opened)))?;
    story.line(&format!(
        "{} opened under the old key, {} under the new one, none failed.",
        grouped(opened.count("old")),
        grouped(opened.count("active")),
    ))?;
    claim(
        opened.fields == minted.fields && opened.count("old") == opened.fields,
        "each token opens under the old key",
    )?;
    let bytes = |path| fs::read(path).map_err(DemoError::system("read its files"));
    let (before, after) = (bytes(&original)?, bytes(&restored)?);
    claim(before == after, "the file that came back equals the one that went in")?;
    story.line(&format!(
        "{} bytes went in, and the same {} bytes came back.",
        grouped(before.len()),
        grouped(after.len())
    ))?;

    story.step("The same values once more")?;
    let (again, known) = patients.tokenize(&mut client).await?;
    let same = again.identifying().zip(tokenized.identifying()).filter(|(one, other)| one == other).count();
    story.line(&format!("{} values, in {}.", grouped(known.fields), pace(&known)))?;
    story.line(&format!(
        "{} got the token that they had under the old key; {} tokens were minted.",
        grouped(same),
        grouped(known.count("new")),
    ))?;
    claim(again == tokenized && known.count("new") == 0, "each value keeps its token through the rotation")?;

    story.step("The vault moves to the new key")?;
    let rotation = rotate(&mut client).await?;
    story.line(&format!(
        "{} records were sealed again in {} while the daemon served, and everything was read once more.",
        grouped(count(rotation.rows_resealed)),
        format_duration(rotation.took),
    ))?;
    claim(rotation.rows_resealed == minted.count("new") as u64, "each record is moved")?;
    let (removable, advice) = story.verdict(&mut client, &first_fingerprint).await?;
    story.line(&format!("K_HEALTHCARE: {advice}."))?;
    claim(removable, "the old key can be removed")?;

    story.step("The old key is taken away")?;
    daemon.stop()?;
    let daemon = Daemon::start(&place, &second_key, None).await?;
    drop(first_key);
    story.started(&daemon)?;
    let mut client = Client::connect(&place.socket()).await?;
    story.keys(&mut client).await?;
    let (rehydrated, opened) = Sheet::read(&tokens)?.rehydrate(&mut client).await?;
    rehydrated.write(&restored)?;
    claim(
        bytes(&restored)? == before && opened.count("active") == opened.fields,
        "the file comes back without the old key",
    )?;
    let (again, known) = patients.tokenize(&mut client).await?;
    claim(again == tokenized && known.count("new") == 0, "each value keeps its token without the old key")?;
    story.line(&format!(
        "{} tokens opened under the new key alone, and every value has the token that it had in the beginning.",
        grouped(opened.fields)
    ))?;

    daemon.stop()?;
    story.line("")?;
    story.line(&format!(
        "PASS: {} tokens outlived a kill -9, a rotation and the key that they were minted under, and gave every byte back. \
         It took {}.",
        grouped(opened.fields),
        format_duration(began.elapsed()),
    ))
}

/// A rotation that was done.
struct RotationStats {
    rows_resealed: u64,
    took: Duration,
}

/// Moves the vault's records to the active key, and waits until that is proven to be done.
async fn rotate(client: &mut Client) -> Result<RotationStats, DemoError> {
    let began = Instant::now();
    let begin =
        RotationBegin { new_kid: "K_HEALTHCARE".to_owned(), old_kid: None, dry_run: false, max_rows_per_second: 0 };
    let mut rotation: Rotation = client.post("/api/v1/vault/rotations", &begin).await?.json()?;
    while rotation.state == "running" {
        sleep(ROTATION_LOOK).await;
        rotation = client.get(&format!("/api/v1/vault/rotations/{}", rotation.id)).await?.json()?;
    }
    claim(rotation.state == "done" && rotation.rows_failed == 0, "the rotation is done")?;
    Ok(RotationStats { rows_resealed: rotation.rows_resealed, took: began.elapsed() })
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn generate() -> Result<SecretKey, DemoError> {
    Ok(SecretKey::generate(&mut rand::rng())?)
}

/// Identifying fields that are in the second sheet as they were in the first.
fn unchanged_fields(patients: &Sheet, tokenized: &Sheet) -> usize {
    let left = patients.identifying().zip(tokenized.identifying());
    left.filter(|((kind, value), (_, token))| value == token || !token.starts_with(&format!("MSKV1.{kind}."))).count()
}

/// Goes on if something that the story claims is so.
fn claim(holds: bool, what: &str) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Claim(format!("it should be that {what}, and it is not"))) }
}

struct Story<'a, W> {
    out: &'a mut W,
    steps: usize,
}

impl<W: Write> Story<'_, W> {
    fn line(&mut self, text: &str) -> Result<(), DemoError> {
        writeln!(self.out, "{text}").map_err(DemoError::system("write to standard output"))
    }

    fn step(&mut self, title: &str) -> Result<(), DemoError> {
        self.steps += 1;
        let step = self.steps;
        self.line(&format!("\n{step}. {title}"))
    }

    fn started(&mut self, daemon: &Daemon) -> Result<(), DemoError> {
        self.line(&format!(
            "`masker serve` is process {} and serves after {}.",
            daemon.pid(),
            format_duration(daemon.took)
        ))
    }

    /// Shows the loaded keys by their public names; returns that of the active one.
    async fn keys(&mut self, client: &mut Client) -> Result<String, DemoError> {
        let reply = client.get("/api/v1/keys").await?;
        let list: KeyList = reply.json()?;
        let mut active = None;
        for key in list.keys.into_iter().filter(|key| key.loaded) {
            self.line(&format!(
                "{} is {} {}, and {} vault records are sealed under it.",
                key.fingerprint,
                key.kid,
                key.generation,
                grouped(count(key.vault_records)),
            ))?;
            if key.generation == "active" {
                active = Some(key.fingerprint);
            }
        }
        active.ok_or_else(|| DemoError::Claim("there is no active key".to_owned()))
    }

    /// Whether the old key can be removed, and what the daemon advises.
    async fn verdict(&mut self, client: &mut Client, fingerprint: &str) -> Result<(bool, String), DemoError> {
        let list: KeyList = client.get("/api/v1/keys").await?.json()?;
        let removable = list.keys.iter().any(|key| key.fingerprint == fingerprint && key.removable);
        let advice = list.advice.into_iter().find(|advice| advice.kid == "K_HEALTHCARE").map(|advice| advice.text);
        Ok((removable, advice.unwrap_or_default()))
    }

    fn table(&mut self, before: &Sheet, after: &Sheet) -> Result<(), DemoError> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["  row", "column", "before", "after"]);
        for row in SHOWN_ROWS {
            let (Some(before), Some(after)) = (before.rows.get(row), after.rows.get(row)) else { continue };
            let fields = COLUMNS.iter().zip(before.iter().zip(after));
            let shown = fields.filter(|(column, _)| SHOWN_COLUMNS.contains(&column.name));
            for (place, (column, (before, after))) in shown.enumerate() {
                let row = if place == 0 { format!("  {}", row + 1) } else { String::new() };
                table.add_row([row, column.name.to_owned(), displayed(before), displayed(after)]);
            }
        }
        self.line(&format!("\n{}\n", table.trim_fmt()))
    }
}

/// A field on one line of bounded length.
fn displayed(field: &str) -> String {
    let mut text = String::new();
    for (place, character) in field.chars().enumerate() {
        if place == SHOWN_CHARACTERS {
            text.push('…');
            break;
        }
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// `13 requests and 0.41 s, 30,512 values a second`.
fn pace(pass: &PassStats) -> String {
    let rate = usize::try_from(pass.rate()).unwrap_or(usize::MAX);
    format!("{} requests and {}: {} a second", pass.requests, format_duration(pass.took), grouped(rate))
}

fn format_duration(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// A number with its digits in groups of three.
fn grouped(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_shown_on_one_line() {
        assert_eq!(displayed("12 Elm\r\nTown"), "12 Elm\\r\\nTown");
        assert_eq!(displayed(&"ñ".repeat(60)), format!("{}…", "ñ".repeat(52)));
    }

    #[test]
    fn a_value_that_stayed_is_counted() {
        let patients = Sheet { rows: patients::patients(1, 2) };
        assert_eq!(unchanged_fields(&patients, &patients), patients.identifying().count());
    }
}

//! The steps of the demo, and what it prints.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    note,
    patients::{self, COLUMNS, PATIENTS, SEED},
};
use masker_api::{KeyList, Rotation, RotationBegin};
use masker_client::Client;
use masker_core::crypto::SecretKey;

/// The patients that are shown before and after, by their index in the file.
const SHOWN_ROWS: [usize; 3] = [2, 14, 108];
/// The columns that are shown.
const SHOWN_COLUMNS: [&str; 6] = ["name", "dob", "ssn", "phone", "address", "diagnosis"];
/// How often to check whether the rotation is done.
const ROTATION_POLL: Duration = Duration::from_millis(20);
/// Characters of a token's match part.
const MATCH_CHARACTERS: usize = 16;
/// Characters of a field that are shown.
const SHOWN_CHARACTERS: usize = 60;

/// Runs all steps. Dropping it removes the daemon, its vault and its keys.
pub(super) async fn run(out: &mut impl Write) -> Result<(), DemoError> {
    let began = Instant::now();
    let mut story = Story { out, steps: 0 };
    story.line(&format!(
        "masker turns {} patients into tokens and back, through a crash and a change of keys.",
        grouped(PATIENTS)
    ))?;
    story.line("The patients are fictitious. The keys and the vault exist only for this run.")?;

    let demo = DemoDirectory::new()?;
    let (original, restored, tokens) = (demo.path("patients.csv"), demo.path("restored.csv"), demo.path("tokens.csv"));
    let first_key = generate()?;

    story.step("Start a daemon")?;
    let daemon = Daemon::start(&demo, &first_key, None).await?;
    story.started(&daemon)?;
    let mut client = Client::connect(&demo.socket()).await?;
    let first_fingerprint = story.keys(&mut client).await?;

    story.step("Replace personal data with tokens")?;
    Sheet { rows: patients::patients(SEED, PATIENTS) }.write(&original)?;
    let patients = Sheet::read(&original)?;
    let (tokenized, minted) = patients.tokenize(&mut client).await?;
    tokenized.write(&tokens)?;
    let distinct = patients.identifying().collect::<BTreeSet<_>>().len();
    story.line(&format!(
        "{} patients, {} values of {} kinds: {}.",
        grouped(patients.rows.len()),
        grouped(minted.fields),
        COLUMNS.iter().filter(|column| column.kind.is_some()).count(),
        pace(&minted),
    ))?;
    story.line(&format!(
        "{} tokens were minted. {} fields repeat an earlier value and got its token.",
        grouped(minted.count("new")),
        grouped(minted.count("known")),
    ))?;
    check(minted.count("new") == distinct, "each distinct value has one token")?;
    story.table(&patients, &tokenized)?;
    let pair = two_spellings(&patients, &tokenized)
        .ok_or_else(|| DemoError::Check("expected two spellings of one telephone number".to_owned()))?;
    story.line(
        "Each spelling has its own token. Those of one telephone number share a match part, so tables still join:",
    )?;
    for (value, token) in pair {
        story.line(&format!("  {value:<18}{token}"))?;
    }
    let unchanged = unchanged_fields(&patients, &tokenized);
    check(unchanged == 0, "no identifying value is left in the file of tokens")?;
    story.line("A diagnosis identifies nobody, and the policy does not name it: it never left this process.")?;

    story.step("Kill the daemon with kill -9")?;
    let pid = daemon.pid();
    daemon.kill()?;
    story.line(&format!("Process {pid} died between two instructions, with no chance to save anything."))?;

    story.step("Start it again, with a new key")?;
    let second_key = generate()?;
    let daemon = Daemon::start(&demo, &second_key, Some(&first_key)).await?;
    story.line("MASKER_KEY_K_HEALTHCARE is now a new key. The first one is MASKER_KEY_K_HEALTHCARE_OLD.")?;
    story.started(&daemon)?;
    // The first connection ended with its daemon.
    let mut client = Client::connect(&demo.socket()).await?;
    let second_fingerprint = story.keys(&mut client).await?;
    check(first_fingerprint != second_fingerprint, "the active key has changed")?;

    story.step("Turn the tokens back into patients")?;
    let (rehydrated, opened) = Sheet::read(&tokens)?.rehydrate(&mut client).await?;
    rehydrated.write(&restored)?;
    story.line(&format!("{} tokens: {}.", grouped(opened.fields), pace(&opened)))?;
    check(opened.fields == minted.fields && opened.count("old") == opened.fields, "each token opens with the old key")?;
    story
        .line(&format!("The crash lost none of them: all {} opened with the old key.", grouped(opened.count("old"))))?;
    let bytes = |path| fs::read(path).map_err(DemoError::system("read the files of the demo"));
    let (before, after) = (bytes(&original)?, bytes(&restored)?);
    check(before == after, "the restored file equals the original")?;
    story.line(&format!("The restored file equals the original, in all of its {} bytes.", grouped(after.len())))?;
    let restored_as = |token: &str| {
        let mut fields = tokenized.identifying().zip(rehydrated.identifying());
        fields.find_map(|((_, field), (_, value))| (field == token).then(|| value.to_owned()))
    };
    let spelled = pair.map(|(_, token)| restored_as(token).unwrap_or_default());
    check(spelled == pair.map(|(value, _)| value), "each spelling comes back as it was written")?;
    story.line(&format!("Both spellings are as they were written: `{}` and `{}`.", spelled[0], spelled[1]))?;

    story.step("Tokenize the same values again")?;
    let (again, known) = patients.tokenize(&mut client).await?;
    let same = again.identifying().zip(tokenized.identifying()).filter(|(one, other)| one == other).count();
    story.line(&format!("{} values: {}.", grouped(known.fields), pace(&known)))?;
    check(again == tokenized && known.count("new") == 0, "each value keeps its token under the new key")?;
    story.line(&format!("{} values kept the token from step 2. None was minted.", grouped(same)))?;

    story.step("Rotate: move the vault to the new key")?;
    let rotation = rotate(&mut client).await?;
    check(rotation.rows_resealed == minted.count("new") as u64, "each record is moved")?;
    story.line(&format!(
        "{} records were sealed again in {}, then all were read to verify it. The daemon kept serving.",
        grouped(count(rotation.rows_resealed)),
        format_duration(rotation.took),
    ))?;
    let (removable, advice) = story.advice(&mut client, &first_fingerprint).await?;
    check(removable, "the old key can be removed")?;
    story.line(&format!("K_HEALTHCARE: {advice}."))?;

    story.step("Throw the old key away")?;
    daemon.stop()?;
    let daemon = Daemon::start(&demo, &second_key, None).await?;
    drop(first_key);
    story.started(&daemon)?;
    let mut client = Client::connect(&demo.socket()).await?;
    story.keys(&mut client).await?;
    let (rehydrated, opened) = Sheet::read(&tokens)?.rehydrate(&mut client).await?;
    rehydrated.write(&restored)?;
    check(
        bytes(&restored)? == before && opened.count("active") == opened.fields,
        "the file comes back without the old key",
    )?;
    let (again, known) = patients.tokenize(&mut client).await?;
    check(again == tokenized && known.count("new") == 0, "each value keeps its token without the old key")?;
    story.line(&format!(
        "{} tokens opened with the new key alone, and every value still has the token from step 2.",
        grouped(opened.fields)
    ))?;

    story.step("Send a clinical note to a model")?;
    let exchange = note::exchange(&mut client).await?;
    story.line("masker finds the personal data in a text. The model, a script here, gets placeholders:")?;
    for (what, text) in [
        ("note", exchange.note),
        ("model gets", &exchange.masked),
        ("model answers", &exchange.answer),
        ("restored", &exchange.restored),
    ] {
        story.line(&format!("  {what:<15}{text}"))?;
    }
    story.line("No value was in what the model got. It changed the placeholders, and its answer came back whole.")?;

    daemon.stop()?;
    story.line("")?;
    story.line(&format!(
        "PASS: {} tokens survived a kill -9, a key rotation and the loss of their first key. Every byte came back. \
         It took {}.",
        grouped(opened.fields),
        format_duration(began.elapsed()),
    ))
}

/// The result of a rotation.
struct RotationStats {
    rows_resealed: u64,
    took: Duration,
}

/// Moves the vault's records to the active key, and waits until the daemon has verified that.
async fn rotate(client: &mut Client) -> Result<RotationStats, DemoError> {
    let began = Instant::now();
    let begin =
        RotationBegin { new_kid: "K_HEALTHCARE".to_owned(), old_kid: None, dry_run: false, max_rows_per_second: 0 };
    let mut rotation: Rotation = client.post("/api/v1/vault/rotations", &begin).await?.json()?;
    while rotation.state == "running" {
        sleep(ROTATION_POLL).await;
        rotation = client.get(&format!("/api/v1/vault/rotations/{}", rotation.id)).await?.json()?;
    }
    check(rotation.state == "done" && rotation.rows_failed == 0, "the rotation succeeds")?;
    Ok(RotationStats { rows_resealed: rotation.rows_resealed, took: began.elapsed() })
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn generate() -> Result<SecretKey, DemoError> {
    Ok(SecretKey::generate(&mut rand::rng())?)
}

/// Returns the number of identifying fields that are not tokens in the second sheet.
fn unchanged_fields(patients: &Sheet, tokenized: &Sheet) -> usize {
    let pairs = patients.identifying().zip(tokenized.identifying());
    pairs.filter(|((kind, value), (_, token))| value == token || !token.starts_with(&format!("MSKV1.{kind}."))).count()
}

/// Returns two telephone numbers, each with its token, whose tokens differ and share their match part.
fn two_spellings<'s>(patients: &'s Sheet, tokenized: &'s Sheet) -> Option<[(&'s str, &'s str); 2]> {
    let mut seen: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let pairs = patients.identifying().zip(tokenized.identifying()).filter(|((kind, _), _)| *kind == "PHONE");
    for ((_, value), (_, token)) in pairs {
        let id = token.rsplit('.').next()?;
        match seen.insert(id.get(..MATCH_CHARACTERS)?, (value, token)) {
            Some(other) if other.1 != token => return Some([other, (value, token)]),
            _ => {}
        }
    }
    None
}

/// Fails unless a statement of the demo holds.
fn check(holds: bool, statement: &str) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Check(format!("expected that {statement}"))) }
}

/// Prints the numbered steps.
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
            "`masker serve` is process {} and was ready after {}.",
            daemon.pid(),
            format_duration(daemon.took)
        ))
    }

    /// Prints the loaded keys by their fingerprints, and returns the active one's.
    async fn keys(&mut self, client: &mut Client) -> Result<String, DemoError> {
        let reply = client.get("/api/v1/keys").await?;
        let list: KeyList = reply.json()?;
        let mut active = None;
        for key in list.keys.into_iter().filter(|key| key.loaded) {
            self.line(&format!(
                "{} is the {} key of {}. It seals {} vault records.",
                key.fingerprint,
                key.generation,
                key.kid,
                grouped(count(key.vault_records)),
            ))?;
            if key.generation == "active" {
                active = Some(key.fingerprint);
            }
        }
        active.ok_or_else(|| DemoError::Check("expected an active key".to_owned()))
    }

    /// Returns whether a key can be removed, and the daemon's advice.
    async fn advice(&mut self, client: &mut Client, fingerprint: &str) -> Result<(bool, String), DemoError> {
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
            for (position, (column, (before, after))) in shown.enumerate() {
                let row = if position == 0 { format!("  {}", row + 1) } else { String::new() };
                table.add_row([row, column.name.to_owned(), displayed(before), displayed(after)]);
            }
        }
        self.line(&format!("\n{}\n", table.trim_fmt()))
    }
}

/// Returns a field as one line of bounded length.
fn displayed(field: &str) -> String {
    let mut text = String::new();
    for (position, character) in field.chars().enumerate() {
        if position == SHOWN_CHARACTERS {
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

/// Returns, for example, `13 requests in 410 ms, 30,512 per second`.
fn pace(pass: &PassStats) -> String {
    let rate = usize::try_from(pass.rate()).unwrap_or(usize::MAX);
    format!("{} requests in {}, {} per second", pass.requests, format_duration(pass.took), grouped(rate))
}

fn format_duration(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// Returns a number with its digits in groups of three.
fn grouped(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_field_on_one_line() {
        assert_eq!(displayed("12 Elm\r\nTown"), "12 Elm\\r\\nTown");
        assert_eq!(displayed(&"ñ".repeat(70)), format!("{}…", "ñ".repeat(60)));
    }

    #[test]
    fn two_spellings_have_one_match_part() {
        let patient = |phone: &str| {
            let mut patient = patients::patients(1, 1).remove(0);
            patient[4] = phone.to_owned();
            patient
        };
        let sheet = |phones: [&str; 4]| Sheet { rows: phones.into_iter().map(patient).collect() };
        let (one, other) = ("A".repeat(16), "B".repeat(16));
        let tokens = [[&one, &one], [&other, &one], [&one, &one], [&one, &other]];
        let tokens = tokens.map(|[matching, spelling]| format!("MSKV1.PHONE.K.{matching}{spelling}"));
        let (values, tokenized) = (sheet(["1", "2", "1", "+1"]), sheet(tokens.each_ref().map(String::as_str)));
        assert_eq!(two_spellings(&values, &tokenized), Some([("1", &*tokens[2]), ("+1", &*tokens[3])]));
        assert_eq!(two_spellings(&values, &sheet([tokens[0].as_str(); 4])), None, "one token has one spelling");
    }

    #[test]
    fn counts_values_that_were_not_replaced() {
        let patients = Sheet { rows: patients::patients(1, 2) };
        assert_eq!(unchanged_fields(&patients, &patients), patients.identifying().count());
    }
}

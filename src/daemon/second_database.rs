//! Which of two databases in a data directory is the older one, for the message of a start that is refused.

use std::{cmp::Ordering, path::Path};

use jiff::Timestamp;

use super::engines::ENGINES;
use masker_store::embedded::{
    CommitPosition, FoundDatabase, Manifest, StoreOpenError, found_databases, witnessed_position,
};
use masker_types::vault_position::VaultId;

/// Returns the message of an error. If the directory has two databases, it describes both, and says which one is the older.
/// Blocks.
pub(super) fn explain(error: &StoreOpenError, data_dir: &Path) -> String {
    let text = error.to_string();
    match error {
        StoreOpenError::SecondDatabase { .. } => match *found_databases(data_dir, ENGINES) {
            [first, second] => format!("{text}. {}", compare(&first, &second, witnessed_position(data_dir))),
            _ => text,
        },
        _ => text,
    }
}

fn compare(first: &FoundDatabase, second: &FoundDatabase, witness: Option<([u8; 16], CommitPosition)>) -> String {
    let both = format!("{}; {}", describe(first), describe(second));
    let judgement = match (first.manifest, second.manifest) {
        (Some(one), Some(other)) if one.vault_id != other.vault_id => match witness {
            Some((id, _)) if id == one.vault_id => of_witness(first),
            Some((id, _)) if id == other.vault_id => of_witness(second),
            _ => "They belong to different vaults, and the witness to neither of them".to_owned(),
        },
        (Some(one), Some(other)) => match one.position.cmp(&other.position) {
            Ordering::Less => older(first, second, &other, witness),
            Ordering::Greater => older(second, first, &one, witness),
            Ordering::Equal => "Both have the same commits: choose either one".to_owned(),
        },
        _ => match (first.changed, second.changed) {
            (Some(one), Some(other)) if one < other => older_by_time(first, second),
            (Some(one), Some(other)) if one > other => older_by_time(second, first),
            _ => "Which one is the older is not known".to_owned(),
        },
    };
    format!("{both}. {judgement}")
}

fn describe(database: &FoundDatabase) -> String {
    let commit = match database.manifest {
        Some(Manifest { vault_id, position, .. }) => {
            format!("vault {}, commit {}", VaultId(vault_id), number(position))
        }
        None => "its last commit cannot be read".to_owned(),
    };
    let changed = database.changed.and_then(|changed| Timestamp::try_from(changed).ok());
    let changed = changed.map_or_else(|| "at an unknown time".to_owned(), |changed| format!("{changed:.0}"));
    format!("{}: {commit}, changed {changed}", database.engine)
}

fn number(CommitPosition { epoch, sequence }: CommitPosition) -> String {
    format!("{epoch}.{sequence}")
}

fn older(
    older: &FoundDatabase,
    newer: &FoundDatabase,
    last: &Manifest,
    witness: Option<([u8; 16], CommitPosition)>,
) -> String {
    let beyond = witness.filter(|(id, position)| *id == last.vault_id && *position > last.position);
    let text = format!("{} is the older one: set `[vault] engine = \"{}\"`", older.engine, newer.engine);
    match beyond {
        Some((_, position)) => format!(
            "{text}. But the witness has recorded commit {}, which neither of them has: look for a newer copy first",
            number(position)
        ),
        None => text,
    }
}

fn of_witness(database: &FoundDatabase) -> String {
    format!(
        "They belong to different vaults, and the witness to the vault of {0}: set `[vault] engine = \"{0}\"`",
        database.engine
    )
}

fn older_by_time(older: &FoundDatabase, newer: &FoundDatabase) -> String {
    format!(
        "{} was changed first. A copy can have a later time than what was copied: if `[vault] engine = \"{}\"` does not start, try the other one",
        older.engine, newer.engine
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use masker_store::embedded::RowTally;
    use masker_types::engine::EngineKind;
    use std::time::{Duration, SystemTime};

    fn database(engine: EngineKind, last: Option<(u8, u64, u64)>, second: u64) -> FoundDatabase {
        let manifest = last.map(|(id, epoch, sequence)| Manifest {
            vault_id: [id; 16],
            position: CommitPosition { epoch, sequence },
            tally: RowTally::default(),
        });
        FoundDatabase { engine, manifest, changed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second)) }
    }

    fn compared(
        fjall: Option<(u8, u64, u64)>,
        sled: Option<(u8, u64, u64)>,
        witness: Option<(u8, u64, u64)>,
    ) -> String {
        let witness = witness.map(|(id, epoch, sequence)| ([id; 16], CommitPosition { epoch, sequence }));
        compare(&database(EngineKind::Fjall, fjall, 60), &database(EngineKind::Sled, sled, 120), witness)
    }

    #[test]
    fn names_the_older_one_by_its_commits() {
        let text = compared(Some((5, 1, 12)), Some((5, 1, 9)), Some((5, 1, 12)));
        let expected = "fjall: vault 05050505050505050505050505050505, commit 1.12, changed 1970-01-01T00:01:00Z; sled: vault \
                        05050505050505050505050505050505, commit 1.9, changed 1970-01-01T00:02:00Z. sled is the older one: set `[vault] \
                        engine = \"fjall\"`";
        assert_eq!(text, expected);
        // A later epoch is later, also with a lower number.
        assert!(compared(Some((5, 1, 12)), Some((5, 2, 9)), None).contains("fjall is the older one"));
        let text = compared(Some((5, 1, 12)), Some((5, 1, 9)), Some((5, 1, 14)));
        assert!(text.contains("sled is the older one") && text.contains("commit 1.14, which neither"), "{text}");
        assert!(compared(Some((5, 1, 9)), Some((5, 1, 9)), None).contains("Both have the same commits"));
    }

    #[test]
    fn names_the_vault_of_the_witness_and_falls_back_to_times() {
        let text = compared(Some((5, 1, 12)), Some((6, 1, 900)), Some((5, 1, 12)));
        assert!(text.contains("different vaults") && text.ends_with("set `[vault] engine = \"fjall\"`"), "{text}");
        let text = compared(Some((5, 1, 12)), Some((6, 1, 900)), None);
        assert!(text.ends_with("the witness to neither of them"), "{text}");
        let text = compared(None, Some((6, 1, 900)), None);
        assert!(
            text.contains("fjall: its last commit cannot be read") && text.contains("fjall was changed first"),
            "{text}"
        );
    }
}

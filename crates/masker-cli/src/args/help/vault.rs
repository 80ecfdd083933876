//! Texts at the end of the help of `masker vault` and `masker backup`.

pub(in crate::args) const VAULT: &str = "\
Examples:
  masker vault stats
  masker vault check
  masker vault export --output masker.export
  masker vault purge --before 2020-01-01
  masker vault rotate-key --new-kid K_HEALTHCARE
  masker vault forget < tokens.txt";

pub(in crate::args) const VAULT_ROTATE_KEY: &str = "\
Examples:
  masker vault rotate-key --new-kid K_HEALTHCARE --dry-run
  masker vault rotate-key --new-kid K_HEALTHCARE
  masker vault rotate-key --new-kid K_HEALTHCARE --max-rows-per-second 2000 --detach
  masker vault rotate-key --old-kid K_CLINIC --new-kid K_HEALTHCARE

Tokens do not change. The daemon serves during the rotation and continues it after a restart; interrupting this \
command does not stop it. A rotation is done when a final pass over the whole vault has found nothing under the old \
keys. A record that cannot be opened is not changed, and its id is reported; the rotation then ends as failed, and the \
exit code is 2.";

pub(in crate::args) const VAULT_ROTATIONS: &str = "\
Examples:
  masker vault rotations
  masker vault rotations --json | jq '.rotations[0].rows_done'";

pub(in crate::args) const VAULT_CANCEL_ROTATION: &str = "\
Examples:
  masker vault cancel-rotation 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

Records that were moved stay moved. Another rotation moves the rest.";

pub(in crate::args) const VAULT_STATS: &str = "\
Examples:
  masker vault stats
  masker vault stats --json | jq .records";

pub(in crate::args) const VAULT_FORGET: &str = "\
Examples:
  masker vault forget MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ
  masker vault forget --context clinic-7 < tokens.txt
  masker vault forget --kind PHONE < phones.txt
  masker vault forget --kind ADDRESS --null-separated < addresses.bin

This cannot be undone. The output has one line for each input line: `forgotten`, or `not held` for a stateless \
token, which has no record and can only be forgotten with its key. A vault token without a record is `token.not_found`, \
and the exit code is 2. With --kind, which also needs the scope `lookup`, the line is `forgotten` with the number of \
tokens, or `not held` for a value without one. Equal values share a token: this erases a value for everybody who has it, \
in every spelling that `masker lookup` shows. If the same value is \
tokenized again, it gets a new token. A later import skips the record \
unless --restore-erased is given. Its bytes leave the files with the next `masker vault compact`.";

pub(in crate::args) const VAULT_EXPORT: &str = "\
Examples:
  masker vault export --output masker.export
  masker vault export --output /backup/masker.export --force
  masker vault export --output - | ssh backup 'cat > masker.export'

The file contains every record that was acknowledged before the export began. It can be opened with any key that was \
active then; importing also needs the keys of its records, whose fingerprints are printed. The file gets its name \
when it is complete and on disk. It contains no keys: keep copies of them elsewhere. --force replaces an earlier export, and no other file.";

pub(in crate::args) const VAULT_IMPORT: &str = "\
Examples:
  masker vault import masker.export
  masker vault import --restore-erased masker.export
  masker vault import --skip-missing-keys masker.export

Nothing is written before the whole file is verified, which needs the keys of all its records, loaded as active or old \
keys. --skip-missing-keys leaves out records whose key is not loaded: import the file again once it is. The vault's own records do not change. Records that were erased in the vault, or in the exported one, are \
skipped unless --restore-erased is given. An interrupted import can be repeated. The exit code is 2 if the export \
contains records that were damaged before it was made.";

pub(in crate::args) const VAULT_INSPECT: &str = "\
Examples:
  masker vault inspect masker.export
  masker vault inspect masker.export --json | jq -r '.keys[].fingerprint'

The header is not authenticated: only an import, which has the keys, verifies that the file is complete and unchanged.";

pub(in crate::args) const VAULT_COMPACT: &str = "\
Examples:
  masker vault compact
  masker vault forget < tokens.txt && masker vault compact

Until then, the bytes of erased records can remain in the files, encrypted. A compaction needs space for a second copy \
of the vault while it runs. Without it, the files do not change.";

pub(in crate::args) const VAULT_NEW_CONTROL_KEY: &str = "\
Examples:
  masker vault new-control-key

The control key authenticates API keys, honeytokens, key generations, rotations, tombstones, sessions and counts. Run this \
after somebody could write the vault's files with a key that was loaded at the time, or when `masker health` says that \
control rows were changed. API keys that are void are removed, and must be created again. Records, tokens, honeytokens and \
tombstones stay.";

pub(in crate::args) const VAULT_MIGRATE: &str = "\
Examples:
  systemctl stop masker && masker vault migrate --to fjall
  masker vault migrate --to sled --config /etc/masker/masker.toml

The vault is the one of the configuration, or of MASKER_DATA_DIR. Run the command as the user who owns it, or as root. Every row \
is copied into a new database, read back and counted; only then does the new database replace the old one. An \
interrupted migration leaves the vault intact and can be repeated. Afterwards set `[vault] engine`: the daemon does \
not start with the other engine.";

pub(in crate::args) const VAULT_PURGE: &str = "\
Examples:
  masker vault purge --before 2020-01-01
  masker vault purge --before 2020-01-01T12:00:00Z --yes
  masker vault purge --key 00112233aabbccdd

This cannot be undone. The command first counts the records. On a terminal it asks for confirmation; otherwise nothing \
is erased without --yes, and the exit code is 2 if there was something to erase. With --key it erases records whose \
key is lost, so that values which were refused for that reason can be minted again. Later imports skip erased records. \
Their bytes leave the files with the next `masker vault compact`.";

pub(in crate::args) const VAULT_CHECK: &str = "\
Examples:
  masker vault check
  masker vault check --json | jq .damaged_records

The check reads the whole vault while the daemon serves. The exit code is 2 if anything is damaged.";

pub(in crate::args) const VAULT_PLANT_HONEYTOKEN: &str = "\
Examples:
  masker vault plant-honeytoken --kind PHONE --label crm-backup
  masker vault plant-honeytoken --kind SSN --context clinic-7
  echo nobody@example.org | masker vault plant-honeytoken --kind EMAIL --value-stdin

The command prints the token; no other command shows it. Rehydrating it returns a value like any other, writes the \
event `honeytoken.rehydrated` to the audit log, and counts in `masker_honeytoken_rehydrated_total`. Its token is \
one of its own: no search by value finds it, and a value that has other tokens keeps them.";

pub(in crate::args) const VAULT_HONEYTOKENS: &str = "\
Examples:
  masker vault honeytokens
  masker vault honeytokens --json | jq '.honeytokens[] | select(.label == \"crm-backup\").id'

The audit log identifies a honeytoken by its id.";

pub(in crate::args) const VAULT_REMOVE_HONEYTOKEN: &str = "\
Examples:
  masker vault remove-honeytoken 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

The token can still be rehydrated, and its use is no longer reported. `masker vault forget` erases its record.";

pub(in crate::args) const BACKUP: &str = "\
Examples:
  masker backup create /var/backups/masker/before-upgrade
  masker backup verify /var/backups/masker/before-upgrade
  masker backup restore /var/backups/masker/before-upgrade

A backup is a directory with everything but the keys: keep copies of those elsewhere.";

pub(in crate::args) const BACKUP_CREATE: &str = "\
Examples:
  masker backup create /var/backups/masker/before-upgrade
  masker backup create --into /var/backups/masker --keep 14

Run it as root, or as the user of the daemon, who may read the audit log. It needs the scopes vault:admin, api-keys:admin and \
audit:read. The directory gets its name when everything is on the disk. --keep counts and removes only complete backups that this \
command has made under a name with the time, and only once the new one is complete. With the scope keys:read it warns of records \
that need a key that the daemon has not loaded: a restore needs it too.";

pub(in crate::args) const BACKUP_VERIFY: &str = "\
Examples:
  masker backup verify /var/backups/masker/before-upgrade
  CREDENTIALS_DIRECTORY=./keys masker backup verify ./before-upgrade

It compares each file with the manifest and parses the configuration and the policies. With the keys it opens every record, and with \
the key of the audit log it verifies the chain. Keys come from the environment, as for the daemon, or from the installed unit. If \
records need keys that are not provided, it counts them by key.

If something is wrong, it says which file and what to do. An accepted break of the audit log is named, and is not an error.

Exit codes: 0 if everything was verified, 2 if something could not be, for lack of the right key, and 1 if something is wrong.";

pub(in crate::args) const BACKUP_RESTORE: &str = "\
Examples:
  systemctl stop masker.socket masker.service
  mv --no-target-directory /var/lib/masker /var/lib/masker.before-restore
  masker backup restore /var/backups/masker/before-upgrade
  systemctl start masker.socket masker.service

Run it as root, or as the user of the daemon, while the daemon is stopped. The data directory must be empty or absent. Keys come from \
the environment, as for the daemon, or from the installed unit. The configuration and the policies are put in place only if there are \
none.

What the audit log of this host has after the backup happens again: what was erased is erased, API keys that were revoked are revoked, \
and those that were changed or rotated are suspended. Without that log, all API keys are suspended: `masker api-keys resume`.

A backup with records whose key is not provided is refused. --skip-missing-keys leaves these records out; they stay in the backup, and \
`masker vault import` brings them in once their key is loaded.

A backup in which a file is not what was written is refused. If the export is as it was, --export-only restores the vault from it and \
uses no other file of the backup. Lost are then its configuration and policies, so the host needs its own, and its copy of the audit \
log, so all API keys are suspended: `masker api-keys resume`.

A restore that was interrupted can be repeated. Until then, the daemon does not start.";

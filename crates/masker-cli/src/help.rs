//! The ends of help texts: examples, and what cannot be guessed from the options. A paragraph is one line: it is broken
//! where the terminal ends.

pub(super) const MASKER: &str = "\
Examples:
  masker demo                              see it work, without any set-up
  masker keys generate --kid K_HEALTHCARE  make a key for a secret store
  masker serve                             run the daemon
  echo 415-555-2671 | masker tokenize --kind PHONE
  masker rehydrate < tokens.txt

Exit codes:
  0 done, 1 error, 2 the command's own failure (a token that did not rehydrate, say),
  3 a policy or the configuration does not validate, 4 not authorized,
  5 the daemon cannot be reached, 64 usage

A flag given twice: the last one counts.";

pub(super) const SERVE: &str = "\
Examples:
  masker serve
  masker serve --config ./masker.toml --socket ./masker.sock
  MASKER_KEY_K_HEALTHCARE_FILE=./k_healthcare.key masker serve

Keys come from MASKER_KEY_<KID> and MASKER_KEY_<KID>_OLD (with _FILE after either: from that file), or from the files of \
the same names that systemd lays into $CREDENTIALS_DIRECTORY. Every kid that a policy names needs one. \
SIGTERM stops the daemon once requests in flight are answered; SIGHUP lets it read its keys and its policies again, both \
or neither.

The vault remembers which key replaced which. A start with a key that had been replaced is refused, for the likely cause \
is that a key and its _OLD were swapped; where going back is meant, --accept-key-rollback says so.";

pub(super) const DEMO: &str = "\
Examples:
  masker demo

It needs no keys, no configuration and no daemon, and leaves nothing behind.";

pub(super) const TOKENIZE: &str = "\
Examples:
  echo 415-555-2671 | masker tokenize --kind PHONE
  masker tokenize --kind SSN --context clinic-7 < ssns.txt > tokens.txt
  cut -f3 patients.tsv | masker tokenize --kind NAME --json
  masker tokenize --kind PHONE 415-555-2671     (seen by every user who lists processes)
  masker tokenize --csv --column phone=PHONE --column ssn=SSN < in.csv > out.csv
  masker tokenize --jsonl --field patient.phone=PHONE < in.jsonl > out.jsonl

A line out for each line in, in the same order, as soon as lines are there. A line that failed is empty; standard error \
says why, and the exit code is 2. With --json each line is an object, as the daemon's API gives it. Write `--` before \
values that begin with `-`.

Files of records keep their rows and everything that is not swapped. What fails is written empty in CSV, as null in JSON \
lines, and told at the end by its row; the exit code is 2. Empty cells and null stay as they are. Should a run end early, \
it says with which --skip-rows to go on: write what then comes after the rows that are there.";

pub(super) const REHYDRATE: &str = "\
Examples:
  masker rehydrate < tokens.txt > values.txt
  masker rehydrate --context clinic-7 < tokens.txt
  masker rehydrate --csv --column phone --column ssn < tokens.csv > values.csv
  masker rehydrate --jsonl --field patient.phone < tokens.jsonl
  masker rehydrate --json MSKV1.PHONE.K_HEALTHCARE.K5ZRVXE6YQDN3DZV4PJMAIUK5A

A line out for each line in, in the same order. A line that failed is empty; standard error says why, and the exit code \
is 2. With --json each line is an object, which also carries values that have line breaks. Files of records are as for \
`masker tokenize`; which kinds they have is in their tokens.";

pub(super) const LOOKUP: &str = "\
Examples:
  echo 415-555-2671 | masker lookup --kind PHONE
  masker lookup --kind CARD --policy payments --json < cards.txt

A line out for each line in: the tokens of the value with tabs between, the one that tokenizing would give first; none \
where the value has none. Tokens that the vault does not hold come once for each loaded key. Values are better given on \
standard input, for arguments can be seen in the list of processes.";

pub(super) const API_KEYS: &str = "\
Examples:
  masker api-keys create --name nightly --scope tokenize,rehydrate:PHONE
  masker api-keys list
  masker api-keys revoke 0196c1f2a7b30d5e8a4f6c2b9e1d7a53";

pub(super) const API_KEYS_CREATE: &str = "\
Examples:
  masker api-keys create --name nightly --scope tokenize --expires 90d > nightly.key
  masker api-keys create --name clinic --scope tokenize,rehydrate:PHONE --context clinic-7 --context 'clinic-7/*'
  masker api-keys create --name trial --scope tokenize --scope rehydrate --test
  masker api-keys create --name batch --scope tokenize --limits values_per_second=500,distinct_values_per_day=20000

The key is printed once and kept nowhere: whoever loses it is given another. An application shows it in the header \
`Authorization: Bearer`, this command line finds it in MASKER_API_KEY; it never belongs in a URL or among arguments. \
Nobody hands out more than they have.";

pub(super) const API_KEYS_LIST: &str = "\
Examples:
  masker api-keys list
  masker api-keys list --json | jq '.api_keys[] | select(.inactive)'

INACTIVE are those that still work and that nobody has used for 90 days: revoke what is not missed.";

pub(super) const API_KEYS_SHOW: &str = "\
Examples:
  masker api-keys show 0196c1f2a7b30d5e8a4f6c2b9e1d7a53";

pub(super) const API_KEYS_ROTATE: &str = "\
Examples:
  masker api-keys rotate 0196c1f2a7b30d5e8a4f6c2b9e1d7a53 > nightly.key
  masker api-keys rotate --grace 7d 0196c1f2a7b30d5e8a4f6c2b9e1d7a53
  masker api-keys rotate --grace 0 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

The id and what it may do stay. With --grace 0 every secret before it ends at once, as \
is right where one has leaked; with more, none works longer than that.";

pub(super) const API_KEYS_REVOKE: &str = "\
Examples:
  masker api-keys revoke 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

There is no way back. Once this command has ended, no request with the key succeeds, whatever its secret.";

pub(super) const KEYS: &str = "\
Examples:
  masker keys generate --kid K_PAYMENTS
  masker keys status
  masker keys reload";

pub(super) const KEYS_GENERATE: &str = "\
Examples:
  masker keys generate
  masker keys generate --kid K_PAYMENTS >> /root/masker.env
  masker keys generate --kid K_PAYMENTS --json | jq -r .key | systemd-creds encrypt --name=MASKER_KEY_K_PAYMENTS - -

The key is 32 random bytes in base64. It is printed once and kept nowhere: whoever loses it loses what was minted under \
it. To rotate, give the daemon the key it has as MASKER_KEY_<KID>_OLD and the new one as MASKER_KEY_<KID>, and run \
`masker keys reload`, or start it again where they are variables.";

pub(super) const KEYS_FINGERPRINT: &str = "\
Examples:
  masker keys fingerprint --kid K_HEALTHCARE < k_healthcare.key
  masker keys fingerprint --kid K_HEALTHCARE < found-in-the-safe.txt && masker keys status

The fingerprint is public. It is that of the key and the key id together: one key under two ids has two.";

pub(super) const KEYS_STATUS: &str = "\
Examples:
  masker keys status
  masker keys status --json | jq '.keys[] | select(.removable)'

Keys are named by their fingerprints; none is ever shown. A line for each kid says what to do next: at the end of the \
table on a terminal, on standard error where other programs read the rows. Days are those of UTC; --json has the times.";

pub(super) const KEYS_RELOAD: &str = "\
Examples:
  masker keys reload
  masker keys reload --json | jq '.keys[] | select(.generation == \"active\") | .fingerprint'

The daemon reads the files again that MASKER_KEY_<KID>_FILE and MASKER_KEY_<KID>_OLD_FILE named when it was started, and \
those in $CREDENTIALS_DIRECTORY, with files that have come and without those that have gone. Keys that variables held \
themselves stay what they are until the next start. If anything is wrong, all stay as they are, and the exit code is 1. \
Requests in flight finish under the keys that they began with.";

pub(super) const VAULT: &str = "\
Examples:
  masker vault stats
  masker vault check
  masker vault export --output masker.export
  masker vault purge --before 2020-01-01
  masker vault rotate-key --new-kid K_HEALTHCARE
  masker vault forget < tokens.txt";

pub(super) const VAULT_ROTATE_KEY: &str = "\
Examples:
  masker vault rotate-key --new-kid K_HEALTHCARE --dry-run
  masker vault rotate-key --new-kid K_HEALTHCARE
  masker vault rotate-key --new-kid K_HEALTHCARE --max-rows-per-second 2000 --detach
  masker vault rotate-key --old-kid K_CLINIC --new-kid K_HEALTHCARE

Tokens do not change. The daemon serves meanwhile, and goes on by itself after a restart; ending this command does not end \
the rotation. It is done when a last pass over the whole vault has found nothing under the old keys. A record that does \
not open is left alone and named by its id; the rotation then ends as failed, and the exit code is 2.";

pub(super) const VAULT_ROTATIONS: &str = "\
Examples:
  masker vault rotations
  masker vault rotations --json | jq '.rotations[0].rows_done'";

pub(super) const VAULT_CANCEL_ROTATION: &str = "\
Examples:
  masker vault cancel-rotation 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

What it has moved stays moved; another rotation moves the rest.";

pub(super) const VAULT_STATS: &str = "\
Examples:
  masker vault stats
  masker vault stats --json | jq .records";

pub(super) const VAULT_FORGET: &str = "\
Examples:
  masker vault forget MSKV1.PHONE.K_HEALTHCARE.K5ZRVXE6YQDN3DZV4PJMAIUK5A
  masker vault forget --context clinic-7 < tokens.txt

There is no way back. A line out for each line in: `forgotten`, or `not held` for tokens that carry their value \
themselves: those can only be forgotten with their key. Should the same value be given again, it gets the same token again, \
for tokens are made from values. A later import leaves the record out, unless told otherwise. Its bytes leave the files with \
the next `masker vault compact`.";

pub(super) const VAULT_EXPORT: &str = "\
Examples:
  masker vault export --output masker.export
  masker vault export --output /backup/masker.export --force
  masker vault export --output - | ssh backup 'cat > masker.export'

Everything that was answered before the export began is in it. The file opens with any key that was active then, and needs \
the keys of its records besides: their fingerprints are printed. Until it is whole and on the disk its name is \
FILE.partial. Keys are not in it: keep copies of them elsewhere.";

pub(super) const VAULT_IMPORT: &str = "\
Examples:
  masker vault import masker.export
  masker vault import --restore-erased masker.export

Nothing is written before all of the file is verified, which takes the keys of all its records, loaded as active or old ones. \
What is in the vault stays as it is. Records that were erased in the vault, or in the one that was exported, are left out \
unless --restore-erased is given. An import that was interrupted can be made again. The exit code is 2 if the export holds \
records that were damaged before it was made.";

pub(super) const VAULT_INSPECT: &str = "\
Examples:
  masker vault inspect masker.export
  masker vault inspect masker.export --json | jq -r '.keys[].fingerprint'

Nothing vouches for what it says: whether the file is whole and unaltered is known to an import alone, which has the keys.";

pub(super) const VAULT_COMPACT: &str = "\
Examples:
  masker vault compact
  masker vault forget < tokens.txt && masker vault compact

Until then the bytes of what was erased, still encrypted, may stand in the files. It takes room for a second copy of the \
vault while it runs; where there is none, the files stay as they are.";

pub(super) const VAULT_MIGRATE: &str = "\
Examples:
  systemctl stop masker && masker vault migrate --to fjall
  masker vault migrate --to sled --config /etc/masker/masker.toml

The vault is the one of the configuration, or of MASKER_DATA_DIR; run it as the user who owns it. Every row is copied into a \
new database, read back and counted, and only then does the new one take the old one's place. Whatever cuts it off, the vault \
is there, and it can be run again. Afterwards set `[vault] engine`: the daemon does not start with the other one.";

pub(super) const VAULT_PURGE: &str = "\
Examples:
  masker vault purge --before 2020-01-01
  masker vault purge --before 2020-01-01T12:00:00Z --yes
  masker vault purge --key 00112233aabbccdd

There is no way back. The records are counted first. On a terminal you are asked; elsewhere nothing is erased without --yes, \
and the exit code is 2 if there was something to erase. With --key, records are given up whose key is lost: then values are \
minted again that were refused for it. Erased records are left out of later imports. Their bytes leave the files with the \
next `masker vault compact`.";

pub(super) const VAULT_CHECK: &str = "\
Examples:
  masker vault check
  masker vault check --json | jq .damaged_records

It reads the whole vault while the daemon serves. The exit code is 2 if anything is damaged.";

pub(super) const VAULT_PLANT_HONEYTOKEN: &str = "\
Examples:
  masker vault plant-honeytoken --kind PHONE --label crm-backup
  masker vault plant-honeytoken --kind SSN --context clinic-7
  echo nobody@example.org | masker vault plant-honeytoken --kind EMAIL --value-stdin

It prints the token, and no other command does. Whoever has it rehydrated gets a value like any other; the audit log has an \
event of its own then, `honeytoken.rehydrated`, and `masker_honeytoken_rehydrated_total` counts it. A value that has a token \
already is refused: somebody may hold it.";

pub(super) const VAULT_HONEYTOKENS: &str = "\
Examples:
  masker vault honeytokens
  masker vault honeytokens --json | jq '.honeytokens[] | select(.label == \"crm-backup\").id'

The id is what the audit log names a honeytoken by.";

pub(super) const VAULT_REMOVE_HONEYTOKEN: &str = "\
Examples:
  masker vault remove-honeytoken 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

The token goes on to rehydrate, and nothing is told of it any more; `masker vault forget` erases its record.";

pub(super) const SESSIONS: &str = "\
Examples:
  export MASKER_SESSION=$(masker sessions open --label 'night run')
  masker tokenize --kind PHONE < phones.txt > tokens.txt
  masker sessions close \"$MASKER_SESSION\"
  masker sessions list --status open";

pub(super) const SESSIONS_OPEN: &str = "\
Examples:
  export MASKER_SESSION=$(masker sessions open --label 'night run')

With MASKER_SESSION set, `masker tokenize` and `masker rehydrate` work in that session. It is of use to the caller that \
opened it and to no other.";

pub(super) const SESSIONS_LIST: &str = "\
Examples:
  masker sessions list --status open
  masker sessions list --since 2026-01-31T00:00:00Z --json | jq '.sessions[].not_rehydrated'

Callers with the scope `sessions:read` see all sessions, others their own.";

pub(super) const SESSIONS_SHOW: &str = "\
Examples:
  masker sessions show 0196c1f2a7b30d5e8a4f6c2b9e1d7a53
  masker sessions show \"$MASKER_SESSION\" --json | jq .needs";

pub(super) const SESSIONS_CLOSE: &str = "\
Examples:
  masker sessions close \"$MASKER_SESSION\"

What it counted is kept. Who opened it can close it, and whoever has the scope `vault:admin`.";

pub(super) const SESSIONS_TAIL: &str = "\
Examples:
  masker sessions tail
  masker sessions tail --json | jq -c '{id, status, minted, rehydrated}'

It looks once a second.";

pub(super) const AUDIT: &str = "\
Examples:
  masker audit verify
  masker audit show --since 24h --caller billing --op rehydrate
  masker audit tail";

pub(super) const AUDIT_VERIFY: &str = "\
Examples:
  MASKER_AUDIT_HMAC_KEY_FILE=./audit.key masker audit verify /var/lib/masker/audit
  masker audit verify ./copy --head 81274:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  masker audit verify audit-20260301T000000Z-000061.jsonl.zst audit-20260302T000000Z-000062.jsonl

It takes the key of the chain (MASKER_AUDIT_HMAC_KEY, _FILE, or the credential) and the files, and nothing else. The exit \
code is 2 if they do not verify; the first line that fails is named with the reason: changed, missing, reordered, cut.

A log that was cut off at the end of a line is a chain like any other, only shorter. So the log is held against a head that \
was kept elsewhere: --head, as the daemon's log has it at the end of each segment and at each stop; else the one that the \
vault has noted, where this is the configured log and no daemon has the vault open.";

pub(super) const AUDIT_SHOW: &str = "\
Examples:
  masker audit show --since 24h --caller billing --op rehydrate
  masker audit show --since 2026-03-01 --until 2026-03-02 --json | jq -r .request_id

It takes the scope audit:read, and verifies nothing. A line is: time, operation, outcome, caller, request, and how many \
items of which kind and key had which outcome. With --json each line is an event as it stands in the log.";

pub(super) const AUDIT_TAIL: &str = "\
Examples:
  masker audit tail
  masker audit tail --op honeytoken.rehydrated --json

It begins ten minutes ago, or where --since says, and goes on until it is ended. Events that tell of a look at the log \
(audit.read) are left out unless --op asks for them.";

pub(super) const POLICY: &str = "\
Examples:
  masker policy validate ./policies
  masker policy diff healthcare-default ./policies/healthcare-default.toml
  masker policy reload";

pub(super) const POLICY_VALIDATE: &str = "\
Examples:
  masker policy validate ./policies
  masker policy validate --json ./policies/payments.toml

Every error is reported at once as file:line: message, and the exit code is 3.";

pub(super) const POLICY_SHOW: &str = "\
Examples:
  masker policy show
  masker policy show healthcare-default
  masker policy show payments --json";

pub(super) const POLICY_DIFF: &str = "\
Examples:
  masker policy diff healthcare-default ./policies/healthcare-default.toml
  masker policy diff old.toml new.toml --json

What has a `/` in it, or ends in .toml, is a file; anything else is a policy in force. Tokens given out already go on \
to rehydrate after any change, for as long as their keys are loaded.";

pub(super) const POLICY_RELOAD: &str = "\
Examples:
  masker policy validate /etc/masker/policies && masker policy reload

Requests in flight finish under the policies that they began with. If one policy does not validate, all stay as they \
are, and the exit code is 3.";

pub(super) const HEALTH: &str = "\
Examples:
  masker health
  masker health > /dev/null || echo masker is not well

The exit code is 2 if a part of the daemon is not well, and 5 if it does not answer.";

pub(super) const STATUS: &str = "\
Examples:
  masker status
  masker status --interval 5
  masker status --json | jq .requests_per_second

On a terminal it shows what happens, until q, Esc or Ctrl-C. Elsewhere it looks twice and writes one line, or one object with \
--json; the exit code is 2 if a part of the daemon is not well, and 5 if it does not answer.

It takes the scope metrics:read. Keys take keys:read, rotations vault:read and the audit log's hash audit:read; what you may \
not see is left out, with a word. Keys and rotations are asked for once a minute, for each time is in the audit log.";

pub(super) const DOCTOR: &str = "\
Examples:
  sudo masker doctor
  masker doctor --config ./masker.toml
  sudo masker doctor --json | jq '.checks[] | select(.status != \"ok\")'

It looks at keys, credentials, the socket, the vault, the audit log, the clock, the host and the policies, before the daemon \
starts and while it serves, and changes nothing. Keys are those of this environment; where it has none, those that the \
installed unit lays. What this user may not look at is a warning: run it as root, or as the user that runs the daemon.

Each line is ok, a warning or an error, the check, what was found, and what to do; --quiet leaves out what is ok. The exit code \
is 1 if there is an error.";

pub(super) const WHOAMI: &str = "\
Examples:
  masker whoami
  masker whoami --json | jq .scopes
  MASKER_API_KEY=$(cat nightly.key) masker whoami

With MASKER_API_KEY you are who that key is, here as in every command, and nobody else.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  masker completions bash > /usr/share/bash-completion/completions/masker
  masker completions zsh > \"${fpath[1]}/_masker\"
  masker completions fish > ~/.config/fish/completions/masker.fish";

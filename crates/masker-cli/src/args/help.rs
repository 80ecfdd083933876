//! The ends of help texts: examples and explanations. A paragraph is one line, because clap wraps it to the terminal.

mod vault;

pub(super) use vault::*;

pub(super) const MASKER: &str = "\
Examples:
  masker demo                              see it work, without any setup
  masker init                              make a configuration, a policy and keys
  masker serve                             run the daemon
  echo 415-555-2671 | masker tokenize --kind PHONE
  masker rehydrate < tokens.txt

Exit codes:
  0 success, 1 error, 2 failure reported by the command (such as a token that was not found),
  3 invalid policy or configuration, 4 not authorized, 5 daemon not reachable,
  64 invalid command line

If an option is repeated, the last one counts.";

pub(super) const SERVE: &str = "\
Examples:
  masker serve
  masker serve --config ./masker.toml --socket ./masker.sock
  MASKER_KEY_K_HEALTHCARE_FILE=./k_healthcare.key masker serve

Keys come from the variables MASKER_KEY_<KID> and MASKER_KEY_<KID>_OLD, from the files named by \
MASKER_KEY_<KID>_FILE, or from files of these names in $CREDENTIALS_DIRECTORY. Every key id that a policy names needs a key. \
On SIGTERM the daemon responds to the requests in flight and exits. On SIGHUP it reloads keys and policies, both or neither.

The daemon refuses to start if the vault has lost acknowledged records, if it is another vault than the audit log has recorded, or \
if an active key had been replaced, because a key and its _OLD may be swapped. `masker recover` shows what is refused and accepts \
it.";

pub(super) const INIT: &str = "\
Examples:
  masker init
  masker init /etc/masker
  masker init ./masker-test
  masker init ./masker-test --policies ./policies

What is there is kept, so the command can be repeated, and it adds what is missing. It makes a key for each key id of the \
policies, and the key of the audit log. Where there is a vault or an audit log already, it makes none in place of a key that is \
missing: put that one back.

In /etc/masker the files are those that the unit reads. In another directory the keys have the names of a credentials \
directory: start the daemon with CREDENTIALS_DIRECTORY=DIR/keys. The output says what to run next.";

pub(super) const RECOVER: &str = "\
Examples:
  masker recover
  masker recover --accept loss
  masker recover --accept new-control-key --accept key-rollback

Run it as root, or as the user of the daemon, while the daemon is stopped. It examines the vault, the keys and the audit log as a \
start does, and changes nothing. Without --accept it only shows what is refused, and what accepting it means. With --accept it \
writes recover.toml beside the configuration file, with the id of the vault and the exact state. The daemon reads that file at the \
start. An entry has no effect in any other state, so it need not be deleted. Under systemd the file belongs to root, because the \
daemon must not be able to write it.

A break of the audit log and a jump of the clock do not prevent a start. They are shown while the daemon runs, too, and accepted \
by the next start.

The exit code is 2 if something is refused that is not accepted, and 1 if a start fails for another reason.";

pub(super) const DEMO: &str = "\
Examples:
  masker demo

The demonstration needs no keys, no configuration and no daemon, and leaves nothing behind.";

pub(super) const TOKENIZE: &str = "\
Examples:
  echo 415-555-2671 | masker tokenize --kind PHONE
  masker tokenize --kind SSN --context clinic-7 < ssns.txt > tokens.txt
  cut -f3 patients.tsv | masker tokenize --kind NAME --json
  masker tokenize --kind PHONE 415-555-2671     (visible in the list of processes)
  masker tokenize --csv --column phone=PHONE --column ssn=SSN < in.csv > out.csv
  masker tokenize --csv --delimiter ';' --encoding windows-1252 --column Telefon=PHONE < in.csv > out.csv
  masker tokenize --jsonl --field patient.phone=PHONE --field '\"home.fax\"?=FAX' < in.jsonl > out.jsonl

The output has one line for each input line, in the same order, as soon as it is available. If a value fails, its line is \
empty, standard error has the reason, and the exit code is 2. If a signal ends the run, it reports the number of values that \
are done. With --json each line is an object of the HTTP interface. \
Write `--` before values that begin with `-`.

The first row of a table is its header: it is copied, and never swapped. Use --no-header for a table without one. A file of \
records keeps its rows and every byte that is not swapped. Empty cells and null are copied, and so are cells that \
--null names. Cells must be quoted as RFC 4180 says: what another program could split differently is an error. The \
structure of a file is checked before anything is written. From a pipe, output waits until up to 4 MiB follow it, half \
a second passes without input, or the input ends.

The first row or value that fails ends the run, and the exit code is 2. With --on-error it is written empty (in JSON \
lines, null), reported at the end, and the exit code is 2. An error in the quotes of a table always ends the run, because \
where the row ends is unknown. If a run ends early, also by a signal, it reports the --skip-rows to continue with: append \
that output to the rows that are already written.";

pub(super) const REHYDRATE: &str = "\
Examples:
  masker rehydrate < tokens.txt > values.txt
  masker rehydrate --context clinic-7 < tokens.txt
  masker rehydrate --csv --column phone --column ssn < tokens.csv > values.csv
  masker rehydrate --csv --passthrough --column card --column merchant < tokens.csv > values.csv
  masker rehydrate --jsonl --field patient.phone < tokens.jsonl
  masker rehydrate --json MSKV1.PHONE.K_HEALTHCARE.M2TULLO3NWEDDQVQ7B4CCFBLIRLFK3MJ

The output has one line for each input line, in the same order. If a token fails, its line is empty, standard error has \
the reason, and the exit code is 2. A value with line breaks fails, unless --json prints objects or --null-separated ends \
values in NUL bytes. Files of records work as with `masker tokenize`; their kinds are in the tokens.

Cells and strings that never were tokens, such as those that a policy passed through or redacted, are copied. The exit code \
is then 2, unless --passthrough says that they are expected.";

pub(super) const LOOKUP: &str = "\
Examples:
  echo 415-555-2671 | masker lookup --kind PHONE
  masker lookup --kind CARD --policy payments --json < cards.txt
  printf '1 Main St\\nFlat 2\\0' | masker lookup --kind ADDRESS --null-separated

The output has one line for each value: its tokens, separated by tabs, beginning with the one that \
tokenizing would return. Tokens of matching spellings follow. The line is empty if the value has no token. A kind with \
stateless tokens has one for each loaded key. Standard error says which lines have tokens of other spellings only; with --json, \
`exact` is then false. The exit code is 2 if a value fails, or has more tokens than its line: a line has at most 1,000. Prefer standard input: other users can read arguments in the list of processes.";

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

The key is printed once and stored nowhere: if it is lost, create another one. An application sends it in the header \
`Authorization: Bearer`, and this command line reads it from MASKER_API_KEY. Never put it into a URL or an argument. \
A caller can only grant scopes that it has.";

pub(super) const API_KEYS_LIST: &str = "\
Examples:
  masker api-keys list
  masker api-keys list --json | jq '.api_keys[] | select(.inactive)'

INACTIVE marks active keys that were not used for 90 days. Revoke those that are no longer needed.";

pub(super) const API_KEYS_SHOW: &str = "\
Examples:
  masker api-keys show 0196c1f2a7b30d5e8a4f6c2b9e1d7a53";

pub(super) const API_KEYS_ROTATE: &str = "\
Examples:
  masker api-keys rotate 0196c1f2a7b30d5e8a4f6c2b9e1d7a53 > nightly.key
  masker api-keys rotate --grace 7d 0196c1f2a7b30d5e8a4f6c2b9e1d7a53
  masker api-keys rotate --grace 0 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

The id and the scopes do not change. With --grace 0 every previous secret expires immediately: use it if one has leaked. \
With a longer grace period, secrets that were replaced before keep the time that they have.";

pub(super) const API_KEYS_SUSPEND: &str = "\
Examples:
  masker api-keys suspend 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

When the command returns, no request with any secret of the key succeeds, until `masker api-keys resume`.";

pub(super) const API_KEYS_RESUME: &str = "\
Examples:
  masker api-keys resume 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

`masker backup restore` suspends keys that may have been revoked or changed since the backup.";

pub(super) const API_KEYS_REVOKE: &str = "\
Examples:
  masker api-keys revoke 0196c1f2a7b30d5e8a4f6c2b9e1d7a53

This cannot be undone. When the command returns, no request with any secret of the key succeeds.";

pub(super) const KEYS: &str = "\
Examples:
  masker keys generate --kid K_PAYMENTS --output /etc/masker/keys/K_PAYMENTS
  masker keys status
  masker keys rotate --dir /etc/masker/keys --kid K_HEALTHCARE";

pub(super) const KEYS_GENERATE: &str = "\
Examples:
  masker keys generate
  masker keys generate --output /etc/masker/keys/K_PAYMENTS
  masker keys generate --kid AUDIT --output /etc/masker/audit.key
  masker keys generate --kid K_PAYMENTS --json | jq -r .key | systemd-creds encrypt --name=MASKER_KEY_K_PAYMENTS - -

The key is 32 random bytes in base64. Without --output it is printed once and stored nowhere. With --output it is written to a \
new file that only its owner can read, and its fingerprint is printed. Store a copy: without the key, the tokens minted under it \
cannot be rehydrated.";

pub(super) const KEYS_ROTATE: &str = "\
Examples:
  masker keys rotate --dir /etc/masker/keys --kid K_HEALTHCARE
  masker keys rotate --dir ~/.config/masker/keys --kid K_HEALTHCARE

The file KID becomes KID_OLD, and a new key gets the name KID; in a credentials directory the names are MASKER_KEY_KID and \
MASKER_KEY_KID_OLD. Nothing is changed if there is an old key already, or if a running daemon says that the vault needs an \
earlier one. If the command is interrupted, repeat it. The output says what to do next; the page \"Rotating a key\" of the book \
has the whole procedure.";

pub(super) const KEYS_REMOVE_OLD: &str = "\
Examples:
  masker keys remove-old --dir /etc/masker/keys --kid K_HEALTHCARE
  masker keys remove-old --dir /etc/masker/keys --kid K_HEALTHCARE --yes

The daemon must run: it says whether its vault still needs the key. Stateless tokens (MSK1) are in your applications, and the \
daemon cannot count those that nobody presents. Keep the copy of the key as long as there are backups that need it.";

pub(super) const KEYS_FINGERPRINT: &str = "\
Examples:
  masker keys fingerprint --kid K_HEALTHCARE < k_healthcare.key
  masker keys fingerprint --kid K_HEALTHCARE < found-in-the-safe.txt && masker keys status

The fingerprint is public. It depends on the key and the key id: one key with two key ids has two fingerprints.";

pub(super) const KEYS_STATUS: &str = "\
Examples:
  masker keys status
  masker keys status --json | jq '.keys[] | select(.removable)'

Keys are identified by their fingerprints; a key itself is never shown. A line for each key id says what to do next: below \
the table on a terminal, otherwise on standard error. Days are in UTC; --json has the times.";

pub(super) const KEYS_RELOAD: &str = "\
Examples:
  masker keys reload
  masker keys reload --json | jq '.keys[] | select(.generation == \"active\") | .fingerprint'

The daemon reads the files again that MASKER_KEY_<KID>_FILE and MASKER_KEY_<KID>_OLD_FILE named when it started, and \
the files in $CREDENTIALS_DIRECTORY, including new ones and without removed ones. Keys in variables do not change \
until the next start. If anything is wrong, no key changes, and the exit code is 1. Requests in flight finish with the \
keys that they began with.";

pub(super) const SESSIONS: &str = "\
Examples:
  export MASKER_APP_SESSION=$(masker sessions open --label 'night run')
  masker tokenize --kind PHONE < phones.txt > tokens.txt
  masker sessions close \"$MASKER_APP_SESSION\"
  masker sessions list --status open";

pub(super) const SESSIONS_OPEN: &str = "\
Examples:
  export MASKER_APP_SESSION=$(masker sessions open --label 'night run')

With MASKER_APP_SESSION set, `masker tokenize`, `rehydrate` and `text` work in that session. Only the caller that opened a \
session can use it.";

pub(super) const SESSIONS_LIST: &str = "\
Examples:
  masker sessions list --status open
  masker sessions list --since 2026-01-31T00:00:00Z --json | jq '.sessions[].not_rehydrated'

Callers with the scope `sessions:read` see all sessions, others their own.";

pub(super) const SESSIONS_SHOW: &str = "\
Examples:
  masker sessions show 0196c1f2a7b30d5e8a4f6c2b9e1d7a53
  masker sessions show \"$MASKER_APP_SESSION\" --json | jq .needs";

pub(super) const SESSIONS_CLOSE: &str = "\
Examples:
  masker sessions close \"$MASKER_APP_SESSION\"

The counts of the session are kept. The caller that opened a session can close it, and so can callers with the scope \
`vault:admin`.";

pub(super) const SESSIONS_TAIL: &str = "\
Examples:
  masker sessions tail
  masker sessions tail --json | jq -c '{id, status, minted, rehydrated}'

The command asks the daemon once per second.";

pub(super) const AUDIT: &str = "\
Examples:
  masker audit verify
  masker audit show --since 24h --caller billing --op rehydrate
  masker audit tail";

pub(super) const AUDIT_VERIFY: &str = "\
Examples:
  MASKER_AUDIT_HMAC_KEY_FILE=./audit.key masker audit verify /var/log/masker
  masker audit verify ./copy --head 81274:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  masker audit verify audit-20260301T000000Z-000061.jsonl.zst audit-20260302T000000Z-000062.jsonl

The command needs the key of the chain (MASKER_AUDIT_HMAC_KEY, MASKER_AUDIT_HMAC_KEY_FILE, or the credential; as root also that of the installed unit) and \
the files. If they do not verify, it reports the first wrong line and the reason (changed, missing, reordered, cut), \
and the exit code is 2.

A log that was cut off at the end of a line is a valid, shorter chain. So the log is also compared with a head: the one \
of --head, which the daemon's log shows at the end of each segment and at each stop; or, if this is the configured log, \
the one that the running daemon has, or that its vault has recorded. Without a head, the exit code is 2.

Root and the daemon's user can run it. To read the vault, root becomes its owner.";

pub(super) const AUDIT_SHOW: &str = "\
Examples:
  masker audit show --since 24h --caller billing --op rehydrate
  masker audit show --since 2026-03-01 --until 2026-03-02 --json | jq -r .request_id

The command needs the scope audit:read. It does not verify the log. A line contains the time, the operation, the \
outcome, the caller, the request id, and the number of items for each kind, key and outcome. With --json each line is \
an event of the log.";

pub(super) const AUDIT_TAIL: &str = "\
Examples:
  masker audit tail
  masker audit tail --op honeytoken.rehydrated --json

The output begins ten minutes ago, or at --since, and continues until the command is interrupted. Events of reading \
the log (audit.read) are left out unless --op selects them.";

pub(super) const POLICY: &str = "\
Examples:
  masker policy validate ./policies
  masker policy diff healthcare-default ./policies/healthcare-default.toml
  masker policy reload";

pub(super) const POLICY_VALIDATE: &str = "\
Examples:
  masker policy validate ./policies
  masker policy validate --json ./policies/payments.toml

All errors are reported as file:line: message, and the exit code is 3.";

pub(super) const POLICY_SHOW: &str = "\
Examples:
  masker policy show
  masker policy show healthcare-default
  masker policy show payments --json";

pub(super) const POLICY_DIFF: &str = "\
Examples:
  masker policy diff healthcare-default ./policies/healthcare-default.toml
  masker policy diff old.toml new.toml --json

An argument that contains `/` or ends in .toml is a file. Any other is the name of a policy in force. Existing tokens \
can be rehydrated after any change, as long as their keys are loaded.";

pub(super) const POLICY_RELOAD: &str = "\
Examples:
  masker policy validate /etc/masker/policies && masker policy reload

Requests in flight finish with the policies that they began with. If one policy is invalid, no policy changes, and the \
exit code is 3.";

pub(super) const REPORT: &str = "\
Examples:
  masker report --since 7d --output weekly.pdf
  masker report --since 2026-01-01 --until 2026-02-01 --format csv > january.csv
  masker report --since 365d --full --output year.html

The report is made from the audit log, which the daemon verifies for it. The exit code is 2 if the log does not verify: the report is written all \
the same, and says where.";

pub(super) const HEALTH: &str = "\
Examples:
  masker health
  masker health > /dev/null || echo masker is degraded

The exit code is 2 if a part of the daemon is degraded, and 5 if the daemon does not respond.";

pub(super) const STATUS: &str = "\
Examples:
  masker status
  masker status --interval 5
  masker status --json | jq .requests_per_second

On a terminal the view is updated until you press q, Esc or Ctrl-C. Without a terminal the command takes two samples \
and prints one line, or one object with --json; the exit code is 2 if a part of the daemon is degraded, and 5 if the \
daemon does not respond.

The rates and durations do not count the requests of this command; the list of callers does. The command needs the scope \
metrics:read. Keys need keys:read, rotations vault:read, and the hash of the audit log \
audit:read; parts without their scope are left out. Keys and rotations are requested once per minute, because each \
request is recorded in the audit log.";

pub(super) const DOCTOR: &str = "\
Examples:
  sudo masker doctor
  masker doctor --config ./masker.toml
  sudo masker doctor --json | jq '.checks[] | select(.status != \"ok\")'

Doctor examines keys, credentials, the socket, the vault, the audit log, the clock, the host and the policies, before \
the daemon starts and while it serves. It changes nothing. It uses the keys of its own environment, or else those that \
the installed unit provides. What this user cannot read is reported as a warning: run it as root, or as the daemon's \
user.

Each line has a status (ok, warning or error), the check, what was found, and what to do. --quiet leaves out what is \
ok. The exit code is 1 if there is an error.";

pub(super) const WHOAMI: &str = "\
Examples:
  masker whoami
  masker whoami --json | jq .scopes
  MASKER_API_KEY=$(cat nightly.key) masker whoami

With MASKER_API_KEY set, every command, including this one, acts as the owner of that key only.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  masker completions bash > /usr/share/bash-completion/completions/masker
  masker completions zsh > \"${fpath[1]}/_masker\"
  masker completions fish > ~/.config/fish/completions/masker.fish";

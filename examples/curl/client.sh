#!/usr/bin/env bash
# Tokenizes two values, rehydrates their tokens, and handles an error. Needs curl and jq.
#
#     MASKER_SOCKET=/run/masker/masker.sock bash client.sh
set -euo pipefail
: "${MASKER_SOCKET:?is not set}"
[[ -S $MASKER_SOCKET ]] || { echo "client.sh: there is no socket $MASKER_SOCKET" >&2; exit 1; }

# Sends standard input to an operation and prints the answer. The body is not an argument, because every user of the host can
# see the arguments of a process.
post() {
  curl --silent --show-error --max-time 30 --fail-with-body --unix-socket "$MASKER_SOCKET" \
    --header 'Content-Type: application/json' --data-binary @- "http://masker/api/v1/$1"
}

answer=$(post tokenize << 'END'
{"items": [{"kind": "PHONE", "value": "415-555-0132"}, {"kind": "EMAIL", "value": "ann@example.org"}]}
END
)
# `error` ends jq, and so this script, with a status other than 0.
tokens=$(jq --compact-output '[.results[] | .token // error(.error.code)]' <<< "$answer")
jq --raw-output '.[] | "tokenized \(split(".")[1]): \(.)"' <<< "$tokens"

# The values come back byte for byte.
answer=$(jq '{tokens: .}' <<< "$tokens" | post rehydrate)
jq --raw-output '.results[] | if .error then error(.error.code) else "rehydrated \(.kind): \(.value)" end' <<< "$answer"

# An item can fail on its own; the others have their results.
answer=$(post tokenize << 'END'
{"items": [{"kind": "PHONE", "value": "415-555-0132"}, {"kind": "SHOE_SIZE", "value": "42"}]}
END
)
jq --raw-output --argjson tokens "$tokens" \
  '.results[0] | "the same value has the same token: \(.token == $tokens[0])"' <<< "$answer"
code=$(jq --raw-output '.results[1].error.code' <<< "$answer")
[[ $code == kind.unknown ]] || { echo "client.sh: expected kind.unknown, got $code" >&2; exit 1; }
echo "the other item failed: $code"

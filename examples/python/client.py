#!/usr/bin/env python3
"""Tokenizes two values, rehydrates their tokens, and handles an error. Needs the standard library only.

    MASKER_SOCKET=/run/masker/masker.sock python3 client.py
"""

import http.client
import json
import os
import socket
import sys


class MaskerError(Exception):
    """A request or an item that failed, with the stable code of its failure."""

    def __init__(self, error):
        request = f" (request {error['request_id']})" if "request_id" in error else ""
        super().__init__(f"{error['code']}: {error['detail']}{request}")
        self.code = error["code"]


def checked(result):
    """Returns the result of an item that must not fail."""
    if "error" in result:
        raise MaskerError(result["error"])
    return result


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("masker", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With a timeout, the socket would not block: a full queue of new connections would be an error.
            self.sock.connect(self.path)
        except OSError as failure:
            # Python's error does not name the path.
            raise OSError(failure.errno, failure.strerror, self.path) from None
        self.sock.settimeout(self.timeout)


class Masker:
    """A client with one connection, for one thread."""

    # Repeating these has no effect that one request would not have had.
    REPEATABLE = {"tokenize", "rehydrate", "lookup", "rewrap"}

    def __init__(self, path, timeout=30.0):
        self.connection = UnixConnection(path, timeout)

    def tokenize(self, items):
        return self._post("tokenize", {"items": items})

    def rehydrate(self, tokens):
        return self._post("rehydrate", {"tokens": tokens})

    def _post(self, operation, body):
        try:
            status, answer = self._send(operation, body)
        except (ConnectionError, http.client.RemoteDisconnected):
            # The daemon closes idle connections, and all of them when it restarts.
            self.connection.close()
            if operation not in self.REPEATABLE:
                raise
            status, answer = self._send(operation, body)
        if status != 200:
            raise MaskerError(answer)
        return answer["results"]

    def _send(self, operation, body):
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", f"/api/v1/{operation}", json.dumps(body), headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def main():
    path = os.environ.get("MASKER_SOCKET")
    if not path:
        sys.exit("client.py: MASKER_SOCKET is not set")
    masker = Masker(path)

    values = [("PHONE", "415-555-0132"), ("EMAIL", "ann@example.org")]
    results = masker.tokenize([{"kind": kind, "value": value} for kind, value in values])
    tokens = [checked(result)["token"] for result in results]
    for (kind, _), token in zip(values, tokens):
        print(f"tokenized {kind}: {token}")

    # The values come back byte for byte.
    results = masker.rehydrate(tokens)
    for (kind, _), result in zip(values, results):
        print(f"rehydrated {kind}: {checked(result)['value']}")

    # An item can fail on its own; the others have their results.
    good, bad = masker.tokenize([
        {"kind": "PHONE", "value": "415-555-0132"},
        {"kind": "SHOE_SIZE", "value": "42"},
    ])
    print(f"the same value has the same token: {checked(good)['token'] == tokens[0]}")
    try:
        checked(bad)
    except MaskerError as failure:
        if failure.code != "kind.unknown":
            raise
        print(f"the other item failed: {failure.code}")


if __name__ == "__main__":
    try:
        main()
    except (MaskerError, OSError, ValueError) as failure:
        sys.exit(f"client.py: {type(failure).__name__}: {failure}")

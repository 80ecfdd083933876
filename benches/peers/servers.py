"""The measured servers: masker, OpenBao, the floor, and the store alone."""

import base64
import json
import os
import subprocess

from load import Slice
from masker import STATELESS, MaskerServer
from process import Failed, Server

KIND = "PHONE"
# OpenBao requires a context for its derived keys; masker's requests have none.
CONTEXT = base64.b64encode(b"bench").decode()


class Masker(MaskerServer):
    """The daemon, with its requests."""

    def __init__(self, bench, *arguments):
        super().__init__(bench, *arguments)
        self.xtask = bench.xtask

    def tokenize_request(self, values, policy=STATELESS):
        items = [{"kind": KIND, "value": value} for value in values]
        return "/api/v1/tokenize", {"policy": policy, "items": items}

    def rehydrate_request(self, values, policy=STATELESS):
        """Returns a request with the tokens of these values, after checking that it gives the values back."""
        path, body = self.tokenize_request(values, policy)
        tokens = [result["token"] for result in self.ask("POST", path, body)[1]["results"]]
        path, body = "/api/v1/rehydrate", {"tokens": tokens}
        back = [result["value"] for result in self.ask("POST", path, body)[1]["results"]]
        if back != list(values):
            raise Failed("masker did not return the original values")
        return path, body


class OpenBao(Server):
    """OpenBao with in-memory storage and a derived, convergent key: equal values have equal ciphertexts, as with masker.

    It has no audit device, and its JSON limits are raised. Both are to its advantage.
    """

    name = "OpenBao"
    ready_path = "/v1/sys/seal-status"

    def __init__(self, bench):
        self.binary = bench.openbao
        self.socket = bench.sockets / "openbao.sock"
        self.root = bench.data / "openbao"
        self.root.mkdir()
        (self.root / "openbao.hcl").write_text(
            'storage "inmem" {}\n'
            f'listener "unix" {{\n  address = "{self.socket}"\n'
            "  max_request_json_strings = 1000000\n  max_request_json_memory = 268435456\n}\n"
            "disable_mlock = true\ndisable_clustering = true\n"
            'api_addr = "http://127.0.0.1:1"\ncluster_addr = "https://127.0.0.1:2"\nlog_level = "error"\n'
        )

    def start(self):
        environment = {"HOME": str(self.root), "PATH": os.environ["PATH"]}
        self.spawn([self.binary, "server", "-config", self.root / "openbao.hcl"], self.root / "log", environment)
        secrets = self.ask("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})[1]
        self.ask("PUT", "/v1/sys/unseal", {"key": secrets["keys_base64"][0]})
        # The token appears in h2load's arguments, which is acceptable for a temporary server.
        self.headers = {"X-Vault-Token": secrets["root_token"]}
        self.ask("POST", "/v1/sys/mounts/transit", {"type": "transit"})
        key = {"type": "aes256-gcm96", "derived": True, "convergent_encryption": True}
        self.ask("POST", "/v1/transit/keys/bench", key)

    def tokenize_request(self, values):
        return "/v1/transit/encrypt/bench", self._body("plaintext", [base64.b64encode(v.encode()).decode() for v in values])

    def rehydrate_request(self, values):
        """Returns a request with the ciphertexts of these values, after checking that it gives the values back."""
        sealed = self._results("ciphertext", *self.tokenize_request(values))
        request = "/v1/transit/decrypt/bench", self._body("ciphertext", sealed)
        back = [base64.b64decode(text).decode() for text in self._results("plaintext", *request)]
        if back != list(values):
            raise Failed("OpenBao did not return the original values")
        return request

    @staticmethod
    def _body(what, texts):
        items = [{what: text, "context": CONTEXT} for text in texts]
        return items[0] if len(items) == 1 else {"batch_input": items}

    def _results(self, what, path, body):
        data = self.ask("POST", path, body)[1]["data"]
        return [item[what] for item in data.get("batch_results", [data])]


class Floor(Server):
    """The floor: a minimal server that sends recorded responses of masker's from memory."""

    name = "floor"

    def __init__(self, bench, answers):
        """Writes the responses, given by name as header fields and a body, to files for the server."""
        self.binary = bench.baseline
        self.socket = bench.sockets / "floor.sock"
        self.directory = bench.data / "floor"
        self.directory.mkdir()
        for name, (fields, body) in answers.items():
            kept = [f"{field}: {value}\n" for field, value in fields if field.lower() not in ("date", "content-length")]
            (self.directory / f"{name}.head").write_text("".join(kept))
            (self.directory / f"{name}.body").write_text(json.dumps(body, separators=(",", ":")))

    def start(self):
        self.spawn([self.binary, "floor", self.socket, self.directory], self.directory / "log")

    def ready(self):
        try:
            return super().ready()
        except Failed:
            # An error status shows that the server is ready: it has a response for recorded paths only.
            return True


class StoreAlone(Server):
    """A store without a daemon, filled with rows of a record's size, that writes more rows on request."""

    def __init__(self, bench, engine, rows):
        self.name = f"{engine} alone"
        self.command = [bench.baseline, "store", engine, bench.data / f"store-{engine}", rows]

    def start(self):
        self.process = subprocess.Popen(
            [str(word) for word in self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.filled = self._figures()

    def measure(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return Slice(values_per_second=self._figures()["rows_per_second"], resident_bytes=self.resident_bytes())

    def _figures(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.name} exited unexpectedly")
        return json.loads(line)

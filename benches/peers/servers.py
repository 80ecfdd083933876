"""The servers that are measured: masker, OpenBao, and the floor."""

import base64
import json
import os
import subprocess

from load import Slice
from process import Failed, Server

KIDS = ("K_STATELESS", "K_HEALTHCARE", "K_PAYMENTS")
KIND = "PHONE"
STATELESS, VAULT = "stateless", "healthcare-default"
# What OpenBao derives a value's key from; masker's requests have no context, which OpenBao does not allow.
CONTEXT = base64.b64encode(b"bench").decode()


class Masker(Server):
    """The daemon with its defaults, clients, limits and the audit log. Its vault stays when it is stopped."""

    # Its socket is there before it serves; an answer is not.
    ready_path = "/api/v1/vault/stats"

    def __init__(self, bench, engine="sled", name="masker"):
        self.name = name
        self.engine = engine
        self.binary = bench.masker
        self.xtask = bench.xtask
        self.socket = bench.sockets / f"{self.name}.sock"
        self.root = bench.data / self.name
        self.root.mkdir()
        names = [f"MASKER_KEY_{kid}" for kid in KIDS] + ["MASKER_AUDIT_HMAC_KEY"]
        self.keys = {name: base64.b64encode(os.urandom(32)).decode() for name in names}
        # The limits are more than is asked, so that they are kept count of and never met.
        vault = "" if engine == "sled" else f'[vault]\nengine = "{engine}"\n'
        (self.root / "masker.toml").write_text(
            f'[policy]\ndefault = "{STATELESS}"\n{vault}'
            '[[clients]]\nname = "other"\nuid = 65533\nscopes = ["*"]\n'
            f'[[clients]]\nname = "bench"\nuid = {os.geteuid()}\n'
            'scopes = ["tokenize", "rehydrate", "vault:read", "metrics:read"]\n'
            "[clients.limits]\nrequests_per_second = 1000000\nvalues_per_hour = 1000000000000\n"
            '[audit]\nsync = "100ms"\n'
        )
        self.policies = bench.source / "policies"

    def start(self):
        paths = {
            "MASKER_SOCKET": self.socket,
            "MASKER_DATA_DIR": self.root / "vault",
            "MASKER_POLICY_PATH": self.policies,
            "MASKER_LOG_LEVEL": "warn",
        }
        environment = self.keys | {name: str(path) for name, path in paths.items()}
        self.spawn([self.binary, "serve", "--config", self.root / "masker.toml"], self.root / "log", environment)

    def tokenize_request(self, values, policy=STATELESS):
        items = [{"kind": KIND, "value": value} for value in values]
        return "/api/v1/tokenize", {"policy": policy, "items": items}

    def rehydrate_request(self, values, policy=STATELESS):
        """The tokens of these values, which come back as they were: that is tried here."""
        path, body = self.tokenize_request(values, policy)
        tokens = [result["token"] for result in self.ask("POST", path, body)[1]["results"]]
        path, body = "/api/v1/rehydrate", {"tokens": tokens}
        back = [result["value"] for result in self.ask("POST", path, body)[1]["results"]]
        if back != list(values):
            raise Failed("masker did not give back what it was given")
        return path, body


class OpenBao(Server):
    """OpenBao on storage in memory, with a derived, convergent key: equal values have equal ciphertexts, as with masker.

    It has no audit device, and its limits on JSON are lifted: both are to its advantage.
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
        # A throwaway server's: the generator takes header fields from its arguments alone.
        self.headers = {"X-Vault-Token": secrets["root_token"]}
        self.ask("POST", "/v1/sys/mounts/transit", {"type": "transit"})
        key = {"type": "aes256-gcm96", "derived": True, "convergent_encryption": True}
        self.ask("POST", "/v1/transit/keys/bench", key)

    def tokenize_request(self, values):
        return "/v1/transit/encrypt/bench", self._body("plaintext", [base64.b64encode(v.encode()).decode() for v in values])

    def rehydrate_request(self, values):
        """The ciphertexts of these values, which come back as they were: that is tried here."""
        sealed = self._results("ciphertext", *self.tokenize_request(values))
        request = "/v1/transit/decrypt/bench", self._body("ciphertext", sealed)
        back = [base64.b64decode(text).decode() for text in self._results("plaintext", *request)]
        if back != list(values):
            raise Failed("OpenBao did not give back what it was given")
        return request

    @staticmethod
    def _body(what, texts):
        items = [{what: text, "context": CONTEXT} for text in texts]
        return items[0] if len(items) == 1 else {"batch_input": items}

    def _results(self, what, path, body):
        data = self.ask("POST", path, body)[1]["data"]
        return [item[what] for item in data.get("batch_results", [data])]


class Floor(Server):
    """The floor: answers that were masker's, from memory."""

    name = "floor"

    def __init__(self, bench, answers):
        """Answers by name: header fields and a body."""
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
            # It answers nothing but what it was given.
            return True


class StoreAlone(Server):
    """A store without a daemon, with rows of a record's size in it, which writes more when it is told to."""

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
            raise Failed(f"{self.name} ended")
        return json.loads(line)

"""The daemon as a measured server."""

import base64
import os

from process import Server

KIDS = ("K_STATELESS", "K_HEALTHCARE", "K_PAYMENTS")
STATELESS, VAULT = "stateless", "healthcare-default"
SCOPES = ("tokenize", "rehydrate", "vault:read", "metrics:read")


class MaskerServer(Server):
    """The daemon with default settings, clients, limits and the audit log. Its vault persists after a stop."""

    # The socket accepts connections before the daemon is ready to serve requests.
    ready_path = "/api/v1/vault/stats"

    def __init__(self, workplace, engine="sled", name="masker", scopes=SCOPES):
        self.name = name
        self.engine = engine
        self.binary = workplace.masker
        self.socket = workplace.sockets / f"{self.name}.sock"
        self.root = workplace.data / self.name
        self.root.mkdir()
        names = [f"MASKER_KEY_{kid}" for kid in KIDS] + ["MASKER_AUDIT_HMAC_KEY"]
        self.keys = {name: base64.b64encode(os.urandom(32)).decode() for name in names}
        allowed = ", ".join(f'"{scope}"' for scope in scopes)
        # The limits are enforced, but too high to be reached.
        (self.root / "masker.toml").write_text(
            f'[policy]\ndefault = "{STATELESS}"\n[vault]\nengine = "{engine}"\n'
            '[[clients]]\nname = "other"\nuid = 65533\nscopes = ["*"]\n'
            f'[[clients]]\nname = "bench"\nuid = {os.geteuid()}\n'
            f"scopes = [{allowed}]\n"
            "[clients.limits]\nrequests_per_second = 1000000\nvalues_per_hour = 1000000000000\n"
            '[audit]\nsync = "100ms"\n'
        )
        self.policies = workplace.source / "policies"

    def start(self):
        paths = {
            "MASKER_SOCKET": self.socket,
            "MASKER_DATA_DIR": self.root / "vault",
            "MASKER_POLICY_PATH": self.policies,
            "MASKER_LOG_LEVEL": "warn",
        }
        environment = self.keys | {name: str(path) for name, path in paths.items()}
        self.spawn([self.binary, "serve", "--config", self.root / "masker.toml"], self.root / "log", environment)

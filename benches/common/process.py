"""Server processes: starts them, sends requests over their Unix sockets, reads /proc, and stops them by process id."""

import http.client
import json
import os
import socket
import subprocess
import time

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60


class Failed(Exception):
    """An error that ends the run and is reported without a traceback."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Server:
    """A server that listens on `self.socket`. Subclasses set `name` and `socket`, and implement `start`, which calls `spawn`."""

    headers = {}
    ready_path = "/"
    process = None

    def spawn(self, command, log, environment=None):
        self.log = log
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment or {}
            )
        began = time.monotonic()
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - began > START_SECONDS_MAX:
                self.stop()
                raise Failed(f"failed to start {self.name}; its log is {log}:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        self.started_in = time.monotonic() - began

    def ready(self):
        """Returns whether the server responds to a request."""
        try:
            self.ask("GET", self.ready_path)
        except OSError:
            return False
        return True

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def ask(self, method, path, body=None):
        """Sends one request on a new connection. Returns the header fields and the body, parsed if it is JSON."""
        connection = UnixConnection(self.socket)
        try:
            text = None if body is None else json.dumps(body, separators=(",", ":")).encode()
            connection.request(method, path, text, self.headers)
            answer = connection.getresponse()
            got = answer.read()
            if answer.status >= 300:
                raise Failed(f"{self.name} answered {method} {path} with {answer.status}: {got[:500]!r}")
            fields = answer.getheaders()
            is_json = (answer.getheader("content-type") or "").startswith("application/json")
            return fields, json.loads(got) if is_json and got else got
        finally:
            connection.close()

    def processor_seconds(self):
        """Returns the CPU time of all threads since the start."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise Failed(f"{self.name} is not running")

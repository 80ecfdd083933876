"""What benchmarks of the whole program share: the release build, directories, servers that are stopped, facts about the machine."""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from process import Failed

SOURCE = Path(__file__).resolve().parents[2]


class Workplace:
    """A directory below the target directory for what a benchmark builds, installs and measures."""

    def __init__(self, name):
        self.source = SOURCE
        self.target = Path(output([SOURCE / "scripts/target-dir"]))
        self.home = self.target / name
        self.home.mkdir(parents=True, exist_ok=True)
        self.masker = self.target / "release/masker"

    @staticmethod
    def cargo_build(*arguments):
        """Builds with the locked dependencies in the release profile."""
        cargo = [os.environ.get("CARGO", "cargo"), "build", "--locked", "--release"]
        subprocess.run([*cargo, *arguments], cwd=SOURCE, check=True)

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

    def serve(self, kind, *arguments, **settings):
        """Starts a server that is stopped when the part ends, even after an error."""
        server = kind(self, *arguments, **settings)
        self.stack.callback(server.stop)
        server.start()
        return server

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


def machine(began):
    """Returns facts about the machine, the source and the tools, so that runs can be compared."""
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    changed = " with changes" if output(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    return {
        "date": f"{began:%Y-%m-%d %H:%M} UTC",
        "processor": f"{processor[1] if processor else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "source": f"commit {output(['git', 'rev-parse', '--short=12', 'HEAD'])}{changed}",
        "compiler": output(["rustc", "--version"]),
        "Python": platform.python_version(),
    }


def output(command):
    """Returns the output of a command, without surrounding whitespace."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=SOURCE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is missing; `scripts/deps bench` installs what the benchmarks need") from None
    if done.returncode:
        raise Failed(f"{command[0]} failed: {done.stderr}")
    return done.stdout.strip()

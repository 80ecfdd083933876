"""The machine, versions and commands of a run, so that runs can be compared."""

import os
import platform
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

from bench import output
from load import h2load_command


def machine(bench, began):
    """Returns the machine and the versions of all measured and measuring programs."""
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    changed = " with changes" if output(["git", "status", "--porcelain", "--untracked-files=no"]) else ""
    commit = f"commit {output(['git', 'rev-parse', '--short=12', 'HEAD'])}{changed}"
    return {
        "date": f"{began:%Y-%m-%d %H:%M} UTC",
        "processor": f"{processor[1] if processor else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "masker": f"{output([bench.masker, '--version'])}, {commit}",
        "compiler": output(["rustc", "--version"]),
        "OpenBao": output([bench.openbao, "version"]),
        "generator": output(["h2load", "--version"]),
        "Python": platform.python_version(),
    }


def commands(run):
    """Returns the commands that generated the load."""
    server = SimpleNamespace(socket="PATH", headers={})
    h2load = h2load_command(server, "/api/v1/tokenize", "request.json", 16, run["seconds"], "times")
    bench = "cargo xtask bench --socket PATH --json --op mint --policy healthcare-default --kind NAME --connections 4 --batch 1000"
    return f"    {shlex.join(h2load)}\n    {bench} --duration {run['seconds']:g}"

"""The machine, versions and commands of a run, so that runs can be compared."""

import shlex
from types import SimpleNamespace

from load import h2load_command
from workplace import machine as machine_and_tools, output


def machine(bench, began):
    """Returns the machine and the versions of all measured and measuring programs."""
    return machine_and_tools(began) | {
        "masker": output([bench.masker, "--version"]),
        "OpenBao": output([bench.openbao, "version"]),
        "generator": output(["h2load", "--version"]),
    }


def commands(run):
    """Returns the commands that generated the load."""
    server = SimpleNamespace(socket="PATH", headers={})
    h2load = h2load_command(server, "/api/v1/tokenize", "request.json", 16, run["seconds"], "times")
    bench = "cargo xtask bench --socket PATH --json --op mint --policy healthcare-default --kind NAME --connections 4 --batch 1000"
    return f"    {shlex.join(h2load)}\n    {bench} --duration {run['seconds']:g}"

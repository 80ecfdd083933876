#!/usr/bin/env python3
"""Compares masker with OpenBao, a minimal server, and its own cryptography and store: on one machine, in one run, in turn,
over Unix sockets. `make bench-peers` runs this script, which writes RESULTS.md.

Each run writes its raw figures to a new file below the target directory, after each part. A table is generated from a
single file, so all its figures are from one run.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import about
import large
import parts
import plot
import table
from bench import Bench
from process import Failed
from workplace import awake

PARTS = {
    "single": parts.single,
    "batch": parts.batch,
    "known": parts.known,
    "mints": parts.mints,
    "metrics": parts.metrics,
}
LARGE_PARTS = {"growth": large.growth, "rotation": large.rotation}
HERE = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="run the parts that take an hour, instead of the others")
    parser.add_argument("--quick", action="store_true", help="use few, short slices and small vaults, as a smoke test")
    parser.add_argument("--only", metavar="PART,…", help="run only these parts: " + ", ".join([*PARTS, *LARGE_PARTS]))
    parser.add_argument("--engines", default="sled,fjall", metavar="ENGINE,…", help="the engines of the vault (default: sled,fjall)")
    parser.add_argument("--table", metavar="FILE", type=Path, help="do not measure: write the table of an earlier run's figures")
    return parser.parse_args()


def chosen(options):
    parts_of = PARTS | LARGE_PARTS if options.only else LARGE_PARTS if options.large else PARTS
    names = options.only.split(",") if options.only else list(parts_of)
    if unknown := [name for name in names if name not in parts_of]:
        raise Failed(f"unknown part: {', '.join(unknown)}")
    return {name: part for name, part in parts_of.items() if name in names}


def measure(options):
    """Runs the chosen parts. Returns the run and the file with its figures."""
    sizes = (
        dict(rounds=3, seconds=1, records=300_000, large_records=300_000)
        if options.quick
        else dict(rounds=5, seconds=3, records=1_000_000, large_records=10_000_000)
    )
    bench = Bench(engines=options.engines.split(","), **sizes)
    began = datetime.now(timezone.utc)
    file = bench.home / f"figures-{began:%Y%m%d-%H%M%S}.json"
    bench.build()
    run = {
        "command": " ".join(["make bench-peers", *([f'PEERS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else [])]),
        "about": about.machine(bench, began),
        "cores": len(os.sched_getaffinity(0)),
        "engines": bench.engines,
        "rounds": bench.rounds,
        "seconds": bench.seconds,
        "quick": options.quick,
        "parts": [],
        "rows": {},
    }
    for name, part in chosen(options).items():
        with awake() as kept, bench.place():
            run["about"]["idle processors"] = "kept awake" if kept else "may sleep"
            run["rows"] |= part(bench)
        run["parts"].append(name)
        file.write_text(json.dumps(run, indent=1, ensure_ascii=False))
    bench.say(f"the figures of this run are in {file}")
    return run, file


def write(run, file, whole):
    """Writes the documents of a complete run, or a table next to the figures of an incomplete one."""
    text = table.document(run, about.commands(run))
    if not whole:
        place = file.with_suffix(".md")
        place.write_text(text)
        print(f"\n{table.targets_table(run)}\n\n-- incomplete run: its table is {place}")
        return
    if "growth" in whole:
        (HERE / "RESULTS-large.md").write_text(text)
    else:
        (HERE / "RESULTS.md").write_text(text)
        (HERE / "peers.svg").write_text(plot.svg(run))
    print(f"\n{table.targets_table(run)}")


def main():
    # SIGTERM raises SystemExit, so that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    if options.table:
        run, file = json.loads(options.table.read_text()), options.table
    else:
        run, file = measure(options)
    whole = next((of for of in (PARTS, LARGE_PARTS) if set(run["parts"]) == set(of) and not run["quick"]), None)
    write(run, file, whole)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench-peers: {failed}")
    except subprocess.CalledProcessError as failed:
        sys.exit(f"bench-peers: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)

"""The parts that take long: a vault of ten million records beside one of a hundred thousand, and a rotation of it."""

import os
import signal
import subprocess

from parts import BATCH, fill, known_case, mint_case
from process import Failed
from servers import VAULT, Masker, StoreAlone

SMALL = 100_000
# Of the values that are asked for each vault has the same: fewer than the small one has records.
BATCH_OF_SMALL = 250


def growth(bench):
    """A large vault and a small one under the same load in turn, and what the large one takes."""
    rows = {}
    for engine in bench.engines:
        large = bench.serve(Masker, engine, f"large-{engine}")
        small = bench.serve(Masker, engine, f"small-{engine}")
        facts = {"title": f"a vault of {bench.large_records:,} records on {engine}", "resident_bytes": {}}
        fill(bench, large, bench.large_records, BATCH_OF_SMALL)
        fill(bench, small, SMALL, BATCH_OF_SMALL)
        facts["resident_bytes"]["filled"] = large.resident_bytes()
        stats = large.ask("GET", "/api/v1/vault/stats")[1]
        facts["records"], facts["bytes_on_disk"] = stats["records"], stats["bytes_on_disk"]
        large.stop()
        large.start()
        facts["start_seconds"] = large.started_in
        facts["resident_bytes"]["started"] = large.resident_bytes()
        for operation in ("tokenize", "rehydrate", "mint"):
            cases = {}
            for size, server in (("large", large), ("small", small)):
                cases[f"masker, {engine}, {size}"] = (
                    mint_case(server, 4, BATCH)
                    if operation == "mint"
                    else known_case(server, operation, VAULT, BATCH_OF_SMALL)
                )
            title = f"{operation} on {engine}, {bench.large_records:,} records and {SMALL:,}, 4 connections"
            rows[f"growth-{operation}-{engine}"] = bench.alternate(title, cases)
        facts["resident_bytes"]["loaded"] = large.resident_bytes()
        large.stop()
        small.stop()
        bench.say(f"{engine} alone: filling with {facts['records']:,} rows")
        alone = bench.serve(StoreAlone, engine, facts["records"])
        facts["bytes_on_disk_alone"] = alone.filled["bytes_on_disk"]
        alone.stop()
        rows[f"growth-{engine}"] = facts
        bench.say(f"{facts}")
    return rows


def rotation(bench):
    """A rotation of the large vault under load: what `cargo bench --bench rotation` says of it."""
    cargo = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "--bench", "rotation", "--", str(bench.large_records)]
    bench.say(" ".join(cargo))
    # It has a daemon of its own: a group is ended as a whole.
    process = subprocess.Popen(cargo, cwd=bench.source, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        told, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        raise Failed("the rotation's benchmark failed")
    print(told, flush=True)
    return {"rotation": {"title": f"a rotation of {bench.large_records:,} records on sled", "text": told}}

"""The long parts: a vault of ten million records compared with one of a hundred thousand, and a rotation."""

import os
import signal
import subprocess

from masker import VAULT
from parts import BATCH, fill, known_case, mint_case
from process import Failed
from servers import Masker, StoreAlone

SMALL = 100_000
# Both vaults contain all requested values, so a batch must be small enough for the small vault.
BATCH_OF_SMALL = 250


def growth(bench):
    """Compares a large and a small vault under the same load, and measures the memory, disk and start of the large one."""
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
    """Runs `cargo bench --bench rotation`: a rotation of a large vault under load."""
    cargo = [os.environ.get("CARGO", "cargo"), "bench", "--locked", "--bench", "rotation", "--", str(bench.large_records)]
    bench.say(" ".join(cargo))
    # The benchmark starts a daemon, so an error must terminate the whole process group.
    process = subprocess.Popen(cargo, cwd=bench.source, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        text, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        raise Failed("the rotation benchmark failed")
    print(text, flush=True)
    return {"rotation": {"title": f"a rotation of {bench.large_records:,} records on sled", "text": text}}

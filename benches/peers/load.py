"""Load generators and their results: h2load, and `cargo xtask bench` for requests that differ, which h2load cannot send."""

import json
import re
import subprocess
from array import array
from dataclasses import asdict, dataclass

from process import Failed

# The entity kind of the values of `cargo xtask bench`, which have the length of an address.
BENCH_KIND = "NAME"


class Unanswered(Failed):
    """A slice ended before the first response."""


@dataclass
class Slice:
    """The result of one slice. Latencies are in microseconds."""

    values_per_second: float
    requests_per_second: float | None = None
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None
    processor_seconds_per_million: float | None = None
    resident_bytes: int | None = None

    as_dict = asdict


def h2load_command(server, path, body_file, connections, seconds, log):
    """Returns the command line of h2load: one thread, and one request in flight per connection."""
    command = ["h2load", "--h1", f"--clients={connections}", f"--duration={int(seconds * 1000)}ms", f"--data={body_file}"]
    command += [f"--header={name}: {value}" for name, value in server.headers.items()]
    command += ["--header=content-type: application/json"]
    return command + [f"--base-uri=unix:{server.socket}", f"--log-file={log}", f"http://localhost{path}"]


def h2load(bench, server, path, body_file, connections, values, seconds):
    """Loads a server with one repeated request."""
    log = bench.data / "h2load.log"
    log.unlink(missing_ok=True)
    before = server.processor_seconds()
    done = subprocess.run(
        h2load_command(server, path, body_file, connections, seconds, log), capture_output=True, text=True, check=False
    )
    used = server.processor_seconds() - before
    counts = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
    if done.returncode or not counts:
        raise Failed(f"h2load failed with {server.name}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    requests, succeeded = int(counts[1]), int(counts[2])
    if requests == 0:
        raise Unanswered(f"{server.name} answered no request of {values:,} values within {seconds} s")
    if succeeded != requests:
        raise Failed(f"{server.name} answered {requests} requests, but only {succeeded} successfully:\n{done.stdout[-1000:]}")
    starts, times = array("q"), array("q")
    with open(log, encoding="ascii") as file:
        for line in file:
            start, _, took = line.split("\t")
            starts.append(int(start))
            times.append(int(took))
    # Measured until the last response, so that requests in flight at the end do not lower the rate.
    elapsed = (max(map(int.__add__, starts, times)) - min(starts)) / 1e6
    times = sorted(times)
    at = lambda quantile: float(times[min(len(times) - 1, int(quantile * len(times)))])
    return Slice(
        requests_per_second=requests / elapsed,
        values_per_second=requests * values / elapsed,
        p50=at(0.5),
        p99=at(0.99),
        p999=at(0.999),
        processor_seconds_per_million=used / (requests * values) * 1e6,
        resident_bytes=server.resident_bytes(),
    )


def xtask_bench(server, operation, policy, connections, batch, seconds, seed=None, kind=BENCH_KIND):
    """Loads the daemon with `cargo xtask bench`, whose requests differ."""
    before = server.processor_seconds()
    command = [server.xtask, "bench", "--socket", server.socket, "--json", "--op", operation, "--policy", policy]
    command += ["--kind", kind, "--connections", connections, "--batch", batch, "--duration", max(1, int(seconds))]
    command += [] if seed is None else ["--seed", seed]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    used = server.processor_seconds() - before
    if done.returncode:
        raise Failed(f"cargo xtask bench failed with {server.name}: {done.stderr[-1000:]}")
    measured = json.loads(done.stdout)
    if measured["failed"] or not measured["values"]:
        raise Failed(f"{server.name}: {measured['failed']} of {measured['values']} values failed")
    return Slice(
        requests_per_second=measured["requests_per_second"],
        values_per_second=measured["values_per_second"],
        p50=measured["p50_ms"] * 1000,
        p99=measured["p99_ms"] * 1000,
        p999=measured["p999_ms"] * 1000,
        # Except for mints, the CPU time would include the setup before the measurement.
        processor_seconds_per_million=used / measured["values"] * 1e6 if operation == "mint" else None,
        resident_bytes=server.resident_bytes(),
    )


def crypto(bench, values, operation, seconds):
    """Measures the cryptography alone, on one core."""
    done = subprocess.run(
        [str(word) for word in (bench.baseline, "crypto", operation, values, seconds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"the cryptography alone failed: {done.stderr}")
    return Slice(values_per_second=json.loads(done.stdout)["values_per_second"])

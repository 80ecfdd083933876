"""Writes RESULTS.md: the medians and ratios of a run."""

from statistics import median

from targets import Figures, all_targets

SETUP = """
## Setup

All servers listen on Unix sockets of one machine and keep running while one of them is under load. The slices alternate: each
server in turn, {rounds} times, {seconds:g} s each, after an unmeasured slice. Each figure
is the median over the slices, including percentiles and CPU time. CPU time is that of the server only. The last column
is the rate of the first line divided by the rate of this line. The load generator runs on the same cores.

- **masker** is a release build with default settings, two clients (the second is the caller), limits that the caller never
  reaches, and an audit log that is synced every 100 ms. The policy is `stateless` without the vault, and
  `healthcare-default` with it.
- **OpenBao** has in-memory storage, no audit device, and a transit engine with a derived, convergent `aes256-gcm96` key:
  equal values have equal ciphertexts. `encrypt` is compared with tokenize, `decrypt` with rehydrate. Its JSON limits are
  raised, and its batch size is the fastest of several.
- **the floor** is a server on hyper, with masker's runtime and settings, that reads the request and responds with a recorded
  response of masker's (`benches/peers/baseline/floor.rs`).
- **crypto, one core** only mints or opens the tokens of the same values, in a loop.
- **sled alone** (or another engine) is masker's store without the daemon. It writes rows of a record's size in groups of 1,000, and
  each group is durable before the next.

`cargo xtask bench` generates the load if requests must differ, because h2load repeats a single body. Loads of known values
cycle through 256 different requests. In these commands, `PATH` and the files are temporary:
"""


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def targets_table(run):
    """Returns the table of the targets whose rows were measured."""
    figures = Figures(run["rows"])
    lines = ["| work, and its baseline | target | result | |", "|---|---|---|---|"]
    for target in all_targets(run["engines"], run["cores"]):
        if any(row not in run["rows"] for row in target.rows):
            continue
        reached = target.reach(figures)
        verdict = "met" if target.holds(reached) else "missed"
        lines.append(f"| {target.what} | {target.format_bound()} | {target.format(reached)} | {verdict} |")
    return "\n".join(lines)


def row_table(row):
    """Returns the table of a row's series, with the ratio of the first series to each."""
    lines = [
        f"### {row['title'][0].upper()}{row['title'][1:]}\n",
        "| | values/s | requests/s | p50, µs | p99 | p99.9 | CPU s per million values | resident, MiB | first ÷ this |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first = None
    for name, slices in row["series"].items():
        of = lambda what: None if slices[0][what] is None else median(one[what] for one in slices)
        resident = of("resident_bytes")
        rate = of("values_per_second")
        first = first or rate
        cells = [name, number(rate), number(of("requests_per_second"))]
        cells += [number(of(what)) for what in ("p50", "p99", "p999")]
        cells += [number(of("processor_seconds_per_million"), 2), number(resident and resident / (1 << 20))]
        cells += [f"{number(first / rate, 2)} ×"]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"\n{key}: {tried(value)}." for key, value in row.items() if key not in ("title", "series")]
    return "\n".join(lines + notes)


def tried(rates):
    return ", ".join(f"{size} values {number(rate)} values/s" for size, rate in rates.items())


def facts(row):
    """Returns the text of results that were measured once."""
    if "text" in row:
        return f"### {row['title']}\n\n```\n{row['text'].strip()}\n```"
    resident = ", ".join(f"{when} {number(much / (1 << 20))} MiB" for when, much in row["resident_bytes"].items())
    return (
        f"### {row['title']}\n\n"
        f"The vault has {row['records']:,} records in {row['bytes_on_disk']:,} bytes on disk; the same number of rows of the same "
        f"size takes {row['bytes_on_disk_alone']:,} bytes in the store alone. The daemon starts in {row['start_seconds']:.2f} s. "
        f"Resident memory: {resident}."
    )


def document(run, commands):
    """Returns the contents of RESULTS.md or RESULTS-large.md."""
    about = "\n".join(f"| {name} | {text} |" for name, text in run["about"].items())
    figures = "\n\n".join(row_table(row) if "series" in row else facts(row) for row in run["rows"].values())
    setup = SETUP.format(rounds=run["rounds"], seconds=run["seconds"])
    return (
        "# Benchmark results\n\n"
        f"`{run['command']}` generated this file. All figures are from one run.\n\n| | |\n|---|---|\n{about}\n\n## Targets\n\n{targets_table(run)}\n{setup}\n"
        f"{commands}\n\n## Figures\n\n{figures}\n"
    )

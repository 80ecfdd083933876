"""RESULTS.md, and the table of README: what a run came to, in medians and ratios."""

from statistics import median

from targets import Figures, all_targets

SETUP = """
## What stands against what

All servers listen on Unix sockets of this machine, all of them run while one is loaded, and the slices alternate: each
server once, and again from the first, {rounds} times, {seconds:g} s each, after a slice that does not count. A figure is the
median of its slices; percentiles and processor time are those of single slices, too. Processor time is the server's alone.
"The first is" says how many times a line's values a second the first line has. The generator takes its part of the same
cores.

- **masker** is a release build with its defaults, two clients of which the second is the caller, that caller's limits (never
  met), and the audit log, which is made durable each 100 ms. Without the vault it is the policy `stateless`, with it
  `healthcare-default`.
- **OpenBao** has its storage in memory, no audit device, and a transit engine with a derived, convergent `aes256-gcm96` key:
  equal values have equal ciphertexts. Tokenizing is `encrypt`, rehydrating `decrypt`. Its limits on JSON are lifted, and
  its batch is the one of those tried that suits it best.
- **the floor** is a server on hyper, with masker's runtime and settings, that reads the request and answers with masker's own
  answer from memory (`benches/peers/baseline/floor.rs`).
- **crypto, one core** mints the same values' tokens, or opens them, in a loop, and does nothing else.
- **sled alone** (or another engine) is masker's store without masker, with rows of a record's size, in groups of 1,000 that are
  durable one after the other.

Values that must be new, or many, come from `cargo xtask bench`, since h2load sends one body over and over; in the commands that
follow `PATH` and the files are what the run made. Requests of known values are 256 different ones in turn.
"""


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def targets_table(run):
    """A row for each target whose rows were measured."""
    figures = Figures(run["rows"])
    lines = ["| work, and what it is held to | target | reached | |", "|---|---|---|---|"]
    for target in all_targets(run["engines"], run["cores"]):
        if any(row not in run["rows"] for row in target.rows):
            continue
        reached = target.reach(figures)
        verdict = "holds" if target.holds(reached) else "does not hold"
        lines.append(f"| {target.what} | {target.told_bound()} | {target.told(reached)} | {verdict} |")
    return "\n".join(lines)


def row_table(row):
    """The series of a row, and how many times each of them the first is."""
    lines = [
        f"### {row['title'][0].upper()}{row['title'][1:]}\n",
        "| | values/s | requests/s | p50, µs | p99 | p99.9 | processor, s a million values | resident, MiB | the first is |",
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
    """What was measured once."""
    if "text" in row:
        return f"### {row['title']}\n\n```\n{row['text'].strip()}\n```"
    resident = ", ".join(f"{when} {number(much / (1 << 20))} MiB" for when, much in row["resident_bytes"].items())
    return (
        f"### {row['title']}\n\n"
        f"It has {row['records']:,} records in {row['bytes_on_disk']:,} bytes on the disk; as many rows of the same size "
        f"are {row['bytes_on_disk_alone']:,} bytes in the store alone. It starts in {row['start_seconds']:.2f} s. "
        f"Resident: {resident}."
    )


def document(run, commands):
    """RESULTS.md, or RESULTS-large.md."""
    about = "\n".join(f"| {name} | {text} |" for name, text in run["about"].items())
    figures = "\n\n".join(row_table(row) if "series" in row else facts(row) for row in run["rows"].values())
    setup = SETUP.format(rounds=run["rounds"], seconds=run["seconds"])
    return (
        "# What masker was measured against, and what came of it\n\n"
        f"`{run['command']}` wrote this; every figure is of that one run.\n\n| | |\n|---|---|\n{about}\n\n## Targets\n\n{targets_table(run)}\n{setup}\n"
        f"{commands}\n\n## Figures\n\n{figures}\n"
    )


def into_readme(readme, run):
    """README with the table of targets between its marks."""
    begin, end = "<!-- figures of benches/peers/RESULTS.md -->\n", "<!-- end -->"
    before, found, rest = readme.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError("README.md has lost the marks of its table")
    return f"{before}{begin}{targets_table(run)}\n{end}{after}"

"""Writes RESULTS.md: the goals, and all figures of a run."""

from statistics import median

from goals import GOALS, Figures, counts_of
from scorer import Counts, total

SETUP = """
## Setup

- **masker** is the detector of a release build (`crates/masker-text`) with its default options: findings of 50 % confidence or more.
{presidio}- **The score.** A finding is right if it has the kind of a mark, and at least half of the characters that both cover together
  are in both. White space and punctuation at the ends do not count; neighbours of one kind are joined; findings in
  organizations, countries, titles and ages under 90 are ignored where the texts mark these. `scorer.py` has the whole rule.
  A clean text has no marks; it is touched if anything is found of the kinds that the set marks. A hard input is right if
  nothing is false or missed, of any kind.
- **Speed** is that of one thread on texts of about 4 kB, which are the texts of the folder joined. It counts processor time, which
  other programs do not change much.
- **Mask through the vault** sends texts of about 4 kB, each with ten values, to `POST /api/v1/text/mask` of the daemon in a release build
  with default settings, the policy `healthcare-default`, an audit log that is synced every 100 ms, and a vault on fjall. Detection alone
  searches the same texts with the library on two threads. The cases alternate, each figure is the median over the rounds, and
  daemon and client share two cores. New values are minted: they are durable before the response. The names among them repeat.
"""

PRESIDIO = """\
- **Presidio** has its default recognizers for English with the model en_core_web_md, and findings of 0.4 or more. Its kinds are
  renamed to those of the texts, in the way that suits it best: LOCATION counts as ADDRESS in generated_large, and LOCATION
  and ORGANIZATION as LOC in ASQ-PHI. It runs in `presidio_worker.py`, in a virtual environment below the target directory.
"""


def number(value, digits=3):
    return "–" if value is None else f"{value:,.{digits}f}"


def table(head, rows):
    """Returns a table whose columns after the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def goals_table(run):
    """Returns the table of the goals. What was not measured says so."""
    masker, presidio = Figures(run), Figures(run, "Presidio")
    with_presidio = "Presidio" in run["detectors"]
    lines = []
    for goal in GOALS:
        reached = goal.reach(masker)
        verdict = "not measured" if reached is None else "met" if goal.holds(reached) else "missed"
        line = [goal.what, goal.format_bound(), goal.format(reached), verdict]
        lines.append(line + [goal.format(goal.reach(presidio))] if with_presidio else line)
    head = ["", "goal", "result", "", *(["Presidio"] if with_presidio else [])]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n{rows}"


def score_section(dataset):
    """Returns the figures of all detectors on a set."""
    names = list(dataset["detectors"])
    kinds = {name: counts_of(score["kinds"]) for name, score in dataset["detectors"].items()}
    exact = {name: counts_of(score["exact"]) for name, score in dataset["detectors"].items()}
    heads = [f"{name} {what}" if len(names) > 1 else what for name in names for what in ("P", "R", "F1", "exact F1")]
    rows = []
    for kind in sorted(set().union(*kinds.values())):
        of = [(kinds[name].get(kind, Counts()), exact[name].get(kind, Counts())) for name in names]
        rows.append([kind, of[0][0].marked, *cells(of)])
    sums = [(total(kinds[name]), total(exact[name])) for name in names]
    rows.append(["all (micro)", sums[0][0].marked, *cells(sums)])
    notes = []
    for name, score in dataset["detectors"].items():
        characters = Counts(*score["characters"])
        clean = f", {score['touched']} of {score['clean']} clean texts touched" if score["clean"] else ""
        notes.append(
            f"{name}: {score['texts'] - len(score['wrong']):,} of {score['texts']:,} texts right{clean}; of the marked characters,"
            f" {100 * characters.recall:.1f} % found, of the found ones {100 * characters.precision:.1f} % marked."
        )
    title = f"### {dataset['title'][0].upper()}{dataset['title'][1:]}"
    return f"{title}\n\n{', '.join(f'`{file}`' for file in dataset['files'])}\n\n{table(['kind', 'marked', *heads], rows)}\n\n" + "\n".join(
        f"- {note}" for note in notes
    )


def cells(counts):
    """Returns the figures of a kind. What has no meaning is a dash: recall where nothing is marked, precision where nothing is found."""
    texts = []
    for of, exact in counts:
        found, known = of.right + of.false, of.marked or of.false
        texts += [number(of.precision if found else None, 2), number(of.recall if of.marked else None, 2)]
        texts += [number(one.f1 if known else None) for one in (of, exact)]
    return texts


def speed_section(speed):
    rows = []
    for name, of in speed.items():
        rate = of["bytes"] / of["processor_seconds"] / 1e6
        times = [number(of[what], 0) for what in ("mean_us", "p50_us", "p99_us", "max_us")]
        rows.append([name, number(rate), number(of["findings"] / of["texts"], 1), f"{of['texts']:,}", *times])
    head = ["", "MB/s", "findings a text", "texts", "mean, µs", "p50", "p99", "maximum"]
    return f"### Speed, 4 kB texts, one core\n\n{table(head, rows)}"


def vault_section(vault):
    alone = median(vault["series"]["detection alone"])
    rows = []
    for name, rates in vault["series"].items():
        spread = f"{number(min(rates) / 1e6, 2)} to {number(max(rates) / 1e6, 2)}"
        rows.append([name, number(median(rates) / 1e6, 2), spread, f"{number(median(rates) / alone, 2)} ×"])
    title = "### Mask through the vault, 4 kB texts with 10 values, two cores"
    what = f"{vault['rounds']} rounds of {vault['texts']:,} texts, {vault['requests']}, {vault['engine']}."
    return f"{title}\n\n{what}\n\n{table(['', 'MB/s', 'range', 'to detection alone'], rows)}"


def document(run):
    """Returns the contents of RESULTS.md."""
    about = "\n".join(f"| {name} | {text} |" for name, text in run["about"].items())
    sections = [score_section(dataset) for dataset in run["scores"].values()]
    sections += [speed_section(run["speed"])] if run["speed"] else []
    sections += [vault_section(run["vault"])] if run["vault"] else []
    figures = "\n\n".join(sections)
    setup = SETUP.format(presidio=PRESIDIO if "Presidio" in run["detectors"] else "")
    return (
        "# Benchmark results of the text detector\n\n"
        f"`{run['command']}` generated this file. All figures are from one run.\n\n| | |\n|---|---|\n{about}\n\n"
        f"## Goals\n\n{goals_table(run)}\n{setup}\n## Figures\n\n{figures}\n"
    )

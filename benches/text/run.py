#!/usr/bin/env python3
"""Measures the text detector of masker: what it finds in sets of marked texts, its speed, and masking through the vault.
`make bench-text TEXT='--data FOLDER'` runs this script, which writes RESULTS.md.

The folder has files of marked texts, in itself or below: gen_large*.jsonl (presidio-research's generated_large), asq*.jsonl (ASQ-PHI),
wnut*.jsonl (WNUT17) and hard*.jsonl (inputs that detectors get wrong). Each line is an object with "id", "text" and "spans", a list of
[start, end, kind] in code points. Kinds are those of masker; ASQ-PHI has LOC for places. Two sets of the project are measured too.

Each run writes its raw figures to a new file below the target directory, after each part. A table is generated from a
single file, so all its figures are from one run.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "common"))

import datasets
import report
import scorer
import texts
import vault
from detectors import Masker, Presidio, write_texts
from process import Failed
from workplace import Workplace, awake, machine, output

PARTS = ("scores", "speed", "vault")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="the folder of data sets")
    parser.add_argument("--presidio", action="store_true", help="measure Presidio too; installs it from PyPI the first time")
    parser.add_argument("--quick", action="store_true", help="measure speeds briefly, as a smoke test")
    parser.add_argument("--only", metavar="PART,…", help="run only these parts: " + ", ".join(PARTS))
    parser.add_argument("--table", metavar="FILE", type=Path, help="do not measure: write the table of an earlier run's figures")
    options = parser.parse_args()
    if not options.table and not (options.data and options.data.is_dir()):
        raise Failed("name the folder of data sets: make bench-text TEXT='--data FOLDER' (TEXT=--help explains its files)")
    return options


def chosen(options):
    names = options.only.split(",") if options.only else PARTS
    if unknown := [name for name in names if name not in PARTS]:
        raise Failed(f"unknown part: {', '.join(unknown)}")
    return [part for part in PARTS if part in names]


def load_sets(options, source):
    """Returns the texts and the files of each set that there is."""
    sets = {one: datasets.load(one, options.data, source) for one in datasets.DATASETS}
    if not any(examples for one, (examples, _) in sets.items() if one.pattern):
        patterns = ", ".join(one.pattern for one in sets if one.pattern)
        raise Failed(f"{options.data} has none of these files: {patterns}")
    return {one: found for one, found in sets.items() if found[0]}


def measure(options):
    """Runs the chosen parts. Returns the run and the file with its figures."""
    parts = chosen(options)
    workplace = Workplace("bench-text")
    sets = load_sets(options, workplace.source)
    began = datetime.now(timezone.utc)
    file = workplace.home / f"figures-{began:%Y%m%d-%H%M%S}.json"
    detectors = [Masker(workplace)]
    if "vault" in parts:
        workplace.cargo_build("--bin", "masker")
        # Before the other parts, which take minutes.
        vault.check(workplace)
    about = machine(began)
    if options.presidio:
        detectors.append(Presidio(workplace))
        about["Presidio"] = detectors[-1].versions()
    run = {
        "command": " ".join(["make bench-text", f"TEXT={shlex.quote(shown_arguments())}"]),
        "about": about,
        "detectors": [detector.name for detector in detectors],
        "quick": options.quick,
        "parts": [],
        "scores": {},
        "speed": {},
        "vault": {},
    }
    for part in parts:
        with awake():
            if part == "scores":
                run["scores"] = scores(workplace, sets, detectors)
            elif part == "speed":
                run["speed"] = speeds(workplace, sets, detectors, seconds=2 if options.quick else 10)
            else:
                about["masker"] = output([workplace.masker, "--version"])
                rounds, count = (1, 500) if options.quick else (5, 6_000)
                run["vault"] = vault.measure(workplace, detectors[0], rounds, count)
        run["parts"].append(part)
        file.write_text(json.dumps(run, indent=1, ensure_ascii=False))
    workplace.say(f"the figures of this run are in {file}")
    return run, file


def shown_arguments():
    """Returns the arguments without the place of the folder on this machine."""
    words = list(sys.argv[1:])
    for position, word in enumerate(words[:-1]):
        if word == "--data":
            words[position + 1] = "FOLDER"
    return " ".join(words)


def scores(workplace, sets, detectors):
    """Scores the detectors on all sets."""
    results = {}
    for dataset, (examples, files) in sets.items():
        file = write_texts(workplace.home / f"{dataset.name}.jsonl", [(one.id, one.text) for one in examples])
        results[dataset.name] = {"title": dataset.title, "files": files, "detectors": {}}
        for detector in detectors:
            found = renamed(detector.find(file), dataset, detector.name)
            scope = {one.kind for ranges in [one.marks for one in examples] for one in ranges}
            if dataset.all_kinds:
                scope |= {one.kind for ranges in found.values() for one in ranges}
            score = scorer.score(examples, found, dataset.neutral, scope)
            results[dataset.name]["detectors"][detector.name] = as_dict(score)
            workplace.say(
                f"{dataset.title}, {detector.name}: micro F1 {score.all.f1:.3f}, {score.texts - len(score.wrong)} of {score.texts} texts right"
            )
            if dataset.all_kinds and detector.name == "masker" and score.wrong:
                workplace.say(f"  wrong: {', '.join(score.wrong)}")
    return results


def renamed(found, dataset, detector):
    """Returns findings with the kinds that the set has for them."""
    return {
        name: [one._replace(kind=dataset.kind(one.kind, detector)) for one in ranges] for name, ranges in found.items()
    }


def as_dict(score):
    triples = lambda kinds: {kind: triple(counts) for kind, counts in sorted(kinds.items())}
    return {
        "kinds": triples(score.kinds),
        "exact": triples(score.exact),
        "characters": triple(score.characters),
        "texts": score.texts,
        "clean": score.clean,
        "touched": score.touched,
        "wrong": score.wrong,
    }


def triple(counts):
    return [counts.right, counts.false, counts.missed]


def speeds(workplace, sets, detectors, seconds):
    """Measures the detectors on the texts of the folder, joined to texts of 4 kB."""
    short = [example.text for dataset, (examples, _) in sets.items() if dataset.pattern for example in examples]
    file = write_texts(workplace.home / "joined.jsonl", enumerate(texts.joined(short)))
    results = {}
    for detector in detectors:
        of = results[detector.name] = detector.measure(file, seconds)
        workplace.say(f"speed, {detector.name}: {of['bytes'] / of['processor_seconds'] / 1e6:.3f} MB/s")
    # Texts of the worst kind: nothing in them is a word.
    file = write_texts(workplace.home / "base64.jsonl", texts.blobs(200))
    name = f"{detectors[0].name}, base64"
    of = results[name] = detectors[0].measure(file, seconds)
    workplace.say(f"speed, {name}: {of['bytes'] / of['processor_seconds'] / 1e6:.3f} MB/s")
    return results


def write(run, file):
    """Writes the document of a complete run, or a table next to the figures of an incomplete one."""
    whole = set(run["parts"]) == set(PARTS) and not run["quick"]
    place = HERE / "RESULTS.md" if whole else file.with_suffix(".md")
    place.write_text(report.document(run))
    print(f"\n{report.goals_table(run)}")
    if not whole:
        print(f"\n-- incomplete run: its tables are in {place}")


def main():
    # SIGTERM raises SystemExit, so that the servers are stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    if options.table:
        write(json.loads(options.table.read_text()), options.table)
    else:
        write(*measure(options))


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench-text: {failed}")
    except subprocess.CalledProcessError as failed:
        sys.exit(f"bench-text: {failed}")
    except KeyboardInterrupt:
        sys.exit(130)

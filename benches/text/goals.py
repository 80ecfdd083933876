"""The goals of the text detector. Each is computed from the figures of a run."""

from dataclasses import dataclass
from statistics import median
from typing import Callable

from scorer import Counts, total

# Kinds whose values look like those of other kinds: labels tell them apart.
LABELLED_KINDS = ("MRN", "HEALTH_PLAN", "FAX", "DOB")
# With fewer values, one more or less would decide.
MARKED_MIN = 10


class Figures:
    """The figures of a run of one detector. Each method returns `None` for what was not measured."""

    def __init__(self, run, detector="masker"):
        self.run, self.detector = run, detector

    def score(self, dataset):
        return self.run["scores"].get(dataset, {}).get("detectors", {}).get(self.detector)

    def micro_f1(self, dataset):
        score = self.score(dataset)
        return score and total(counts_of(score["kinds"])).f1

    def kind_f1(self, dataset, kind):
        score = self.score(dataset)
        return score and counts_of(score["kinds"])[kind].f1

    def touched(self, dataset):
        score = self.score(dataset)
        return score and 100 * score["touched"] / score["clean"]

    def texts_right(self, dataset):
        score = self.score(dataset)
        return score and 100 * (1 - len(score["wrong"]) / score["texts"])

    def lowest_f1(self, dataset, kinds):
        score = self.score(dataset)
        counts = counts_of(score["kinds"]) if score else {}
        of = [counts[kind].f1 for kind in kinds if kind in counts and counts[kind].marked >= MARKED_MIN]
        return min(of) if of else None

    def megabytes_a_second(self):
        speed = self.run["speed"].get(self.detector)
        return speed and speed["bytes"] / speed["processor_seconds"] / 1e6

    def p99_to_mean(self):
        speed = self.run["speed"].get(self.detector)
        return speed and speed["p99_us"] / speed["mean_us"]

    def vault_to_alone(self, case):
        if self.detector != "masker" or not self.run["vault"]:
            return None
        series = self.run["vault"]["series"]
        return median(series[case]) / median(series["detection alone"])


def counts_of(kinds):
    """Returns the counts of the figures' triples."""
    return {kind: Counts(*triple) for kind, triple in kinds.items()}


@dataclass
class Goal:
    """A bound for the result of `reach`: a minimum, or a maximum if `at_most`."""

    what: str
    reach: Callable
    bound: float
    at_most: bool = False
    unit: str = ""
    digits: int = 3

    def holds(self, reached):
        return reached <= self.bound if self.at_most else reached >= self.bound

    def format(self, number):
        return "–" if number is None else f"{number:,.{self.digits}f}{self.unit}"

    def format_bound(self):
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}{self.unit}"


GOALS = (
    Goal("micro F1, presidio-research generated_large", lambda f: f.micro_f1("generated"), 0.88),
    Goal("micro F1, ASQ-PHI clinical queries", lambda f: f.micro_f1("clinical"), 0.88),
    Goal("clean clinical queries touched", lambda f: f.touched("clinical"), 5, at_most=True, unit=" %", digits=1),
    Goal("F1 of NAME, WNUT17", lambda f: f.kind_f1("wnut", "NAME"), 0.5),
    Goal("hard inputs of the folder right", lambda f: f.texts_right("hard"), 92, unit=" %", digits=1),
    Goal("hard inputs of the project right", lambda f: f.texts_right("own-hard"), 92, unit=" %", digits=1),
    Goal(
        "lowest F1 of MRN, HEALTH_PLAN, FAX, DOB, labelled values of the project",
        lambda f: f.lowest_f1("labelled", LABELLED_KINDS),
        0.95,
    ),
    Goal(
        "lowest F1 of those with 10 values or more, ASQ-PHI clinical queries",
        lambda f: f.lowest_f1("clinical", LABELLED_KINDS),
        0.95,
    ),
    Goal("speed, 4 kB texts, one core", Figures.megabytes_a_second, 5, unit=" MB/s", digits=3),
    Goal("99th percentile of a text's time, to the mean", Figures.p99_to_mean, 2, at_most=True, unit=" ×", digits=2),
    Goal(
        "mask through the vault, 4 kB texts with 10 new values, two cores, to detection alone",
        lambda f: f.vault_to_alone("mask, new values"),
        0.6,
        unit=" ×",
        digits=2,
    ),
    Goal(
        "the same with values that the vault knows",
        lambda f: f.vault_to_alone("mask, known values"),
        0.6,
        unit=" ×",
        digits=2,
    ),
)

"""Scores the findings of a detector against the marked values of texts. Offsets are in code points.

The rule:

1. Only kinds in the scope count: the kinds that are marked in the texts, without the neutral ones.
2. White space and punctuation at the ends of a range are ignored. Neighbours of one kind with nothing but at most three such
   characters between them are one range, both in marks and in findings.
3. A finding of which half or more lies in ranges of neutral kinds is ignored, unless it touches a mark of its own kind.
4. A mark and a finding match if they have the same kind, and at least half of the characters that they cover together are in both.
   Each matches at most once; the best pairs are taken first.

Precision, recall and F1 follow from the matches, the findings that are left (false) and the marks that are left (missed).
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

# Kinds that some data sets mark, and that are no personal data by themselves: findings there are neither right nor wrong.
NEUTRAL = frozenset({"ORGANIZATION", "TITLE", "NRP", "AGE", "GPE", "PREFIX", "NEUTRAL"})
PUNCTUATION = frozenset(".,;:!?\"'()[]<>")
GAP_MAX = 3
OVERLAP_MIN = 0.5


class Range(NamedTuple):
    """A part of a text with its kind, from `start` to before `end`."""

    kind: str
    start: int
    end: int


class Example(NamedTuple):
    """A text with its marks."""

    id: str
    text: str
    marks: tuple


@dataclass
class Counts:
    right: int = 0
    false: int = 0
    missed: int = 0

    def add(self, other):
        self.right, self.false, self.missed = self.right + other.right, self.false + other.false, self.missed + other.missed

    @property
    def marked(self):
        return self.right + self.missed

    @property
    def precision(self):
        return self.right / (self.right + self.false) if self.right + self.false else 0.0

    @property
    def recall(self):
        return self.right / self.marked if self.marked else 0.0

    @property
    def f1(self):
        return 2 * self.right / (2 * self.right + self.false + self.missed) if self.right else 0.0


@dataclass
class Score:
    """The result for a set of texts."""

    # By kind: matches by the rule, and matches of exactly the same range.
    kinds: dict = field(default_factory=lambda: defaultdict(Counts))
    exact: dict = field(default_factory=lambda: defaultdict(Counts))
    # Characters, of any kind. Recall is the part of the marked characters that was found.
    characters: Counts = field(default_factory=Counts)
    texts: int = 0
    # Texts without marks, and those among them with findings.
    clean: int = 0
    touched: int = 0
    # The ids of texts with a false or missed range.
    wrong: list = field(default_factory=list)

    @property
    def all(self):
        return total(self.kinds)

    @property
    def all_exact(self):
        return total(self.exact)


def total(kinds):
    """Returns the sum over kinds, whose F1 is the micro F1."""
    result = Counts()
    for counts in kinds.values():
        result.add(counts)
    return result


def score(examples, findings, neutral=NEUTRAL, scope=None):
    """Scores findings: ranges by the id of their text. The scope is that of the rule if it is not given."""
    if scope is None:
        scope = {mark.kind for example in examples for mark in example.marks}
    scope = frozenset(scope) - neutral
    result = Score(texts=len(examples))
    for kind in scope:
        result.kinds[kind], result.exact[kind] = Counts(), Counts()
    for example in examples:
        score_text(result, example, findings.get(example.id, ()), neutral, scope)
    return result


def score_text(result, example, found, neutral, scope):
    marks = joined(example.text, [mark for mark in example.marks if mark.kind in scope])
    ignored = {position for mark in example.marks if mark.kind in neutral for position in range(mark.start, mark.end)}
    found = joined(example.text, {one for one in found if one.kind in scope})
    found = [one for one in found if not is_ignored(one, marks, ignored)]
    if not example.marks:
        result.clean += 1
        result.touched += bool(found)
    if match(result.kinds, marks, found, OVERLAP_MIN):
        result.wrong.append(example.id)
    match(result.exact, marks, found, 1.0)
    marked = positions(marks)
    covered = positions(found) - ignored
    result.characters.add(Counts(len(marked & covered), len(covered - marked), len(marked - covered)))


def joined(text, ranges):
    """Returns ranges without surrounding white space and punctuation, with neighbours of one kind joined."""
    is_edge = lambda position: text[position].isspace() or text[position] in PUNCTUATION
    result = []
    for kind, start, end in sorted(trimmed(one, is_edge) for one in ranges):
        if start == end:
            continue
        last = result[-1] if result else None
        if last and last.kind == kind and (start <= last.end or is_gap(last.end, start, is_edge)):
            result[-1] = Range(kind, last.start, max(last.end, end))
        else:
            result.append(Range(kind, start, end))
    return result


def trimmed(one, is_edge):
    kind, start, end = one
    while start < end and is_edge(start):
        start += 1
    while start < end and is_edge(end - 1):
        end -= 1
    return Range(kind, start, end)


def is_gap(start, end, is_edge):
    return end - start <= GAP_MAX and all(map(is_edge, range(start, end)))


def is_ignored(one, marks, ignored):
    """Whether half or more of a finding is in neutral ranges, and none of it in a mark of its kind."""
    inside = sum(position in ignored for position in range(one.start, one.end))
    touches = any(mark.kind == one.kind and mark.start < one.end and one.start < mark.end for mark in marks)
    return 2 * inside >= one.end - one.start and not touches


def overlap(mark, one):
    """Returns the shared part of the characters that both cover together."""
    shared = min(mark.end, one.end) - max(mark.start, one.start)
    return shared / (mark.end - mark.start + one.end - one.start - shared) if shared > 0 else 0.0


def match(kinds, marks, found, least):
    """Counts matches by kind. Returns how many ranges are false or missed."""
    pairs = []
    for position, mark in enumerate(marks):
        for other, one in enumerate(found):
            shared = overlap(mark, one) if mark.kind == one.kind else 0.0
            if shared >= least:
                pairs.append((-shared, position, other))
    matched, used = set(), set()
    for _, position, other in sorted(pairs):
        if position not in matched and other not in used:
            matched.add(position)
            used.add(other)
            kinds[marks[position].kind].right += 1
    for position, mark in enumerate(marks):
        kinds[mark.kind].missed += position not in matched
    for other, one in enumerate(found):
        kinds[one.kind].false += other not in used
    return len(marks) + len(found) - len(matched) - len(used)


def positions(ranges):
    return {position for one in ranges for position in range(one.start, one.end)}

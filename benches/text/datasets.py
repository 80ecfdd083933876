"""The sets of texts: those of the folder that the caller names, and the project's own in `crates/masker-text/tests`."""

import json
import re
from dataclasses import dataclass, field

from process import Failed
from scorer import NEUTRAL, Example, Range

OWN = "crates/masker-text/tests"
# The project's own texts mark ages.
OWN_NEUTRAL = NEUTRAL - {"AGE"}
# `[KIND|` begins a mark in the project's own lists.
MARK = re.compile(r"\[([A-Z][A-Z_]+)\|")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set of texts. `pattern` names its files in the folder or below it; `own` names the file of the project's own."""

    name: str
    title: str
    pattern: str = None
    own: str = None
    # Kinds that count as another one, by detector; `None` is any detector.
    renamed: dict = field(default_factory=dict)
    neutral: frozenset = NEUTRAL
    # Whether findings of kinds that are not marked in any text count as false.
    all_kinds: bool = False

    def kind(self, kind, detector):
        """Returns what a detector's kind counts as."""
        return (self.renamed.get(None, {}) | self.renamed.get(detector, {})).get(kind, kind)


# ASQ-PHI marks all places as LOC; presidio-research marks addresses, and its countries and cities are neutral.
DATASETS = (
    Dataset("generated", "presidio-research generated_large", "gen_large*.jsonl", renamed={"Presidio": {"LOCATION": "ADDRESS"}}),
    Dataset("clinical", "ASQ-PHI clinical queries", "asq*.jsonl", renamed={None: {"ADDRESS": "LOC", "LOCATION": "LOC"}, "Presidio": {"ORGANIZATION": "LOC"}}),
    Dataset("wnut", "WNUT17", "wnut*.jsonl"),
    Dataset("hard", "hard inputs of the folder", "hard*.jsonl", all_kinds=True),
    Dataset("own-hard", "hard inputs of the project", own="hard.txt", neutral=OWN_NEUTRAL, all_kinds=True),
    Dataset("labelled", "labelled values of the project", own="labelled.txt", neutral=OWN_NEUTRAL, all_kinds=True),
)


def load(dataset, folder, source):
    """Returns the texts of a set, and the names of the files with them. Both are empty if the folder lacks the set."""
    if dataset.own:
        name = f"{OWN}/{dataset.own}"
        return read_marked((source / name).read_text(encoding="utf-8")), [name]
    files = sorted(folder.rglob(dataset.pattern))
    examples = [example for file in files for example in read_lines(file)]
    return examples, [str(file.relative_to(folder)) for file in files]


def read_lines(file):
    """Reads a file with `{"id", "text", "spans": [[start, end, kind], …]}` on each line."""
    examples = []
    # Not `splitlines`: texts can contain other line separators.
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            item = json.loads(line)
            marks = tuple(Range(kind, start, end) for start, end, kind in item["spans"])
            # Ids of two files of a set can be equal.
            examples.append(Example(f"{file.name}:{item['id']}", item["text"], marks))
        except (ValueError, KeyError, TypeError):
            raise Failed(f"{file}:{number}: a line is an object with `id`, `text` and `spans` of [start, end, kind]") from None
    return examples


def read_marked(text):
    """Reads a list of the project: on each line a text with marks `[KIND|value]`, and `\\n` for a line break."""
    examples = []
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("# "):
            examples.append(Example(f"line {number}", *unmarked(line.replace("\\n", "\n"))))
    return examples


def unmarked(line):
    """Returns a text without its marks, and the marks. Values can hold brackets in pairs."""
    text, marks = "", []
    position = 0
    for mark in MARK.finditer(line):
        if mark.start() < position:
            continue
        text += line[position : mark.start()]
        end, depth = mark.end(), 1
        while depth:
            depth += {"[": 1, "]": -1}.get(line[end], 0)
            end += 1
        value = line[mark.end() : end - 1]
        marks.append(Range(mark[1], len(text), len(text) + len(value)))
        text += value
        position = end
    return text + line[position:], tuple(marks)

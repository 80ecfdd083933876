"""Checks the scorer, the reader of the project's lists, the made texts and the goals, on small examples.

`tests/documents` runs it: python3 -B -m unittest discover --start-directory benches/text
"""

import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "common"))

import datasets
import goals
import report
import texts
from process import Failed
from scorer import Counts, Example, Range, joined, score


def example(line, name="a"):
    """Returns the text of a line with its marks."""
    return Example(name, *datasets.unmarked(line))


def scored(marked, found, **settings):
    """Scores one text: both lines have the same text, with the marks and with the findings."""
    one, other = example(marked), example(found)
    assert one.text == other.text, "the lines differ in more than their marks"
    return score([one], {"a": list(other.marks)}, **settings)


class Matches(unittest.TestCase):
    def counts(self, marked, found, kind="NAME", **settings):
        counts = scored(marked, found, **settings).kinds[kind]
        return counts.right, counts.false, counts.missed

    def test_equal_ranges_match(self):
        self.assertEqual(self.counts("[NAME|Ann] and [NAME|Bob]", "[NAME|Ann] and [NAME|Bob]"), (2, 0, 0))

    def test_another_kind_is_false_and_missed(self):
        line = "[NAME|Ann] of [CITY|Paris]"
        self.assertEqual(self.counts(line, "[CITY|Ann] of [NAME|Paris]"), (0, 1, 1))
        self.assertEqual(self.counts(line, "[CITY|Ann] of [NAME|Paris]", "CITY"), (0, 1, 1))

    def test_half_of_the_characters_is_enough_and_less_is_not(self):
        # 4 of 8 characters, then 4 of 9.
        self.assertEqual(self.counts("[NAME|abcdefgh]", "[NAME|abcd]efgh"), (1, 0, 0))
        self.assertEqual(self.counts("[NAME|abcdefghi]", "[NAME|abcd]efghi"), (0, 1, 1))
        # 4 shared of the 8 that both cover together, then of the 9.
        self.assertEqual(self.counts("[NAME|abcdef]gh", "ab[NAME|cdefgh]"), (1, 0, 0))
        self.assertEqual(self.counts("[NAME|abcdef]ghi", "ab[NAME|cdefghi]"), (0, 1, 1))

    def test_each_range_matches_once_and_the_best_pair_first(self):
        one = Example("a", "abcdefghij", (Range("NAME", 0, 6),))
        found = {"a": [Range("NAME", 0, 3), Range("NAME", 4, 6)]}
        self.assertEqual(score([one], found).kinds["NAME"], Counts(1, 1, 0))
        # The mark of 4 characters could match both; it takes the equal one, and the other mark matches nothing.
        one = Example("a", "abcd-efgh", (Range("NAME", 0, 4), Range("NAME", 5, 9)))
        found = {"a": [Range("NAME", 0, 4), Range("NAME", 5, 8)]}
        self.assertEqual(score([one], found).kinds["NAME"], Counts(2, 0, 0))

    def test_edges_do_not_count(self):
        self.assertEqual(joined('("Ann. ', [Range("NAME", 0, 7)]), [Range("NAME", 2, 5)])
        self.assertEqual(joined(" .,", [Range("NAME", 0, 3)]), [])
        result = scored("[NAME|Ann], hello", "[NAME|Ann, ]hello")
        self.assertEqual((result.kinds["NAME"], result.exact["NAME"]), (Counts(1, 0, 0), Counts(1, 0, 0)))

    def test_a_range_that_differs_is_not_exact(self):
        result = scored("[NAME|Ann Lee]", "[NAME|Ann] Lee", scope={"NAME"})
        self.assertEqual(result.exact["NAME"], Counts(0, 1, 1))
        self.assertEqual(result.all, Counts(0, 1, 1), "3 of 7 characters")

    def test_neighbours_of_one_kind_are_one_range(self):
        self.assertEqual(self.counts("[NAME|Ann Lee]", "[NAME|Ann] [NAME|Lee]"), (1, 0, 0))
        self.assertEqual(self.counts("[NAME|Ann], \n[NAME|Lee]", "[NAME|Ann, \nLee]"), (1, 0, 0))
        # Four characters between them are too many, and a letter is no gap.
        self.assertEqual(self.counts("[NAME|Ann]    [NAME|Lee]", "[NAME|Ann]    [NAME|Lee]"), (2, 0, 0))
        self.assertEqual(self.counts("[NAME|Ann] x [NAME|Lee]", "[NAME|Ann] x [NAME|Lee]"), (2, 0, 0))
        self.assertEqual(self.counts("[NAME|Ann] [CITY|Lee]", "[NAME|Ann] [CITY|Lee]"), (1, 0, 0))

    def test_neutral_ranges_are_ignored(self):
        line = "[ORGANIZATION|Lee Ltd.] hired [NAME|Ann]"
        self.assertEqual(self.counts(line, "[NAME|Lee Ltd.] hired [NAME|Ann]"), (1, 0, 0))
        self.assertEqual(self.counts(line, "Lee Ltd. [NAME|hired] [NAME|Ann]"), (0, 1, 1))
        # Most of the finding is outside.
        self.assertEqual(self.counts("[GPE|US] citizen [NAME|Ann]", "[NAME|US citizen] [NAME|Ann]"), (0, 1, 1))
        self.assertEqual(self.counts(line, "[NAME|Lee Ltd.] hired [NAME|Ann]", neutral=frozenset()), (1, 1, 0))

    def test_a_finding_that_touches_its_kind_is_not_ignored(self):
        one = Example("a", "Lee Holding", (Range("ORGANIZATION", 0, 11), Range("NAME", 0, 3)))
        self.assertEqual(score([one], {"a": [Range("NAME", 0, 11)]}).kinds["NAME"], Counts(0, 1, 1))

    def test_other_kinds_do_not_count_unless_the_scope_has_them(self):
        self.assertEqual(scored("Ann, [NAME|Bob]", "[CITY|Ann], [NAME|Bob]").all, Counts(1, 0, 0))
        result = scored("Ann, [NAME|Bob]", "[CITY|Ann], [NAME|Bob]", scope={"NAME", "CITY"})
        self.assertEqual((result.all, result.wrong), (Counts(1, 1, 0), ["a"]))


class Sums(unittest.TestCase):
    examples = [
        example("[NAME|Ann] called", "1"),
        example("nobody called", "2"),
        example("nothing at all", "3"),
        example("[GPE|France] won, [NAME|Bob] lost", "4"),
    ]
    findings = {"1": [Range("NAME", 0, 3)], "2": [Range("NAME", 0, 6)], "4": [Range("NAME", 0, 6)]}

    def test_texts_without_marks_are_clean(self):
        result = score(self.examples, self.findings)
        self.assertEqual((result.texts, result.clean, result.touched), (4, 2, 1))
        self.assertEqual(result.wrong, ["2", "4"])

    def test_precision_recall_and_f1(self):
        result = score(self.examples, self.findings)
        self.assertEqual(result.all, Counts(1, 1, 1))
        self.assertEqual((result.all.precision, result.all.recall, result.all.f1), (0.5, 0.5, 0.5))
        self.assertEqual((Counts().precision, Counts().recall, Counts().f1), (0.0, 0.0, 0.0))
        self.assertAlmostEqual(Counts(3, 1, 0).f1, 2 * 0.75 * 1 / 1.75)

    def test_characters_count_whatever_their_kind(self):
        result = score([example("[NAME|Ann] in [CITY|Rome]")], {"a": [Range("CITY", 0, 3), Range("NAME", 4, 9)]})
        # Of the 7 marked characters, 3 and 2 are found, and so are 3 that are not marked: `in `.
        self.assertEqual(result.characters, Counts(5, 3, 2))


class Lists(unittest.TestCase):
    def test_marks_are_read(self):
        line = "# comment\n\ntwo [A] [NAME|Ann [x] Lee]\\n[[EMAIL|a@b.org]]\n"
        [one] = datasets.read_marked(line)
        self.assertEqual((one.id, one.text), ("line 3", "two [A] Ann [x] Lee\n[a@b.org]"))
        self.assertEqual(one.marks, (Range("NAME", 8, 19), Range("EMAIL", 21, 28)))

    def test_sets_are_found_in_a_folder(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "below").mkdir()
            line = '{"id": 7, "text": "Ann\\u2028Lee", "spans": [[0, 3, "NAME"]]}\n'
            (folder / "below/hard-1.jsonl").write_text(line)
            (folder / "hard-2.jsonl").write_text(line)
            sets = {one: datasets.load(one, folder, HERE.parents[1]) for one in datasets.DATASETS}
            named = {one.name: found for one, found in sets.items()}
            examples, files = named["hard"]
            self.assertEqual(files, ["below/hard-1.jsonl", "hard-2.jsonl"])
            self.assertEqual([one.id for one in examples], ["hard-1.jsonl:7", "hard-2.jsonl:7"])
            self.assertEqual(examples[0].marks, (Range("NAME", 0, 3),))
            self.assertEqual(named["wnut"], ([], []))
            self.assertGreater(len(named["own-hard"][0]), 200)
            (folder / "hard-2.jsonl").write_text('{"id": 7}\n')
            self.assertRaisesRegex(Failed, "hard-2.jsonl:1: ", datasets.load, datasets.DATASETS[3], folder, HERE)

    def test_kinds_are_renamed(self):
        [clinical] = [one for one in datasets.DATASETS if one.name == "clinical"]
        self.assertEqual(clinical.kind("ADDRESS", "masker"), "LOC")
        self.assertEqual(clinical.kind("ORGANIZATION", "masker"), "ORGANIZATION")
        self.assertEqual(clinical.kind("ORGANIZATION", "Presidio"), "LOC")


class Texts(unittest.TestCase):
    def test_notes_have_their_size_and_their_values(self):
        for number, note in texts.notes(0, 50) + texts.notes(90_000, 5):
            self.assertLess(abs(len(note) - texts.BYTES), 100)
            for sentence in texts.sentences(number):
                self.assertEqual(" ".join(note.split()).count(sentence), 1)

    def test_values_differ_between_notes(self):
        # The name is one of some thousands.
        seen = [sentence for number in range(40_000) for sentence in texts.sentences(number)[1:]]
        self.assertEqual(len(seen), len(set(seen)))

    def test_joined_texts_are_as_long_as_asked(self):
        short = ["word " * 20] * 200
        long = texts.joined(short)
        self.assertTrue(all(texts.BYTES - 101 < len(text) <= texts.BYTES for text in long))
        self.assertEqual(set("".join(long).splitlines()), set(short))

    def test_blobs_are_base64_and_an_address(self):
        for number, blob in texts.blobs(4):
            *lines, address = blob.split()
            self.assertEqual(len(lines), 54 if number % 2 else 1)
            self.assertEqual(len("".join(lines)), texts.BYTES)
            self.assertEqual(address, f"ann.{number:04}@mail-host.net")


class Goals(unittest.TestCase):
    def run_of(self, **more):
        score = {"kinds": {"NAME": [9, 1, 1], "MRN": [19, 1, 1], "FAX": [0, 0, 1]}, "exact": {}, "characters": [1, 0, 0]}
        score |= {"texts": 10, "clean": 4, "touched": 1, "wrong": ["a", "b"]}
        sets = {"clinical": {"title": "t", "files": ["f"], "detectors": {"masker": score}}}
        return {"detectors": ["masker"], "scores": sets, "speed": {}, "vault": {}} | more

    def test_figures_are_those_of_the_sets(self):
        figures = goals.Figures(self.run_of())
        self.assertAlmostEqual(figures.micro_f1("clinical"), 56 / 61)
        self.assertEqual(figures.touched("clinical"), 25)
        self.assertAlmostEqual(figures.texts_right("clinical"), 80)
        # One value of FAX is too few to count.
        self.assertAlmostEqual(figures.lowest_f1("clinical", goals.LABELLED_KINDS), 0.95)
        self.assertIsNone(figures.micro_f1("generated"))

    def test_the_table_says_met_missed_and_not_measured(self):
        table = report.goals_table(self.run_of())
        self.assertIn("| micro F1, ASQ-PHI clinical queries | ≥ 0.88 | 0.918 | met |", table)
        self.assertIn("| clean clinical queries touched | ≤ 5 % | 25.0 % | missed |", table)
        self.assertIn("| F1 of NAME, WNUT17 | ≥ 0.5 | – | not measured |", table)

    def test_the_vault_is_compared_with_detection_alone(self):
        series = {"detection alone": [10, 11, 12], "mask, new values": [5, 9, 6.6], "mask, known values": [11, 11, 11]}
        figures = goals.Figures(self.run_of(vault={"series": series}))
        self.assertAlmostEqual(figures.vault_to_alone("mask, new values"), 0.6)


if __name__ == "__main__":
    unittest.main()

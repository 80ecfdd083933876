"""Makes texts of about 4 kB with ten values, and joins short texts to texts of that size."""

import base64
import random

BYTES = 4096
FINDINGS = 10

# Prose without personal data. A run checks that the detector finds the ten values and nothing else.
PROSE = (
    "The patient slept well and ate half of the breakfast without nausea.",
    "Pain is rated three of ten at rest and five of ten with movement.",
    "The lungs are clear on both sides, and the abdomen is soft and not tender.",
    "The wound is dry, the edges are close together, and there is no redness.",
    "We discussed the risks of the procedure, and all questions were answered.",
    "The dose was lowered because the blood pressure had been low in the morning.",
    "Physical therapy walked with the patient to the end of the hall and back.",
    "The family asked about the plan for the weekend and agreed with it.",
    "No new medication was started; the antibiotic ends after the last dose tonight.",
    "The laboratory reported a slightly low sodium, which will be checked again.",
    "Please bring a list of all medications and the letter of the insurance.",
    "The results of the scan were explained, and a copy was handed out.",
    "The appetite is better than last week, and the weight has not changed.",
    "There was no fever overnight, and the heart rate was regular.",
    "A follow-up visit is planned after the stitches have been removed.",
    "The nurse explained how to change the dressing and when to call for help.",
)
FIRST = ("Alice", "Maria", "Thomas", "Daniel", "Laura", "Kevin", "Susan", "Robert", "Emily", "Peter", "Sarah", "James")
LAST = ("Turner", "Lopez", "Becker", "Miller", "Novak", "Hughes", "Carter", "Nguyen", "Walsh", "Jensen", "Foster", "Weber")
# Area codes whose numbers with the exchange 555 are made up.
AREAS = ("212", "312", "415", "617", "646", "773", "202", "305", "206", "404")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def sentences(number):
    """Returns ten sentences, each with one value that no other number has (the names repeat after some thousands)."""
    first, last = FIRST[number % len(FIRST)], LAST[number // len(FIRST) % len(LAST)]
    middle = LETTERS[number // (len(FIRST) * len(LAST)) % len(LETTERS)]
    area, line = AREAS[number % len(AREAS)], number // len(AREAS) % 10_000
    return (
        f"Dr. {first} {middle}. {last} will see the patient again tomorrow.",
        f"Phone: ({area}) 555-{line:04}.",
        f"Fax: {area}-556-{line:04}.",
        f"Write to {last.lower()}.{number:07}@mail-host.net if there is a question.",
        f"MRN: {number:08}.",
        f"Member ID: XQH{number:09}.",
        f"Account number: {number:010}.",
        f"Serial number: SN-{number:07}-A.",
        f"Passport no. X{number:08}.",
        f"The second address is {first.lower()}-{number:07}@clinic-post.org for the results.",
    )


def note(number):
    """Returns a text with ten values, spread over prose."""
    rng = random.Random(number)
    values = sentences(number)
    prose, size = [], sum(len(sentence) + 1 for sentence in values)
    while size < BYTES - 40:
        prose.append(rng.choice(PROSE))
        size += len(prose[-1]) + 1
    until = [len(prose) * (position + 1) // len(values) for position in range(len(values))]
    parts = []
    for value, start, end in zip(values, [0, *until], until):
        parts += [*prose[start:end], value]
    return "\n".join(" ".join(parts[at : at + 4]) for at in range(0, len(parts), 4)) + "\n"


def notes(first, count):
    """Returns texts with their numbers as ids. Different numbers have different values."""
    return [(number, note(number)) for number in range(first, first + count)]


def joined(texts):
    """Joins texts, one a line, to texts of about the size. The last ones are left out if they are too few."""
    result, lines, size = [], [], 0
    for text in texts:
        length = len(text.encode()) + 1
        if lines and size + length > BYTES:
            result.append("\n".join(lines) + "\n")
            lines, size = [], 0
        lines.append(text)
        size += length
    return result


def blobs(count):
    """Returns texts of base64, half of them in lines as in mails, with their numbers as ids. Each ends with an email address."""
    result = []
    for number in range(count):
        blob = base64.b64encode(random.Random(number).randbytes(BYTES * 3 // 4)).decode()
        lines = [blob[at : at + 76] for at in range(0, len(blob), 76)] if number % 2 else [blob]
        result.append((number, "\n".join(lines) + f"\nann.{number:04}@mail-host.net\n"))
    return result

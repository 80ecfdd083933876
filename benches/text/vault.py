"""Measures masking through the daemon and its vault against detection alone: the same texts, in turn, on two cores."""

import contextlib
import http.client
import itertools
import json
import os
import threading
import time

from detectors import write_texts
from masker import VAULT, MaskerServer
from process import Failed, UnixConnection
from texts import FINDINGS, notes

CORES = 2
TEXTS_PER_REQUEST = 16
CONNECTIONS = 8
ENGINE = "fjall"
MASK, DETECT = "/api/v1/text/mask", "/api/v1/text/detect"


def measure(workplace, detector, rounds, texts):
    """Returns the rates of each case, in bytes of text a second, by round."""
    with workplace.place(), two_cores() as cores:
        daemon = workplace.serve(MaskerServer, ENGINE, scopes=["*"])
        workplace.say(f"mask through the vault, {rounds} rounds of {texts:,} texts")
        series = {name: [] for name in ("detection alone", "mask, new values", "mask, known values", "detect")}
        # The first round warms up.
        for number in range(rounds + 1):
            batch = notes(number * texts, texts)
            rates = measure_round(workplace, daemon, detector, batch)
            for name, rate in rates.items() if number else ():
                series[name].append(rate)
        return {
            "cores": cores,
            "texts": texts,
            "rounds": rounds,
            "engine": ENGINE,
            "requests": f"{TEXTS_PER_REQUEST} texts a request, {CONNECTIONS} connections",
            "series": series,
        }


def measure_round(workplace, daemon, detector, batch):
    file = write_texts(workplace.data / "texts.jsonl", batch)
    # Each thread searches every text once.
    alone = detector.measure(file, 0, CORES)
    found = alone["findings"] / alone["texts"]
    if abs(found - FINDINGS) > 0.5:
        raise Failed(f"the detector finds {found:.2f} values in a text, and not {FINDINGS}: mend the texts in texts.py")
    bodies = requests(batch)
    size = sum(len(text.encode()) for _, text in batch)
    return {
        "detection alone": alone["bytes"] / alone["seconds"],
        "mask, new values": size / load(daemon, MASK, bodies),
        "mask, known values": size / load(daemon, MASK, bodies),
        "detect": size / load(daemon, DETECT, bodies),
    }


def requests(batch):
    """Returns the bodies of requests with these texts."""
    texts = [text for _, text in batch]
    parts = [texts[at : at + TEXTS_PER_REQUEST] for at in range(0, len(texts), TEXTS_PER_REQUEST)]
    return [json.dumps({"policy": VAULT, "texts": part}, ensure_ascii=False).encode() for part in parts]


def check(workplace):
    """Fails if the daemon has no routes for texts, or does not mask and restore one."""
    with workplace.place():
        check_routes(workplace.serve(MaskerServer, ENGINE, scopes=["*"]))


def check_routes(daemon):
    [(_, text)] = notes(0, 1)
    for path in (MASK, DETECT):
        try:
            _, answer = daemon.ask("POST", path, {"policy": VAULT, "text": text})
        except Failed as failed:
            if "with 404" in str(failed):
                raise Failed(f"this masker has no route POST {path}: the part `vault` needs a version that masks texts") from None
            raise
        findings = answer["results"][0]["findings"]
        if len(findings) != FINDINGS:
            raise Failed(f"{path} finds {len(findings)} values, and not {FINDINGS}")
    restored = daemon.ask("POST", "/api/v1/text/restore", {"text": masked_text(daemon, text)})[1]["results"][0]
    if restored["text"] != text:
        raise Failed("masker did not restore the text")


def masked_text(daemon, text):
    masked = daemon.ask("POST", MASK, {"policy": VAULT, "text": text})[1]["results"][0]["text"]
    if masked == text:
        raise Failed("masker did not mask the text")
    return masked


def load(daemon, path, bodies):
    """Sends all requests over the connections, one at a time on each. Returns the seconds until the last response."""
    waiting, lock = iter(bodies), threading.Lock()
    failures = []

    def work():
        connection = UnixConnection(daemon.socket)
        try:
            while not failures:
                with lock:
                    body = next(waiting, None)
                if body is None:
                    return
                connection.request("POST", path, body, {"content-type": "application/json"})
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200 or b'"error":' in answer:
                    failures.append(f"{path} answered with {response.status}: {answer[:300]!r}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{path}: {error!r}")
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(failures[0])
    return time.monotonic() - began


@contextlib.contextmanager
def two_cores():
    """Runs this process, and those that it starts, on two cores. Yields how many there are."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(itertools.islice(sorted(before), CORES)))
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)

"""The parts of a run. Each starts its servers, measures, and returns its rows by name."""

import json
import threading

import load
from masker import STATELESS, VAULT
from servers import Floor, Masker, OpenBao, StoreAlone

BATCH = 1_000
# The batch sizes among which OpenBao's fastest is chosen.
BAO_BATCHES = (100, 300, 1_000, 3_000, 10_000)
TRY_SECONDS = 3
# A kind of the policy whose values have no form rows.
EXACT_KIND = "URL"
# The seed of the values that the vault knows after `fill`.
KNOWN_SEED = 1


def values(count):
    """Returns distinct telephone numbers."""
    return [f"+1415555{number:04}" for number in range(count)]


def request_file(bench, name, body):
    """Writes a request body to a file for h2load."""
    file = bench.data / f"{name}.json"
    file.write_text(json.dumps(body, separators=(",", ":")))
    return file


def case(bench, server, name, request, connections, count):
    """Returns a function that loads a server with one request for some seconds."""
    path, body = request
    file = request_file(bench, f"{server.name}-{name}", body)
    return lambda seconds: load.h2load(bench, server, path, file, connections, count, seconds)


def floor(bench, masker, requests):
    """Starts the floor with masker's responses to these requests."""
    answers = {name: masker.ask("POST", *request) for name, request in requests.items()}
    return bench.serve(Floor, answers)


def plural(count, what):
    return f"{count:,} {what}{'s' * (count != 1)}"


def single(bench):
    """Measures requests of one value, without the vault."""
    masker, bao = bench.serve(Masker), bench.serve(OpenBao)
    one = values(1)
    requests = {"tokenize": masker.tokenize_request(one), "rehydrate": masker.rehydrate_request(one)}
    others = {"tokenize": bao.tokenize_request(one), "rehydrate": bao.rehydrate_request(one)}
    nothing = floor(bench, masker, requests)
    rows = {}
    for connections in (16, 1):
        for name, request in requests.items():
            cases = {
                "masker": case(bench, masker, name, request, connections, 1),
                "OpenBao": case(bench, bao, name, others[name], connections, 1),
                "floor": case(bench, nothing, name, (f"/{name}", request[1]), connections, 1),
            }
            title = f"stateless {name}, 1 value, {plural(connections, 'connection')}"
            rows[f"single-{name}-{connections}"] = bench.alternate(title, cases)
    return rows


def batch(bench):
    """Measures requests of 1,000 values without the vault, and OpenBao with its fastest batch size."""
    masker, bao = bench.serve(Masker), bench.serve(OpenBao)
    many = values(BATCH)
    requests = {"tokenize": masker.tokenize_request(many), "rehydrate": masker.rehydrate_request(many)}
    nothing = floor(bench, masker, requests)
    plain = bench.data / "values"
    plain.write_text("\n".join(many))
    rows = {}
    for name, request in requests.items():
        bao_case, tried = best_batch(bench, bao, name)
        cases = {
            "masker": case(bench, masker, name, request, 4, BATCH),
            "OpenBao": bao_case,
            "floor": case(bench, nothing, name, (f"/{name}", request[1]), 4, BATCH),
            "crypto, one core": lambda seconds, name=name: load.crypto(bench, plain, name, seconds),
        }
        row = bench.alternate(f"stateless {name}, {BATCH:,} values, 4 connections", cases)
        rows[f"batch-{name}"] = row | {"OpenBao's batches": tried}
    return rows


def best_batch(bench, bao, name):
    """Returns the case of OpenBao's fastest batch size, and the rate of each size."""
    tried = {}
    cases = {}
    for size in BAO_BATCHES:
        many = [f"+1415{number:07}" for number in range(size)]
        request = bao.tokenize_request(many) if name == "tokenize" else bao.rehydrate_request(many)
        cases[size] = case(bench, bao, f"{name}-{size}", request, 4, size)
        try:
            tried[size] = cases[size](TRY_SECONDS).values_per_second
        except load.Unanswered:
            tried[size] = 0.0
    best = max(tried, key=tried.get)
    bench.say(f"OpenBao's best batch is {best:,}: " + ", ".join(f"{n:,}: {rate:,.0f}/s" for n, rate in tried.items()))
    return cases[best], tried


def known(bench):
    """Measures requests of 1,000 known values or tokens, with and without the vault."""
    rows = {}
    stateless = bench.serve(Masker)
    for engine in bench.engines:
        vault = bench.serve(Masker, engine, f"vault-{engine}")
        fill(bench, vault, bench.records)
        for operation in ("tokenize", "rehydrate"):
            cases = {
                f"masker, {engine}": known_case(vault, operation, VAULT),
                "masker, stateless": known_case(stateless, operation, STATELESS),
            }
            title = f"{operation} of known values, {bench.records:,} records, {BATCH:,} values, 4 connections"
            rows[f"known-{operation}-{engine}"] = bench.alternate(title, cases)
        vault.stop()
    return rows


def known_case(server, operation, policy, size=BATCH, kind=load.BENCH_KIND):
    """Returns a function that cycles through the 256 different requests of `cargo xtask bench`."""
    return lambda seconds: load.xtask_bench(server, operation, policy, 4, size, seconds, seed=KNOWN_SEED, kind=kind)


def mint_case(server, connections, size, kind=load.BENCH_KIND):
    return lambda seconds: load.xtask_bench(server, "mint", VAULT, connections, size, seconds, kind=kind)


def fill(bench, server, records, known=BATCH):
    """Fills a vault with at least `records` records, including those of the known values in batches of `known`."""
    bench.say(f"{server.name}: filling with {records:,} records")
    load.xtask_bench(server, "tokenize", VAULT, 4, known, 1, seed=KNOWN_SEED)
    while (there := server.ask("GET", "/api/v1/vault/stats")[1]["records"]) < records:
        # One second writes tens of thousands of records, so the last steps are short.
        load.xtask_bench(server, "mint", VAULT, 4, BATCH, 10 if records - there > 500_000 else 1)


def mints(bench):
    """Measures durable mints of new values, compared with durable writes of the store alone."""
    rows = {}
    for engine in bench.engines:
        vault = bench.serve(Masker, engine, f"mints-{engine}")
        store = bench.serve(StoreAlone, engine, bench.records // 5)
        fill(bench, vault, bench.records // 5)
        cases = {f"masker, {engine}": mint_case(vault, 4, BATCH), f"{engine} alone": store.measure}
        title = f"mints of new values, {BATCH:,} values, 4 connections"
        rows[f"mint-batch-{engine}"] = bench.alternate(title, cases)
        rows |= index_rows(bench, vault, engine)
        cases = {f"masker, {engine}, {plural(n, 'connection')}": mint_case(vault, n, 1) for n in (64, 1)}
        rows[f"mint-single-{engine}"] = bench.alternate("mints of new values, 1 value", cases)
        store.stop()
        vault.stop()
    return rows


def index_rows(bench, vault, engine):
    """Measures what form rows cost: a value of a kind with a normalizer has two index rows, one with `exact` has one."""
    kinds = {"a normalizer": load.BENCH_KIND, "`exact`": EXACT_KIND}
    cases = {f"masker, {engine}, {what}": mint_case(vault, 4, BATCH, kind) for what, kind in kinds.items()}
    title = f"mints with and without form rows, {BATCH:,} values, 4 connections"
    rows = {f"mint-index-rows-{engine}": bench.alternate(title, cases)}
    cases = {f"masker, {engine}, {what}": known_case(vault, "tokenize", VAULT, kind=kind) for what, kind in kinds.items()}
    title = f"tokenize of known values with and without form rows, {BATCH:,} values, 4 connections"
    return rows | {f"known-index-rows-{engine}": bench.alternate(title, cases)}


def metrics(bench):
    """Measures the effect of metrics scrapes on requests."""
    masker = bench.serve(Masker)
    request = masker.tokenize_request(values(1))
    plain = case(bench, masker, "tokenize", request, 16, 1)
    cases = {"masker": plain}
    for often in (1, 10):
        cases[f"masker, metrics asked for {often} × a second"] = lambda seconds, often=often: scraped(
            masker, plain, seconds, often
        )
    return {"metrics": bench.alternate("stateless tokenize, 1 value, 16 connections", cases)}


def scraped(server, run, seconds, often):
    """Runs a slice while the metrics are scraped `often` times per second."""
    done = threading.Event()
    failures = []

    def scrape():
        while not done.wait(1 / often):
            try:
                server.ask("GET", "/metrics")
            except Exception as failed:
                failures.append(failed)

    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        return run(seconds)
    finally:
        done.set()
        scraper.join()
        if failures:
            raise failures[0]

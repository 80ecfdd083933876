"""The performance targets. Each is computed from the series of one or two rows of a run."""

from dataclasses import dataclass
from statistics import median
from typing import Callable

MEBIBYTE = 1 << 20
# The default size of the store's cache, which the memory target excludes.
CACHE_MEBIBYTES = 128


class Figures:
    """The medians of a run, by row and series."""

    def __init__(self, rows):
        self.rows = rows

    def of(self, row, series, what="values_per_second"):
        return median(one[what] for one in self.rows[row]["series"][series])


@dataclass
class Target:
    """A bound for the result of `reach`: a minimum, or a maximum if `at_most`."""

    what: str
    rows: tuple
    reach: Callable
    bound: float
    at_most: bool = False
    unit: str = " ×"

    def holds(self, reached):
        return reached <= self.bound if self.at_most else reached >= self.bound

    def format(self, number):
        digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
        return f"{number:,.{digits}f}{self.unit}"

    def format_bound(self):
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}{self.unit}"


def ratio(row, over, under, what="values_per_second"):
    return lambda f: f.of(row, over, what) / f.of(row, under, what)


def all_targets(engines, cores):
    """Returns all targets in the order of the table, which omits those that were not measured."""
    targets = []
    add = lambda *words, **more: targets.append(Target(*words, **more))
    for operation in ("tokenize", "rehydrate"):
        row = f"single-{operation}-16"
        add(f"{operation}, 1 value, 16 connections, to OpenBao", (row,), ratio(row, "masker", "OpenBao"), 11)
        add(f"{operation}, 1 value, 16 connections, to the floor", (row,), ratio(row, "masker", "floor"), 0.85)
    for operation in ("tokenize", "rehydrate"):
        row = f"single-{operation}-1"
        p50 = lambda against, row=row: ratio(row, "masker", against, "p50")
        add(f"{operation}, 1 value, 1 connection, p50 to the floor's", (row,), p50("floor"), 1.25, at_most=True)
        add(f"{operation}, 1 value, 1 connection, p50 to OpenBao's", (row,), p50("OpenBao"), 0.125, at_most=True)
    for operation in ("tokenize", "rehydrate"):
        row = f"batch-{operation}"
        add(f"{operation}, 1,000 values, to OpenBao's best batch", (row,), ratio(row, "masker", "OpenBao"), 15)
        crypto = lambda f, row=row: f.of(row, "masker") / (cores * f.of(row, "crypto, one core"))
        add(f"{operation}, 1,000 values, to the cryptography alone on {cores} cores", (row,), crypto, 0.5)
    for engine in engines:
        name = f"masker, {engine}"
        for operation in ("tokenize", "rehydrate"):
            row = f"known-{operation}-{engine}"
            reach = ratio(row, name, "masker, stateless")
            add(f"{operation} from the vault on {engine}, 1,000 known values, to stateless", (row,), reach, 0.5)
        row = f"mint-batch-{engine}"
        reach = ratio(row, name, f"{engine} alone")
        add(f"durable mints on {engine}, 1,000 values, to the store alone", (row,), reach, 0.7)
        row = f"mint-single-{engine}"
        reach = ratio(row, f"{name}, 64 connections", f"{name}, 1 connection")
        add(f"durable mints on {engine}, 1 value, 64 connections to 1", (row,), reach, 20)
    scraped = ratio("metrics", "masker, metrics asked for 1 × a second", "masker")
    add("tokenize with a scrape of the metrics every second, to without", ("metrics",), scraped, 0.97)
    for engine in engines:
        targets += large_targets(engine)
    return targets


def large_targets(engine):
    row, facts = f"growth-tokenize-{engine}", f"growth-{engine}"
    large, small = f"masker, {engine}, large", f"masker, {engine}, small"
    beside = lambda f: max(f.rows[facts]["resident_bytes"].values()) / MEBIBYTE - CACHE_MEBIBYTES
    disk = lambda f: f.rows[facts]["bytes_on_disk"] / f.rows[facts]["bytes_on_disk_alone"]
    start = lambda f: f.rows[facts]["start_seconds"]
    targets = [
        Target(f"memory on {engine} without the cache", (facts,), beside, 400, at_most=True, unit=" MiB"),
        Target(f"disk on {engine}, to the store alone", (facts,), disk, 1.3, at_most=True),
        Target(f"start on {engine}", (facts,), start, 5, at_most=True, unit=" s"),
    ]
    for operation in ("tokenize", "rehydrate", "mint"):
        row = f"growth-{operation}-{engine}"
        what = f"{operation} on {engine}, values/s, large vault to small vault"
        targets.append(Target(what, (row,), ratio(row, large, small), 0.6))
    return targets

#!/usr/bin/env python3
"""Measures masker against OpenBao, against a server that does nothing, and against its own cryptography and store.

Everything is measured on this machine in one run, in turn, over Unix sockets, by the same generator. `make bench-peers`
calls it; benches/peers/RESULTS.md is what it writes.
"""

import argparse
import sys

import parts
from bench import Bench
from process import Failed

PARTS = {"single": parts.single}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="short and few slices: to see that it works")
    options = arguments.parse_args()
    bench = Bench(rounds=3, seconds=1, records=20_000, engines=["sled"])
    for name, part in PARTS.items():
        with bench.place():
            part(bench)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"bench-peers: {failed}")

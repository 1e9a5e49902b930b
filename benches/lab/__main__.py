"""Measures the workloads that were asked for, one after another, and says what holds."""

import importlib
import os
import sys
import time

import machine
import report

WORKLOADS = {
    "A": "saturated",
    "B": "real_server",
    "C": "paced",
    "D": "latency",
    "E": "names",
    "F": "publishing",
    "G": "promises",
    "H": "requests",
    "I": "wrappers",
}


def main() -> int:
    if sys.argv[1:] == ["--write"]:
        report.write_page()
        return 0
    only = os.environ.get("ONLY") or "".join(WORKLOADS)
    rounds = int(os.environ.get("ROUNDS") or 5)
    unknown = sorted(set(only.upper()) - set(WORKLOADS))
    if unknown:
        print(f"there is no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    print(report.machine_line(), file=sys.stderr)
    results = []
    for letter in WORKLOADS:
        if letter not in only.upper():
            continue
        began = time.monotonic()
        workload = importlib.import_module(WORKLOADS[letter])
        result = report.Result(letter, workload.TITLE, rounds)
        with machine.Workshop() as workshop:
            try:
                workload.measure(workshop, result, rounds)
            except machine.Failed as failure:
                result.failure = str(failure)
        result.seconds = time.monotonic() - began
        result.save()
        print(result.text())
        sys.stdout.flush()
        results.append(result)
    print(report.tally(results))
    return 1 if any(r.failure for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""What was measured, as tables for a person and as JSON; and whether it is what is promised."""

import json
import os
import platform
import statistics
import sys
from pathlib import Path

from machine import CPUS, OUT

PAGE = Path("docs/benchmarks.md")
BEGIN, END = "<!-- figures: written by benches/run --write -->", "<!-- end of figures -->"


def machine_line():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{platform.system()} {platform.release().partition('-')[0]}, {len(CPUS)} CPUs, {model}"


def median(values):
    return statistics.median(values)


def short(value):
    """Three digits that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head, rows):
    """A table of markdown that is also one on a terminal; the first column is text."""
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    pad = lambda row: [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join("| " + " | ".join(r) + " |" for r in [pad(head), rule, *map(pad, rows)])


class Case:
    """Figures of several clients that were taken in turns: one list a client, one entry a round."""

    def __init__(self, title, columns, note=""):
        self.title, self.columns, self.note = title, columns, note
        self.runs = {}
        self.skipped = {}

    def add(self, client, figures):
        self.runs.setdefault(client, []).append(figures)

    def of(self, client, key):
        return median([run[key] for run in self.runs[client]])

    def has(self, *clients):
        return all(self.runs.get(c) for c in clients)

    def ratio(self, a, b, key="cpu_per"):
        return self.of(a, key) / self.of(b, key) if self.has(a, b) else None

    def fewer(self, rounds):
        """What is said of a table that has not as many rounds as its workload."""
        had = sorted({len(runs) for runs in self.runs.values() if runs})
        if had in ([], [rounds]):
            return ""
        return f"Rounds of this table: {' to '.join(map(str, had))}, where the others of this workload have {rounds}."

    def text(self, rounds):
        """columns: (heading, key, scale). The first has its least and most beside it and its ratio to the first row."""
        heading, key, scale = self.columns[0]
        measured = {client: runs for client, runs in self.runs.items() if runs}
        first = next(iter(measured))
        head = ["", heading, "least..most", f"x {first}", *[c[0] for c in self.columns[1:]]]
        rows, fewer = [], self.fewer(rounds)
        for client, runs in measured.items():
            values = [run[key] * scale for run in runs]
            row = [client, short(median(values)), f"{short(min(values))}..{short(max(values))}"]
            row.append(short(self.of(client, key) / self.of(first, key)) if self.of(first, key) else "")
            for _, other, by in self.columns[1:]:
                row.append(short(self.of(client, other) * by) if other in runs[0] else "")
            rows.append(row)
        skipped = [f"{client} skipped: {why}" for client, why in self.skipped.items()]
        return "\n\n".join(p for p in [f"### {self.title}", self.note, table(head, rows), fewer, *skipped] if p)


class Result:
    """A workload's cases, and its promises: each a figure of this run with its bound."""

    def __init__(self, letter, title, rounds):
        self.letter, self.title, self.rounds = letter, title, rounds
        self.cases, self.promises, self.seconds = [], [], 0.0
        self.failure = None

    def case(self, *arguments, **named):
        self.cases.append(Case(*arguments, **named))
        return self.cases[-1]

    def promise(self, what, figure, bound, aim=None, unit="x", at_least=False):
        """bound: what must hold. aim: what we would like. A figure of None was not measured here."""
        if figure is None:
            verdict = "skipped"
        elif (figure >= bound) if at_least else (figure <= bound):
            verdict = "ok"
        else:
            verdict = "over" if not at_least else "under"
        self.promises.append(
            {"what": what, "figure": figure, "bound": bound, "aim": aim, "unit": unit, "at_least": at_least, "verdict": verdict}
        )

    def bounds_text(self):
        rows = []
        for p in self.promises:
            sign = ">=" if p["at_least"] else "<="
            reached = p["aim"] is not None and p["figure"] is not None and p["figure"] <= p["aim"]
            rows.append(
                [
                    p["what"],
                    "" if p["figure"] is None else f"{short(p['figure'])} {p['unit']}",
                    f"{sign} {short(p['bound'])}",
                    "" if p["aim"] is None else short(p["aim"]),
                    p["verdict"] + (", aim reached" if p["verdict"] == "ok" and reached else ""),
                ]
            )
        return table(["promise", "figure", "bound", "aim", ""], rows) if rows else ""

    def text(self):
        parts = [f"## {self.letter}: {self.title}"]
        parts += [case.text(self.rounds) for case in self.cases if any(case.runs.values())]
        parts.append(self.bounds_text())
        most = "" if not any(case.fewer(self.rounds) for case in self.cases) else ", but where a table has fewer"
        parts.append(f"Medians of {self.rounds} rounds in turns{most}; {self.seconds:.0f} s.")
        if self.failure:
            parts.append(f"FAILED: {self.failure}. What stands above is what was measured before.")
        return "\n\n".join(p for p in parts if p) + "\n"

    def save(self):
        OUT.mkdir(parents=True, exist_ok=True)
        document = {
            "workload": self.letter,
            "title": self.title,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 1),
            "machine": machine_line(),
            "options": os.environ.get("REDMUX_BENCH_OPTIONS", ""),
            "cases": [{"title": c.title, "runs": c.runs, "skipped": c.skipped} for c in self.cases],
            "promises": self.promises,
            "failure": self.failure,
            "text": self.text(),
        }
        (OUT / f"{self.letter}.json").write_text(json.dumps(document, indent=1) + "\n")


def tally(results):
    verdicts = [p["verdict"] for r in results for p in r.promises]
    failed = [r.letter for r in results if r.failure]
    missed = sum(v in ("over", "under") for v in verdicts)
    return f"{verdicts.count('ok')} promises kept, {missed} not, {verdicts.count('skipped')} skipped; figures in {os.path.relpath(OUT)}" + (
        f"; FAILED: {', '.join(failed)}" if failed else ""
    )


def write_page():
    """Puts the figures of the last runs between the marks of the page."""
    documents = [json.loads(f.read_text()) for f in sorted(OUT.glob("?.json"))]
    if not documents:
        sys.exit("there are no figures yet: run make bench")
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or END not in rest:
        sys.exit(f"{PAGE} has no place for figures")
    machines = sorted({d["machine"] for d in documents})
    figures = "\n\n".join([f"Measured on {'; '.join(machines)}.", *[d["text"].strip() for d in documents]])
    PAGE.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}")
    print(f"wrote the figures of {', '.join(d['workload'] for d in documents)} into {PAGE}")

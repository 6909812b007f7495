"""Every operator test of the installed onnx package, through Bottega's compiler.

    .venv/bin/python benchmarks/onnx_nodes.py [--only PATTERN] [--json] [--list VERDICT]

A test is a graph of one operator, or the same operator written out in simpler ones, with inputs and the outputs that
the standard asks for. Each is compiled as it stands. Where that is refused, it is compiled again with every input but
the first as a constant: shapes and axes are constants in exported models, and code whose loops have known ends needs
them to be. A test passes where datatypes, shapes and values are right; it is unsupported where Bottega says that it
does not compile it; anything else, a crash among it, is wrong, and the exit status is 1.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conformance.cases import Case, load_cases, with_constants
from conformance.worker import PASSED, UNSUPPORTED, WRONG, Outcome, run_cases

VERDICTS = (PASSED, UNSUPPORTED, WRONG)


def main() -> int:
    options = _options()
    started = time.monotonic()
    cases = [case for case in load_cases() if re.search(options.only, case.name)]
    rows = run_all(cases)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(table(rows))
        print(f"{len(rows)} tests in {time.monotonic() - started:.0f} s")
    for row in rows:
        if row["verdict"] in (options.list, WRONG):
            print(f"{row['verdict']} {row['test']} ({row['inputs']}): {row['reason']}", file=sys.stderr)
    return int(any(row["verdict"] == WRONG for row in rows))


def run_all(cases: Sequence[Case]) -> list[dict]:
    """One row for each test: its verdict, and whether its later inputs had to be constants."""
    rows = [_row(case, "as given", outcome) for case, outcome in zip(cases, run_cases(cases), strict=True)]
    again = [(place, with_constants(cases[place])) for place, row in enumerate(rows) if row["verdict"] == UNSUPPORTED]
    again = [(place, case) for place, case in again if case is not None]
    outcomes = run_cases([case for _, case in again])
    for (place, case), outcome in zip(again, outcomes, strict=True):
        rows[place] = _row(case, "constants", outcome)
    return rows


def _row(case: Case, inputs: str, outcome: Outcome) -> dict:
    op = case.ops[0] if len(case.ops) == 1 else "(several)"
    row = {"test": case.name, "op": op, "inputs": inputs, "verdict": outcome.verdict, "reason": outcome.reason}
    return row


def table(rows: Sequence[dict]) -> str:
    """Counts by operator, and in all."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for name in (row["op"], "all"):
            counts[name][row["verdict"]] += 1
            counts[name]["constants"] += row["verdict"] == PASSED and row["inputs"] == "constants"
    lines = [f"{'operator':<28}{'passed':>8}{'of them with constants':>24}{'unsupported':>13}{'wrong':>7}"]
    for name in sorted(counts, key=lambda name: (name == "all", name.lower())):
        count = counts[name]
        lines.append(f"{name:<28}{count[PASSED]:>8}{count['constants']:>24}{count[UNSUPPORTED]:>13}{count[WRONG]:>7}")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="run the tests whose name holds this pattern")
    parser.add_argument("--json", action="store_true", help="print rows {test, op, inputs, verdict, reason}")
    parser.add_argument("--list", choices=VERDICTS, default=WRONG, help="also name the tests of this verdict")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

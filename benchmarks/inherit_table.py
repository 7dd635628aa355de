"""Measure how exactly models of every class inherit their base's weights, and write the table of docs/inherit.md.

    python benchmarks/inherit_table.py results.jsonl > table.md

A run that is stopped continues where it stopped: finished rows are in results.jsonl.
"""

import argparse
import csv
import sys
from pathlib import Path

import torch

from timm_regnet_ds.scaling.reports.inheritance import CASES, markdown_text, rows_file, run

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.csv"


def smallest() -> dict[str, str]:
    """Class to its architecture with the fewest flops, of those that scale in depth and width."""
    with COVERAGE.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["d"] == row["w"] == "1"]
    found: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: int(row["flops"])):
        found.setdefault(row["class"], row["architecture"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="file of rows, which is continued if it exists")
    parser.add_argument("--case", action="append", choices=CASES, help="how models are scaled (default: all ways)")
    parser.add_argument("--only", nargs="*", metavar="CLASS", help="these classes only")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS", help="of the processor, for one row (default: 600)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {name: model for name, model in smallest().items() if not options.only or name in options.only}
    rows = rows_file(options.results)
    for row in run(chosen, rows, options.case or CASES, options.limit):
        print(row["class"], row["case"], row["error"], *row["reasons"][:1], file=sys.stderr)
    print(markdown_text(row for row in rows.read_if_exists() if row["class"] in chosen))


if __name__ == "__main__":
    main()

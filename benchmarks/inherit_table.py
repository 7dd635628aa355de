"""Measure how exactly models of every class inherit their base's weights, and write the table of docs/inherit.md.

    python benchmarks/inherit_table.py results.jsonl > table.md

A run that is stopped continues where it stopped: finished rows are in results.jsonl.
"""

import argparse
import csv
import math
import sys
from pathlib import Path

import torch

from timm_regnet_ds.scaling.reports.inheritance import CASES, markdown_text, rows_file, run

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.csv"


# A common size: the flops of ResNet-50, Swin-T and ConvNeXt-T.
COMMON = 4e9

TITLES = {"smallest": "The smallest architectures", "common": "Architectures of a common size"}

# The cases of architectures of that size.
COMMON_CASES = ("depth 2", "dWr 4")


def architectures() -> dict[str, list[tuple[str, str]]]:
    """(class, architecture) of each class that scales in depth and width, those with the fewest flops first.

    ``smallest`` are those with the fewest flops in their class, ``common`` those whose flops are nearest to `COMMON`,
    where they are others.
    """
    with COVERAGE.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["d"] == row["w"] == "1"]
    rows.sort(key=lambda row: int(row["flops"]))
    smallest, common = {}, {}
    for row in rows:
        smallest.setdefault(row["class"], row["architecture"])
    for row in sorted(rows, key=lambda row: abs(math.log(int(row["flops"]) / COMMON))):
        common.setdefault(row["class"], row["architecture"])
    order = [row["architecture"] for row in rows]
    found = {"smallest": smallest.items(), "common": common.items() - smallest.items()}
    return {size: sorted(pairs, key=lambda pair: order.index(pair[1])) for size, pairs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="file of rows, which is continued if it exists")
    parser.add_argument("--size", action="append", choices=("smallest", "common"), help="(default: both)")
    parser.add_argument("--case", action="append", choices=CASES, help="how models are scaled (default: all ways)")
    parser.add_argument("--only", nargs="*", metavar="CLASS", help="these classes only")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="SECONDS", help="of the processor, for one row (default: 600)"
    )
    parser.add_argument("--table-only", action="store_true", help="measure nothing, and print the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = rows_file(options.results)
    chosen = {
        size: [pair for pair in pairs if not options.only or pair[0] in options.only]
        for size, pairs in architectures().items()
    }
    for size in [] if options.table_only else options.size or chosen:
        cases = [case for case in options.case or CASES if size == "smallest" or case in COMMON_CASES]
        for row in run(chosen[size], rows, cases, options.limit):
            print(row["architecture"], row["case"], row["error"], *row["reasons"][:1], file=sys.stderr, flush=True)
    for size, pairs in chosen.items():
        print(f"### {TITLES[size]}\n")
        print(markdown_text(row for row in rows.read_if_exists() if (row["class"], row["architecture"]) in pairs))


if __name__ == "__main__":
    main()

"""The cheapest architecture of each of timm's model classes, from docs/coverage.csv."""

import csv
from pathlib import Path

import timm

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.csv"


def rows() -> list[dict[str, str]]:
    """All rows of the table of what scales."""
    with COVERAGE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cheapest() -> dict[str, str]:
    """Class → architecture that this timm has."""
    found: dict[str, dict[str, str]] = {}
    for row in rows():
        best = found.get(row["class"])
        if timm.is_model(row["architecture"]) and (best is None or int(row["flops"]) < int(best["flops"])):
            found[row["class"]] = row
    return {name: row["architecture"] for name, row in sorted(found.items())}


def strategy_of(architecture: str) -> str:
    """dWr, or what a model without depth or width allows."""
    row = next(row for row in rows() if row["architecture"] == architecture)
    return "dWr" if row["d"] == row["w"] == "1" else "r"

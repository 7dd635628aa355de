"""The tables of a report: the spaces, and the KS test between each pair."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from timm_regnet_ds.files.tables import column_names, markdown
from timm_regnet_ds.populations.statistics import edf, ks_test

from .populations import COMPLEXITIES, Population
from .weighting import Normalization

__all__ = ["ks_rows", "page_table", "space_rows"]

Row = dict[str, Any]


def space_rows(populations: Sequence[Population], epsilon: float) -> list[Row]:
    """Of each space: number of models and failures, errors in percent, ranges of complexity, area under the EDF."""
    return [
        {"space": p.space, "models": len(p), "failed": p.failures.total()} | (_figures(p, epsilon) if len(p) else {})
        for p in populations
    ]


def _figures(population: Population, epsilon: float) -> Row:
    errors = population.errors
    row = {
        "min error (%)": errors.min(),
        "mean error (%)": errors.mean(),
        "median error (%)": float(np.median(errors)),
        f"area to {epsilon:.4g}%": edf(errors).area(epsilon),
    }
    for name, unit in COMPLEXITIES.items():
        values = population.complexity(name) / unit.size
        row |= {f"least {name} ({unit.sign})": values.min(), f"largest {name} ({unit.sign})": values.max()}
    return row


def ks_rows(populations: Sequence[Population], normalizations: Iterable[Normalization]) -> list[Row]:
    """D and p of the KS test between each pair of spaces, as they are and normalized."""
    rows = []
    for first, second in combinations(populations, 2):
        row: Row = {"space": first.space, "and": second.space}
        row |= _ks("", first, second, None)
        for normalization in normalizations:
            row |= _ks(f" given {normalization.complexity}", first, second, normalization)
        rows.append(row)
    return rows


def _ks(given: str, first: Population, second: Population, normalization: Normalization | None) -> Row:
    weights = [None if normalization is None else normalization.weights[p.space] for p in (first, second)]
    test = ks_test(first.errors, second.errors, *weights)
    return {f"D{given}": test.statistic, f"p{given}": test.pvalue}


def page_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table of four digits; what a row lacks is a dash."""
    columns = column_names(rows)
    words = sum(name in ("space", "and") for name in columns)
    return markdown(columns, ([_cell(row.get(name, "–")) for name in columns] for row in rows), words) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

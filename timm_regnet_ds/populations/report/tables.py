"""The tables of a report: one of the design spaces, and one of the KS test between each pair of them."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from timm_regnet_ds.files.tables import column_names, markdown
from timm_regnet_ds.populations.statistics import edf, ks_test

from .populations import COMPLEXITY_UNITS, Population
from .weighting import Normalization

__all__ = ["ks_rows", "page_table", "space_rows"]

Row = dict[str, Any]


def space_rows(populations: Sequence[Population], epsilon: float) -> list[Row]:
    """For each space: models and failures, errors in percent, area under the error EDF up to ε, complexity ranges."""
    return [
        {"space": p.space, "models": len(p), "failed": p.failures.total()}
        | (_error_summary(p, epsilon) | _complexity_ranges(p) if len(p) else {})
        for p in populations
    ]


def _error_summary(population: Population, epsilon: float) -> Row:
    errors = population.errors
    return {
        "min error (%)": errors.min(),
        "mean error (%)": errors.mean(),
        "median error (%)": float(np.median(errors)),
        f"area to {epsilon:.4g}%": edf(errors).area(epsilon),
    }


def _complexity_ranges(population: Population) -> Row:
    row: Row = {}
    for metric, unit in COMPLEXITY_UNITS.items():
        values = population.complexity(metric) / unit.size
        row |= {f"least {metric} ({unit.symbol})": values.min(), f"largest {metric} ({unit.symbol})": values.max()}
    return row


def ks_rows(populations: Sequence[Population], normalizations: Iterable[Normalization]) -> list[Row]:
    """For each pair of spaces: D and p-value of the KS test, without weights and for each normalization."""
    rows = []
    for first, second in combinations(populations, 2):
        row: Row = {"space": first.space, "and": second.space}
        row |= _ks("", first, second, None)
        for normalization in normalizations:
            row |= _ks(f" given {normalization.metric}", first, second, normalization)
        rows.append(row)
    return rows


def _ks(suffix: str, first: Population, second: Population, normalization: Normalization | None) -> Row:
    weights = [None if normalization is None else normalization.weights[p.space] for p in (first, second)]
    test = ks_test(first.errors, second.errors, *weights)
    return {f"D{suffix}": test.statistic, f"p{suffix}": test.pvalue}


def page_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; numbers have four digits, and a value that a row lacks is a dash."""
    columns = column_names(rows)
    text_columns = sum(name in ("space", "and") for name in columns)
    return markdown(columns, ([_cell(row.get(name, "–")) for name in columns] for row in rows), text_columns) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

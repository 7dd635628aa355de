"""The report of populations: plots, tables, and a Markdown page that shows them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import csv_text, markdown_line

from .plots import PLOTS
from .populations import COMPLEXITY_UNITS, Population, read_populations
from .tables import ks_rows, page_table, space_rows
from .weighting import Normalization, normalize

__all__ = ["report"]


def report(
    rows_files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    epsilon: float | None = None,
) -> list[Path]:
    """Draw the papers' plots of one or more populations and write tables that compare them.

    Failed models are counted and otherwise left out.

    Args:
        rows_files: one or several files with the rows of sweeps.
        output: directory for ``report.md``, ``spaces.csv``, the plots and, for two or more spaces, ``ks.csv``; each
            file is written completely or not at all.
        epsilon: ε in percent, the error up to which the area under the EDFs is computed. ``None``: the median error
            of all models.

    Returns:
        Paths of the written files, ``report.md`` first.

    Raises:
        ValueError: rows that cannot be read or compared, or no model with an error.
        FileNotFoundError: a file of rows does not exist.
        ImportError: matplotlib is not installed.
    """
    files = [rows_files] if isinstance(rows_files, (str, os.PathLike)) else rows_files
    populations = read_populations(files)
    trained = [p for p in populations if len(p)]
    if not trained:
        raise ValueError(f"none of the {sum(p.failures.total() for p in populations)} models has an error: all failed")
    epsilon = float(np.median(np.concatenate([p.errors for p in trained]))) if epsilon is None else epsilon
    normalizations, reasons = _normalizations(trained)
    spaces, pairs = space_rows(populations, epsilon), ks_rows(trained, normalizations)

    folder = Path(output)
    tables = {"spaces.csv": spaces} | ({"ks.csv": pairs} if pairs else {})
    paths = [write_text(folder / name, csv_text(rows)) for name, rows in tables.items()]
    plots = [
        save_figure(figure, folder / f"{name}.png") for draw in PLOTS for name, figure in draw(trained, normalizations)
    ]
    page = _page(populations, spaces, pairs, [*map(str, normalizations)], reasons, plots)
    return [write_text(folder / "report.md", page), *paths, *plots]


def _normalizations(populations: Sequence[Population]) -> tuple[list[Normalization], list[str]]:
    """The normalization by each metric, and the reasons why the populations cannot be normalized by the others."""
    found, reasons = [], []
    for metric in COMPLEXITY_UNITS:
        try:
            found.append(normalize(populations, metric))
        except ValueError as error:
            reasons.append(f"{metric}: {error}")
    return found, reasons


def _page(
    populations: Sequence[Population],
    spaces: Sequence[dict[str, Any]],
    pairs: Sequence[dict[str, Any]],
    normalized: Sequence[str],
    not_normalized: Sequence[str],
    plots: Sequence[Path],
) -> str:
    parts = ["# Populations\n", page_table(spaces)]
    failures = [
        f"- {count} of {markdown_line(f'{p.space} failed: {reason}')}\n"
        for p in populations
        for reason, count in p.failures.most_common()
    ]
    parts.append("".join(failures))
    if pairs:
        parts += ["## Kolmogorov–Smirnov test between each pair\n", page_table(pairs)]
    parts.append("".join(f"- Normalized: {markdown_line(text)}\n" for text in normalized))
    parts.append("".join(f"- Not normalized by {markdown_line(text)}\n" for text in not_normalized))
    parts.append("\n".join(f"![{markdown_line(path.stem)}]({quote(path.name)})\n" for path in plots))
    return "\n".join(filter(None, parts))

"""The report: every picture, the tables, and a page that shows them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import csv_text

from .plots import PICTURES
from .populations import COMPLEXITIES, Population, read_populations
from .tables import ks_rows, page_table, space_rows
from .weighting import Normalization, normalize

__all__ = ["report"]


def report(
    rows_files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    epsilon: float | None = None,
) -> list[Path]:
    """Draw what the papers draw of one or more populations, and write their tables.

    Models that failed are counted and otherwise left out.

    Args:
        rows_files: one or several files of a sweep's rows.
        output: folder for ``report.md``, ``spaces.csv``, ``ks.csv`` (of two spaces or more) and the pictures; each is
            written whole.
        epsilon: error in percent up to which the area under the EDFs is taken. ``None``: the median of all models.

    Returns:
        What was written, ``report.md`` first.

    Raises:
        ValueError: rows that cannot be compared or read, or no model with an error.
        FileNotFoundError: no such file of rows.
        ImportError: matplotlib is not installed.
    """
    files = [rows_files] if isinstance(rows_files, (str, os.PathLike)) else rows_files
    populations = read_populations(files)
    trained = [p for p in populations if len(p)]
    if not trained:
        raise ValueError(f"none of the {sum(p.failures.total() for p in populations)} models has an error: all failed")
    epsilon = float(np.median(np.concatenate([p.errors for p in trained]))) if epsilon is None else epsilon
    normalizations, without = _normalizations(trained)
    spaces, pairs = space_rows(populations, epsilon), ks_rows(trained, normalizations)

    folder = Path(output)
    tables = {"spaces.csv": spaces} | ({"ks.csv": pairs} if pairs else {})
    paths = [write_text(folder / name, csv_text(rows)) for name, rows in tables.items()]
    pictures = [
        save_figure(figure, folder / f"{name}.png")
        for draw in PICTURES
        for name, figure in draw(trained, normalizations)
    ]
    page = _page(populations, spaces, pairs, [*map(str, normalizations)], without, pictures)
    return [write_text(folder / "report.md", page), *paths, *pictures]


def _normalizations(populations: Sequence[Population]) -> tuple[list[Normalization], list[str]]:
    """By each complexity for which there is one; and why there is none for the others."""
    found, without = [], []
    for name in COMPLEXITIES:
        try:
            found.append(normalize(populations, name))
        except ValueError as error:
            without.append(f"{name}: {error}")
    return found, without


def _page(
    populations: Sequence[Population],
    spaces: Sequence[dict[str, Any]],
    pairs: Sequence[dict[str, Any]],
    normalized: Sequence[str],
    without: Sequence[str],
    pictures: Sequence[Path],
) -> str:
    parts = ["# Populations\n", page_table(spaces)]
    failures = [
        f"- {count} of {p.space} failed: {reason}\n" for p in populations for reason, count in p.failures.most_common()
    ]
    parts.append("".join(failures))
    if pairs:
        parts += ["## Kolmogorov–Smirnov test between each pair\n", page_table(pairs)]
    parts.append("".join(f"- Normalized: {text}\n" for text in normalized))
    parts.append("".join(f"- Not normalized by {text}\n" for text in without))
    parts.append("\n".join(f"![{path.stem}]({quote(path.name)})\n" for path in pictures))
    return "\n".join(filter(None, parts))

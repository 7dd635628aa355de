"""What the pictures have in common."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from timm_regnet_ds.populations.statistics import effective_size

from .populations import COMPLEXITIES, Population
from .weighting import Normalization

__all__ = ["ERROR", "colours", "complexity_label", "count", "legend_below", "panels", "pick_scale"]

ERROR = "top-1 error (%)"


def panels(
    number: int, columns: int = 4, size: tuple[float, float] = (4.2, 3.6), **options: Any
) -> tuple[Any, list[Any]]:
    """A figure and its ``number`` axes, row by row.

    Args:
        number: of panels.
        columns: most panels in a row.
        size: inches of a panel, wide and high.
        options: of ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    columns = min(number, columns)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained", dpi=120)
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for unused in axes[number:]:
        unused.remove()
    for one in axes[:number]:
        one.grid(alpha=0.3)
    return figure, axes[:number]


def colours(populations: Sequence[Population]) -> Iterator[tuple[Population, dict[str, Any]]]:
    """Each population with the colour and the dashes of its lines, the same in every picture."""
    for i, population in enumerate(populations):
        yield population, {"color": f"C{i % 10}", "linestyle": ("-", "--", ":", "-.")[i // 10 % 4]}


def count(population: Population, normalization: Normalization | None = None) -> str:
    """Number of models, or the effective number of normalized ones, as legends have it."""
    if normalization is None:
        return f"n={len(population)}"
    return f"effective n={effective_size(normalization.weights[population.space]):.0f}"


def legend_below(axis: Any) -> None:
    """A legend where no curve can run through it."""
    axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14))


def complexity_label(name: str) -> str:
    """A complexity and its unit, for an axis; other properties are their names."""
    return f"{name} ({COMPLEXITIES[name].sign})" if name in COMPLEXITIES else name


def pick_scale(axis: Any, low: float, high: float) -> None:
    """A logarithmic x axis, with plain numbers, where positive values span more than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if low > 0 and high > 10 * low:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())

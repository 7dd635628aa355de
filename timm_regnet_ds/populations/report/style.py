"""What the plots have in common: panels, line styles, labels and scales."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from timm_regnet_ds.common.plots import make_log, new_figure
from timm_regnet_ds.populations.statistics import effective_size

from .populations import COMPLEXITY_UNITS, Population
from .weighting import Normalization

__all__ = ["ERROR_LABEL", "axis_label", "count_label", "legend_below", "panels", "set_x_scale", "with_line_styles"]

ERROR_LABEL = "top-1 error (%)"


def panels(
    number: int, columns: int = 4, size: tuple[float, float] = (4.2, 3.6), **options: Any
) -> tuple[Any, list[Any]]:
    """Make a figure with ``number`` axes in a grid; return the figure and the axes, row by row.

    Args:
        number: number of panels.
        columns: maximum number of panels in a row.
        size: width and height of a panel in inches.
        **options: passed to ``Figure.subplots``.
    """
    columns = min(number, columns)
    figure, grid = new_figure(columns, math.ceil(number / columns), *size, **options)
    axes = list(grid.flat)
    for unused in axes[number:]:
        unused.remove()
    return figure, axes[:number]


def with_line_styles(populations: Sequence[Population]) -> Iterator[tuple[Population, dict[str, Any]]]:
    """Each population with the colour and dashes of its lines, which are the same in all plots."""
    for i, population in enumerate(populations):
        yield population, {"color": f"C{i % 10}", "linestyle": ("-", "--", ":", "-.")[i // 10 % 4]}


def count_label(population: Population, normalization: Normalization | None = None) -> str:
    """The number of models, or their effective number under a normalization, as text for a legend."""
    if normalization is None:
        return f"n={len(population)}"
    return f"effective n={effective_size(normalization.weights[population.space]):.0f}"


def legend_below(axis: Any) -> None:
    """Put the legend below the axes, where it hides no curve."""
    axis.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14))


def axis_label(name: str) -> str:
    """The name of a property, with the unit if it is flops, params or acts."""
    return f"{name} ({COMPLEXITY_UNITS[name].symbol})" if name in COMPLEXITY_UNITS else name


def set_x_scale(axis: Any, low: float, high: float) -> None:
    """Make the x axis logarithmic, with plain numbers, if the values are positive and span more than a decade."""
    if low > 0 and high > 10 * low:
        make_log(axis.xaxis)

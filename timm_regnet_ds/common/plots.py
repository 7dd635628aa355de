"""What plots of every room have in common: a figure with axes, logarithmic axes and colours."""

from collections.abc import Iterable
from typing import Any

__all__ = ["GREY", "colours", "make_log", "new_figure"]

GREY = "0.6"


def new_figure(columns: int = 1, rows: int = 1, width: float = 4.6, height: float = 3.9, **options: Any) -> Any:
    """Create a figure, without pyplot's global state, and its axes as an array of shape (rows, columns).

    Args:
        columns: number of axes in a row.
        rows: number of rows.
        width: width of one axes in inches.
        height: height of one axes in inches.
        **options: passed to ``Figure.subplots``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need matplotlib: pip install 'timm-regnet-ds[study]' ({error})") from error
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=120)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for one in axes.flat:
        one.grid(alpha=0.3)
    return figure, axes


def make_log(*axes: Any, decades: bool = False) -> None:
    """Make each x or y axis (``axes.xaxis``) logarithmic, with plain numbers at 1, 2 and 5 in each decade.

    With ``decades``, for axes of many decades, the numbers stand at the powers of 10 alone.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ticks: dict[str, Any] = {"numticks": 10} if decades else {"subs": (1, 2, 5), "numticks": 8}
    for axis in axes:
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(**ticks))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each name, by its position."""
    return {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(names))}

"""Plots of measurements. Each function draws into given matplotlib axes."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .measurement import Measurement

__all__ = ["GREY", "METRICS", "colours", "draw_roofline", "draw_times", "make_log_log", "new_figure", "pearson"]

# For each metric of complexity: the unit that plots show it in, and the label of its axis.
METRICS = {"flops": (1e9, "flops (GF)"), "params": (1e6, "params (M)"), "acts": (1e6, "acts (M)")}

GREY = "0.6"


def new_figure(columns: int = 1, rows: int = 1, width: float = 4.6, height: float = 3.9) -> tuple[Any, Any]:
    """Create a figure, without pyplot's global state, and its axes as an array of shape (rows, columns).

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"plots need matplotlib: pip install 'timm-regnet-ds[study]' ({error})") from error
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(alpha=0.3)
    return figure, axes


def make_log_log(axes: Any) -> None:
    """Make both axes logarithmic, with labels at 1, 2 and 5 in each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each name, by its position."""
    return {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(names))}


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's correlation coefficient; NaN for fewer than two points, or if x or y is constant."""
    try:
        return statistics.correlation(x, y)
    except statistics.StatisticsError:
        return float("nan")


def draw_times(axes: Any, groups: Mapping[str, Sequence[Measurement]], metric: str) -> None:
    """Draw the time per image against flops, params or acts, with a least-squares line and Pearson's r per group.

    Args:
        axes: matplotlib axes.
        groups: measurements by the group's name in the legend.
        metric: ``flops``, ``params`` or ``acts``.
    """
    unit, label = METRICS[metric]
    for name, colour in colours(groups).items():
        x = np.array([getattr(m.complexity, metric) / unit for m in groups[name]])
        y = np.array([1e3 / m.images_per_second for m in groups[name]])
        r = pearson(x.tolist(), y.tolist())
        text = f"{name} (r = {r:.3f})" if np.isfinite(r) else name
        axes.plot(x, y, "o", color=colour, markersize=4, label=text)
        if np.isfinite(r):
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=colour, linewidth=1)
    axes.set(xlabel=label, ylabel="time for an image (ms)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)


def draw_roofline(axes: Any, groups: Mapping[str, Sequence[Measurement]]) -> None:
    """Draw operations per second against operations per byte, and the device's two peaks as the roofline."""
    every = [m for group in groups.values() for m in group]
    peaks = every[0].peaks
    intensity = [m.ops_per_second / m.bytes_per_second for m in every]
    ridge = peaks.ops_per_second / peaks.bytes_per_second
    x = np.geomspace(min(*intensity, ridge) / 2, max(*intensity, ridge) * 2, 100)
    axes.plot(x, np.minimum(x * peaks.bytes_per_second, peaks.ops_per_second) / 1e9, color=GREY, label="measured peaks")
    for name, colour in colours(groups).items():
        points = [(m.ops_per_second / m.bytes_per_second, m.ops_per_second / 1e9) for m in groups[name]]
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, label=name)
    axes.set(xlabel="operations per byte of params and acts", ylabel="GFLOP/s")
    make_log_log(axes)
    axes.legend(fontsize=7)

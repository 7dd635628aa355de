"""Plots of measurements. Each function draws into given matplotlib axes."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from timm_regnet_ds.common.plots import GREY, colours, make_log
from timm_regnet_ds.complexity import UNITS

from .measurement import Measurement

__all__ = ["LABELS", "draw_roofline", "draw_times", "pearson"]

# The label of the axis of each metric of complexity.
LABELS = {metric: f"{metric} ({unit.symbol})" for metric, unit in UNITS.items()}


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
    unit = UNITS[metric].size
    for name, colour in colours(groups).items():
        x = np.array([getattr(m.complexity, metric) / unit for m in groups[name]])
        y = np.array([1e3 / m.images_per_second for m in groups[name]])
        r = pearson(x.tolist(), y.tolist())
        text = f"{name} (r = {r:.3f})" if np.isfinite(r) else name
        axes.plot(x, y, "o", color=colour, markersize=4, label=text)
        if np.isfinite(r):
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=colour, linewidth=1)
    axes.set(xlabel=LABELS[metric], ylabel="time for an image (ms)")
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
    axes.set(xlabel="operations per byte that operators move", ylabel="GFLOP/s")
    make_log(axes.xaxis, axes.yaxis)
    axes.legend(fontsize=7)

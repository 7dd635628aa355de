"""Pictures of measurements. Each function draws into axes of matplotlib that it is given."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .measurement import Measurement

__all__ = ["MEASURES", "colours", "draw_roofline", "draw_times", "logarithmic", "new_figure", "pearson"]

# Of a complexity: its unit in figures, and the label of an axis.
MEASURES = {"flops": (1e9, "flops (GF)"), "params": (1e6, "params (M)"), "acts": (1e6, "acts (M)")}

GREY = "0.6"


def new_figure(columns: int = 1, rows: int = 1, width: float = 4.6, height: float = 3.9) -> tuple[Any, Any]:
    """A figure without global state, and its axes as an array (rows, columns).

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"pictures need matplotlib: pip install 'timm-regnet-ds[study]' ({error})") from error
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.grid(alpha=0.3)
    return figure, axes


def logarithmic(axes: Any) -> None:
    """Make both axes logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def colours(names: Iterable[str]) -> dict[str, Any]:
    """A colour for each name, the same ones in each picture that has the same names."""
    return {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(names))}


def pearson(x: Any, y: Any) -> float:
    """Pearson's correlation; not a number where one of the two does not vary."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def draw_times(axes: Any, groups: Mapping[str, Sequence[Measurement]], measure: str) -> None:
    """Time for an image against flops, params or acts: for each group a colour, its line of least squares and its r.

    Args:
        axes: to draw into.
        groups: measurements by what the legend calls them.
        measure: ``flops``, ``params`` or ``acts``.
    """
    unit, label = MEASURES[measure]
    for name, colour in colours(groups).items():
        x = np.array([getattr(m.complexity, measure) / unit for m in groups[name]])
        y = np.array([1e3 / m.images_per_second for m in groups[name]])
        r = pearson(x, y)
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
    """Achieved operations per second against operations per byte, below the device's two ceilings."""
    every = [m for group in groups.values() for m in group]
    ceilings = every[0].ceilings
    intensity = [m.flops_per_second / m.bytes_per_second for m in every]
    ridge = ceilings.flops / ceilings.bytes
    x = np.geomspace(min(*intensity, ridge) / 2, max(*intensity, ridge) * 2, 100)
    axes.plot(x, np.minimum(x * ceilings.bytes, ceilings.flops) / 1e9, color=GREY, label="measured ceilings")
    for name, colour in colours(groups).items():
        points = [(m.flops_per_second / m.bytes_per_second, m.flops_per_second / 1e9) for m in groups[name]]
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4, label=name)
    axes.set(xlabel="operations per byte of params and acts", ylabel="GFLOP/s")
    logarithmic(axes)
    axes.legend(fontsize=7)

"""Times that the papers print, as grey points in a plot."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from timm.models import create_model, is_model

from timm_regnet_ds.common.plots import GREY
from timm_regnet_ds.complexity import UNITS, Complexity, measure, measure_factory
from timm_regnet_ds.papers.times import BUILT_FROM

__all__ = ["draw_paper_points"]


# The paper's points are drawn if their slowest is within this factor of the top of the axis, up or down. Beside the
# times of a CPU, those of a GPU would all lie at the bottom.
_SHARED = 10


def draw_paper_points(axes: Any, times: Mapping[str, float], metric: str, label: str) -> bool:
    """Draw the times that a paper prints against the complexity of its models, where they share the axis.

    Args:
        axes: matplotlib axes in which the measurements are drawn.
        times: milliseconds per image by model name. Unknown models are left out.
        metric: ``flops``, ``params`` or ``acts``, measured by this package.
        label: the label in the legend.

    Returns:
        Whether the points are drawn.
    """
    top = axes.get_ylim()[1]
    names = [name for name in times if is_model(name) or name in BUILT_FROM]
    if not names or not top / _SHARED <= max(times[name] for name in names) <= top * _SHARED:
        return False
    unit = UNITS[metric].size
    x = [getattr(_measured(name), metric) / unit for name in names]
    axes.plot(x, [times[name] for name in names], "x", color=GREY, markersize=4, zorder=0, label=label)
    axes.legend(fontsize=7)
    return True


@cache
def _measured(name: str) -> Complexity:
    """A study draws the same models in several plots."""
    if name not in BUILT_FROM:
        return measure(name)
    model, args = BUILT_FROM[name]
    counts: Complexity = measure_factory(name, partial(create_model, model, **args), 224)[1]
    return counts

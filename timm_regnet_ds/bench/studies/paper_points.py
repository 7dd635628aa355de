"""Times that the papers print, as grey points in a plot."""

from collections.abc import Mapping
from typing import Any

from timm.models import is_model

from timm_regnet_ds.common.plots import GREY
from timm_regnet_ds.complexity import UNITS, measure

__all__ = ["draw_paper_points"]


def draw_paper_points(axes: Any, times: Mapping[str, float], metric: str, label: str) -> None:
    """Draw the times that a paper prints against the complexity of its models. Unknown models are left out.

    Args:
        axes: matplotlib axes.
        times: milliseconds per image by model name.
        metric: ``flops``, ``params`` or ``acts``, measured by this package.
        label: the label in the legend.
    """
    unit = UNITS[metric].size
    names = [name for name in times if is_model(name)]
    x = [getattr(measure(name), metric) / unit for name in names]
    axes.plot(x, [times[name] for name in names], "x", color=GREY, markersize=4, zorder=0, label=label)
    axes.legend(fontsize=7)

"""The papers' own points, in grey."""

from collections.abc import Mapping
from typing import Any

from timm.models import is_model

from timm_regnet_ds.bench.plots import GREY, MEASURES
from timm_regnet_ds.complexity import measure

__all__ = ["draw_paper_points"]


def draw_paper_points(axes: Any, times: Mapping[str, float], of: str, label: str) -> None:
    """Draw times that a paper prints over the complexity of its models, as measured here.

    Args:
        axes: to draw into.
        times: milliseconds for an image, by model.
        of: ``flops``, ``params`` or ``acts``.
        label: in the legend.
    """
    unit = MEASURES[of][0]
    names = [name for name in times if is_model(name)]
    x = [getattr(measure(name), of) / unit for name in names]
    axes.plot(x, [times[name] for name in names], "x", color=GREY, markersize=4, zorder=0, label=label)
    axes.legend(fontsize=7)

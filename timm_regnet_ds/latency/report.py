"""What a fit shows: errors, dropped rows, residuals by family, and a picture of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from timm_regnet_ds.common.plots import GREY, make_log, new_figure
from timm_regnet_ds.files.atomic import save_figure, write_text
from timm_regnet_ds.files.tables import markdown, markdown_line

from .fitting import FEW, Fit
from .model import LARGE_RESIDUAL

__all__ = ["describe_fit", "write_fit_report"]

_FAMILIES_IN_PLOT = 40


def describe_fit(fit: Fit) -> str:
    """The fitted model and its errors, what was dropped, and the families that it misses, in lines of 80 columns."""
    lines = [str(fit.model)]
    if fit.model.spread is not None:
        lines.append(
            f"{fit.model.error.models} models are fewer than {FEW}: between resamples of them, predictions vary by "
            f"± {fit.model.spread:.0%}"
        )
    if fit.dropped:
        kinds = Counter(dropped.kind for dropped in fit.dropped)
        lines.append(f"dropped {len(fit.dropped)} rows:")
        lines += [f"  {count} × {kind}" for kind, count in kinds.most_common()]
    missed = {family: r for family, r in fit.model.residuals.items() if r > LARGE_RESIDUAL}
    if missed:
        lines.append(f"families that the fit misses by more than {LARGE_RESIDUAL:.0%} in the median:")
        lines += [f"  {family} {r:.0%}" for family, r in sorted(missed.items(), key=lambda item: -item[1])]
    return "\n".join(lines)


def write_fit_report(fit: Fit, path: Path) -> list[Path]:
    """Write the report in Markdown at a path that ends with ``.md``, and its picture beside it; return both paths."""
    picture = _plot(fit, path.with_suffix(".png"))
    parts = [
        f"# Predicted time: {markdown_line(fit.model.about())}",
        f"```\n{describe_fit(fit)}\n```",
        f"![Residuals]({picture.name})",
        "## Residuals by family",
        "Relative errors in the median: in the fit; of fits without the family; and the bias of the latter.",
        _table(fit),
    ]
    if fit.dropped:
        parts += ["## Dropped rows", "\n".join(f"- {markdown_line(str(dropped))}" for dropped in fit.dropped)]
    return [write_text(path, "\n\n".join(parts) + "\n"), picture]


def _by_family(fit: Fit) -> dict[str, Any]:
    """The rows' indices by family, those with the largest errors first."""
    of = np.array([row.family for row in fit.rows])
    errors = np.abs(fit.unseen / fit.times() - 1)
    indices = {str(family): np.flatnonzero(of == family) for family in np.unique(of)}
    return dict(sorted(indices.items(), key=lambda item: -float(np.median(errors[item[1]]))))


def _table(fit: Fit) -> str:
    times = fit.times()
    fitted, unseen = fit.fitted / times - 1, fit.unseen / times - 1
    rows = [
        [
            family,
            str(len(i)),
            *(f"{np.median(np.abs(e[i])):.1%}" for e in (fitted, unseen)),
            f"{np.median(unseen[i]):+.1%}",
        ]
        for family, i in _by_family(fit).items()
    ]
    return markdown(["family", "models", "in the fit", "unseen", "bias"], rows)


def _plot(fit: Fit, path: Path) -> Path:
    families = _by_family(fit)
    shown = dict(list(families.items())[:_FAMILIES_IN_PLOT])
    figure, axes = new_figure(columns=2, width=5.6, height=max(4.2, 0.17 * len(shown) + 1.2))
    left, right = axes[0]
    times = fit.times()
    left.plot(times, fit.unseen, ".", markersize=3, alpha=0.5)
    ends = np.array([times.min(), times.max()])
    left.plot(ends, ends, color=GREY, linewidth=1)
    left.set(xlabel="measured (ms per batch)", ylabel="predicted without its family (ms per batch)")
    make_log(left.xaxis, left.yaxis, decades=ends[1] > 100 * ends[0])
    quartiles = [np.quantile(100 * (fit.unseen[i] / times[i] - 1), (0.25, 0.5, 0.75)) for i in shown.values()]
    low, middle, high = np.transpose(quartiles)
    right.hlines(range(len(shown)), low, high, linewidth=2)
    right.plot(middle, range(len(shown)), "o", color="C1", markersize=4)
    right.set_yticks(range(len(shown)), shown, fontsize=6.5)
    right.invert_yaxis()
    right.axvline(0, color=GREY, linewidth=1)
    title = "families" if len(shown) == len(families) else f"the {len(shown)} families with the largest errors"
    right.set_title(title, fontsize=9)
    right.set(xlabel="error of predictions without the family: median, quartiles (%)")
    figure.suptitle(fit.model.about(), fontsize=9)
    return save_figure(figure, path)

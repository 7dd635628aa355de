"""The plots of a report. Each function yields figures, each with its file name without suffix.

A new plot is a function of this form and an entry in `PLOTS`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from timm_regnet_ds.populations.statistics import best_range, edf, random_search

from .populations import COMPLEXITY_UNITS, Population
from .style import ERROR_LABEL, axis_label, count_label, legend_below, panels, set_x_scale, with_line_styles
from .weighting import Normalization

__all__ = ["PLOTS"]

Populations = Sequence[Population]
Normalizations = Sequence[Normalization]
NamedFigures = Iterator[tuple[str, Any]]

# How many of the best models, and as many of the worst, the plot of structures shows in one panel.
OVERLAID_MODELS = 20
# How many of them it shows in a panel of their own.
SINGLE_MODELS = 3


def edfs(populations: Populations, normalizations: Normalizations) -> NamedFigures:
    """Error EDFs, without weights and normalized by each metric (RegNet Figure 2, NDS Figure 3)."""
    figure, axes = panels(1 + len(normalizations), columns=2, size=_panel_size(populations), sharex=True, sharey=True)
    for axis, normalization in zip(axes, (None, *normalizations), strict=True):
        for population, line in with_line_styles(populations):
            weights = None if normalization is None else normalization.weights[population.space]
            counted = population.errors if weights is None else population.errors[weights > 0]
            mean = edf(population.errors, weights).mean
            n = count_label(population, normalization)
            label = f"{population.space} ({n}; min {counted.min():.1f}, mean {mean:.1f})"
            axis.ecdf(population.errors, weights, label=label, **line)
        axis.set(title=_title("error", normalization), xlabel=ERROR_LABEL, ylabel="share of models")
        axis.tick_params(labelbottom=True)
        legend_below(axis)
    yield "edf", figure


def complexities(populations: Populations, normalizations: Normalizations) -> NamedFigures:
    """Histograms of flops, params and acts (NDS Figure 5)."""
    figure, axes = panels(len(COMPLEXITY_UNITS))
    for axis, (metric, unit) in zip(axes, COMPLEXITY_UNITS.items(), strict=True):
        values = [p.complexity(metric) / unit.size for p in populations]
        edges = np.histogram_bin_edges(np.concatenate(values), bins=20)
        for (population, line), value in zip(with_line_styles(populations), values, strict=True):
            shares = np.histogram(value, edges)[0] / value.size
            axis.stairs(shares, edges, label=f"{population.space} ({count_label(population)})", **line)
        axis.set(title=f"distribution of {metric}", xlabel=axis_label(metric), ylabel="share of models")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    yield "complexity", figure


def scatters(populations: Populations, normalizations: Normalizations) -> NamedFigures:
    """Error against every property that varies, with the 95% interval of its best value (RegNet Figure 2)."""
    for population, line in with_line_styles(populations):
        varied = {name: x for name, x in population.properties.items() if np.unique(x[np.isfinite(x)]).size > 1}
        if not varied:
            continue
        figure, axes = panels(len(varied), size=(3.4, 2.9), sharey=True)
        for axis, (name, x) in zip(axes, varied.items(), strict=True):
            known = np.isfinite(x)
            x, errors = x[known], population.errors[known]
            best = best_range(x, errors)
            axis.axvspan(best.low, best.high, color="C0", alpha=0.2, linewidth=0)
            axis.axvline(best.best, color="black", linewidth=1, linestyle="--")
            axis.scatter(x, errors, s=14, alpha=0.7, color=line["color"], linewidth=0, zorder=3, clip_on=False)
            axis.margins(y=0.08)
            set_x_scale(axis, x.min(), x.max())
            axis.set(xlabel=axis_label(name), title=f"best {best.best:.4g} [{best.low:.4g}, {best.high:.4g}]")
        _label_left(axes, ERROR_LABEL)
        figure.suptitle(
            f"{population.space} ({count_label(population)}): where the best models are, by the bootstrap (band: 95%)"
        )
        yield f"scatter_{_file_name(population)}", figure


def structures(populations: Populations, normalizations: Normalizations) -> NamedFigures:
    """Widths by block of the best and of the worst models, with their linear fits (RegNet Figures 6 and 8)."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    for population in populations:
        ranked = sorted(population.linear_fits, key=population.errors.__getitem__)
        if len(ranked) < 2:
            continue
        overlaid = min(OVERLAID_MODELS, len(ranked) // 2)
        chosen = (("best", ranked[:overlaid]), ("worst", ranked[::-1][:overlaid]))
        columns = 1 + min(SINGLE_MODELS, overlaid)
        figure, axes = panels(2 * columns, columns, size=(3.6, 3.1), sharey=True)
        for row, (word, models) in enumerate(chosen):
            first, *others = axes[row * columns : (row + 1) * columns]
            for i in models:
                _draw_widths(first, population, i, color="gray", alpha=0.4)
            first.set_title(f"the {overlaid} {word}", fontsize="small")
            for axis, i in zip(others, models, strict=False):
                _draw_fit(axis, population, i)
        for axis in axes:
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("block j")
        _label_left(axes, "width $w_j$ (channels)")
        figure.suptitle(
            f"{population.space} ({count_label(population)}): widths (lines) and quantized linear fits (dashes)"
        )
        yield f"structure_{_file_name(population)}", figure


def searches(populations: Populations, normalizations: Normalizations) -> NamedFigures:
    """Expected lowest error among m random models (NDS Figures 6 and 10)."""
    figure, axes = panels(1 + len(normalizations), columns=2, size=_panel_size(populations), sharey=True)
    for axis, normalization in zip(axes, (None, *normalizations), strict=True):
        for population, line in with_line_styles(populations):
            weights = None if normalization is None else normalization.weights[population.space]
            curve = random_search(population.errors, weights=weights)
            label = f"{population.space} ({count_label(population, normalization)})"
            axis.errorbar(curve.sizes, curve.mean, curve.error, label=label, marker=".", capsize=2, **line)
        set_x_scale(axis, 1, max(map(len, populations)))
        axis.set(title=_title("random search", normalization), xlabel="models tried m (bars: standard error)")
        axis.set_ylabel(f"lowest {ERROR_LABEL}")
        legend_below(axis)
    yield "random_search", figure


PLOTS: tuple[Callable[[Populations, Normalizations], NamedFigures], ...] = (
    edfs,
    complexities,
    scatters,
    structures,
    searches,
)


def _draw_widths(axis: Any, population: Population, i: int, **line: Any) -> None:
    """Draw the width of each block of the i-th trained model."""
    properties = population.trained[i]["properties"]
    widths = np.repeat(properties["widths"], properties["depths"])
    axis.step(np.arange(widths.size + 1), [*widths, widths[-1]], where="post", **line)


def _draw_fit(axis: Any, population: Population, i: int) -> None:
    """Draw the widths of the i-th trained model and its quantized linear fit."""
    fit, properties = population.linear_fits[i], population.trained[i]["properties"]
    _draw_widths(axis, population, i, color="C0")
    predicted = fit.block_widths()
    axis.step(np.arange(fit.depth + 1), [*predicted, predicted[-1]], where="post", color="black", linestyle="--")
    stages = "\n".join(f"{name} {', '.join(map(str, properties[name]))}" for name in ("depths", "widths"))
    axis.set_title(f"error {population.errors[i]:.1f}%, $e_{{fit}}$ {fit.error:.2f}\n{stages}", fontsize="small")


def _panel_size(populations: Populations) -> tuple[float, float]:
    """The size in inches of a panel with a legend of one line per population below it."""
    return 6, 4.2 + 0.2 * len(populations)


def _title(what: str, normalization: Normalization | None) -> str:
    return f"{what}, not normalized" if normalization is None else f"{what} given {normalization}"


def _label_left(axes: Sequence[Any], label: str) -> None:
    for axis in axes:
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(label)


def _file_name(population: Population) -> str:
    """The name of a space, quoted so that it can be part of a file name and stays unique."""
    return quote(population.space, safe="")

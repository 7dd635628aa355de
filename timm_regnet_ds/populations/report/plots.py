"""The pictures of a report. Each function yields figures with the names of their files."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from timm_regnet_ds.populations.statistics import best_range, edf, random_search

from .populations import COMPLEXITIES, Population
from .style import ERROR, colours, complexity_label, count, legend_below, panels, pick_scale
from .weighting import Normalization

__all__ = ["PICTURES"]

Populations = Sequence[Population]
Normalizations = Sequence[Normalization]
Named = Iterator[tuple[str, Any]]

# Models of the best and of the worst that the picture of structure shows together, and one by one.
TOGETHER, ONE_BY_ONE = 20, 3


def edfs(populations: Populations, normalizations: Normalizations) -> Named:
    """Error EDFs as they are, and for each complexity normalized by it (RegNet Figure 2, NDS Figure 3)."""
    figure, axes = panels(1 + len(normalizations), columns=2, size=_with_legend(populations), sharex=True, sharey=True)
    for axis, normalization in zip(axes, (None, *normalizations), strict=True):
        for population, line in colours(populations):
            weights = None if normalization is None else normalization.weights[population.space]
            known = population.errors if weights is None else population.errors[weights > 0]
            mean = edf(population.errors, weights).mean
            counted = count(population, normalization)
            label = f"{population.space} ({counted}; min {known.min():.1f}, mean {mean:.1f})"
            axis.ecdf(population.errors, weights, label=label, **line)
        axis.set(title=_title("error", normalization), xlabel=ERROR, ylabel="share of models")
        axis.tick_params(labelbottom=True)
        legend_below(axis)
    yield "edf", figure


def complexities(populations: Populations, normalizations: Normalizations) -> Named:
    """How flops, params and acts are distributed (NDS Figure 5)."""
    figure, axes = panels(len(COMPLEXITIES))
    for axis, (name, unit) in zip(axes, COMPLEXITIES.items(), strict=True):
        values = [p.complexity(name) / unit.size for p in populations]
        edges = np.histogram_bin_edges(np.concatenate(values), bins=20)
        for (population, line), value in zip(colours(populations), values, strict=True):
            shares = np.histogram(value, edges)[0] / value.size
            axis.stairs(shares, edges, label=f"{population.space} ({count(population)})", **line)
        axis.set(title=f"distribution of {name}", xlabel=complexity_label(name), ylabel="share of models")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    yield "complexity", figure


def scatters(populations: Populations, normalizations: Normalizations) -> Named:
    """Every property against error, with the 95% range of the best models (RegNet Figure 2)."""
    for population, line in colours(populations):
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
            pick_scale(axis, x.min(), x.max())
            axis.set(xlabel=complexity_label(name), title=f"best {best.best:.4g} [{best.low:.4g}, {best.high:.4g}]")
        _label_left(axes, ERROR)
        figure.suptitle(
            f"{population.space} ({count(population)}): where the best models are, by the bootstrap (band: 95%)"
        )
        yield f"scatter_{_file(population)}", figure


def structures(populations: Populations, normalizations: Normalizations) -> Named:
    """Width of each block in the best and the worst models, with their linear fits (RegNet Figures 6 and 8)."""
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    for population in populations:
        ranked = sorted(population.linear_fits, key=population.errors.__getitem__)
        if len(ranked) < 2:
            continue
        together = min(TOGETHER, len(ranked) // 2)
        chosen = (("best", ranked[:together]), ("worst", ranked[::-1][:together]))
        columns = 1 + min(ONE_BY_ONE, together)
        figure, axes = panels(2 * columns, columns, size=(3.6, 3.1), sharey=True)
        for row, (word, models) in enumerate(chosen):
            first, *others = axes[row * columns : (row + 1) * columns]
            for i in models:
                _draw_widths(first, population, i, color="gray", alpha=0.4)
            first.set_title(f"the {together} {word}", fontsize="small")
            for axis, i in zip(others, models, strict=False):
                _draw_one(axis, population, i)
        for axis in axes:
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("block j")
        _label_left(axes, "width $w_j$ (channels)")
        figure.suptitle(f"{population.space} ({count(population)}): widths (lines) and quantized linear fits (dashes)")
        yield f"structure_{_file(population)}", figure


def searches(populations: Populations, normalizations: Normalizations) -> Named:
    """Lowest error among m random models (NDS Figures 6 and 10)."""
    figure, axes = panels(1 + len(normalizations), columns=2, size=_with_legend(populations), sharey=True)
    for axis, normalization in zip(axes, (None, *normalizations), strict=True):
        for population, line in colours(populations):
            weights = None if normalization is None else normalization.weights[population.space]
            curve = random_search(population.errors, weights=weights)
            label = f"{population.space} ({count(population, normalization)})"
            axis.errorbar(curve.sizes, curve.mean, curve.error, label=label, marker=".", capsize=2, **line)
        pick_scale(axis, 1, max(map(len, populations)))
        axis.set(title=_title("random search", normalization), xlabel="models tried m (bars: standard error)")
        axis.set_ylabel(f"lowest {ERROR}")
        legend_below(axis)
    yield "random_search", figure


PICTURES: tuple[Callable[[Populations, Normalizations], Named], ...] = (
    edfs,
    complexities,
    scatters,
    structures,
    searches,
)


def _draw_widths(axis: Any, population: Population, i: int, **line: Any) -> None:
    properties = population.trained[i]["properties"]
    widths = np.repeat(properties["widths"], properties["depths"])
    axis.step(np.arange(widths.size + 1), [*widths, widths[-1]], where="post", **line)


def _draw_one(axis: Any, population: Population, i: int) -> None:
    fit, properties = population.linear_fits[i], population.trained[i]["properties"]
    _draw_widths(axis, population, i, color="C0")
    predicted = fit.block_widths()
    axis.step(np.arange(fit.depth + 1), [*predicted, predicted[-1]], where="post", color="black", linestyle="--")
    stages = "\n".join(f"{name} {', '.join(map(str, properties[name]))}" for name in ("depths", "widths"))
    axis.set_title(f"error {population.errors[i]:.1f}%, $e_{{fit}}$ {fit.error:.2f}\n{stages}", fontsize="small")


def _with_legend(populations: Populations) -> tuple[float, float]:
    return 6, 4.2 + 0.2 * len(populations)


def _title(what: str, normalization: Normalization | None) -> str:
    return f"{what}, not normalized" if normalization is None else f"{what} given {normalization}"


def _label_left(axes: Sequence[Any], label: str) -> None:
    for axis in axes:
        if axis.get_subplotspec().is_first_col():
            axis.set_ylabel(label)


def _file(population: Population) -> str:
    """A space's name as part of a file's; two spaces never share one."""
    return quote(population.space, safe="")

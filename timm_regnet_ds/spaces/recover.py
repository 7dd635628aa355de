"""Networks whose parameters a paper does not print, found from the complexity that it prints.

Fast and Accurate Model Scaling, Tables 6 to 8, prints flops, params and acts of RegNets whose parameters it does not
print, and of the same networks scaled by dWr (α = 0.8). Configurations of a design space that round to the row of the
base are scaled by every factor that may give the flops of a scaled row; the matches are those that then round to all
rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from timm_regnet_ds.complexity import Counts
from timm_regnet_ds.models.regnet import RegNetCfg, fit_group_width_arrays
from timm_regnet_ds.papers.complexity import PRINTED, Printed
from timm_regnet_ds.scaling.arithmetic.rounding import round_resolution
from timm_regnet_ds.scaling.arithmetic.strategy import STRATEGIES, Multipliers
from timm_regnet_ds.scaling.named.anynet import scale_anynet_arrays

from ._types import Array
from .anynet_batch import AnyNetBatch
from .complexities import Complexities
from .frame import Frame
from .regnet import REGNET_SPACES, RegNetSpace
from .values import Values, steps

__all__ = ["TARGETS_TO_RECOVER", "Match", "Recovered", "RecoveryTarget", "recover", "table"]

# Larger group widths add flops and params but hardly any acts. So networks with group width 1 are drawn within these
# fractions of the printed values, and every group width is then tried on each.
_SEARCH_MARGINS = {"flops": (0.6, 1.0), "params": (0.6, 1.0), "acts": (0.93, 1.07)}


@dataclass(frozen=True)
class RecoveryTarget:
    """A network of which a paper prints only the complexity.

    Args:
        printed: the printed row of the network.
        space: the design space to search.
        scaled: rows of the same network scaled by dWr.
        draws: number of configurations drawn near the printed values; every group width is then tried on each.
    """

    printed: Printed
    space: RegNetSpace
    scaled: Mapping[str, Printed] = field(default_factory=dict)
    draws: int = 20_000


@dataclass(frozen=True)
class Match:
    """A network that rounds to all rows.

    Attributes:
        cfg: among the parameters that give the network, those with the fewest digits.
        resolution: side of the images.
        counts: complexity of the network.
        factors: for each scaled row, the smallest and the largest factor of three digits that gives the row.
    """

    cfg: RegNetCfg
    resolution: int
    counts: Counts
    factors: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Recovered:
    """Result of a search.

    Attributes:
        found: the networks that round to all rows.
        candidates: number of different networks that round to the row of the base.
        drawn: number of configurations drawn.
    """

    found: tuple[Match, ...]
    candidates: int
    drawn: int


# Ranges around the published networks, so that a search takes seconds. A match is unique within these ranges only.
_Y = replace(
    REGNET_SPACES["regnety"],
    depth=steps(10, 30, log=False),
    w0=steps(8, 96, 8, log=False),
    wa=steps(8, 64, 0.1, log=False),
    wm=steps(2, 3, 0.001, log=False),
    bottle_ratio=Values((1.0,)),
    group_width=Values((1, 2, 4, *range(8, 65, 8))),
)
_Z = replace(_Y, name="regnetz", frame=Frame("z"), bottle_ratio=Values((4.0,)), group_width=Values((1, 2, 4, 8, 16)))

TARGETS_TO_RECOVER = {
    "RegNetY-500MF": RecoveryTarget(
        PRINTED["regnety_500mf"],
        _Y,
        {"4GF": PRINTED["regnety_500mf_dWr_4gf"], "16GF": PRINTED["regnety_500mf_dWr_16gf"]},
    ),
    "RegNetY-4GF": RecoveryTarget(
        Printed("4.1", "22.4", "14.5"),
        replace(
            _Y,
            depth=steps(12, 40, log=False),
            w0=steps(16, 160, 8, log=False),
            group_width=Values(tuple(range(8, 129, 8))),
            resolution=Values(tuple(range(192, 321, 16))),
        ),
        {"16GF": Printed("15.5", "72.3", "30.7")},
        draws=200_000,
    ),
    "RegNetZ-4GF-224": RecoveryTarget(Printed("4.0", "26.9", "20.8"), _Z, draws=60_000),
}


def recover(target: RecoveryTarget, seed: int = 0) -> Recovered:
    """Search the networks that round to all printed values.

    Args:
        target: the rows, and the space to look in.
        seed: seed of the draws.
    """
    space = target.space
    single = replace(space, group_width=Values((1,)))
    limits: Any = {
        measure: (low * _SEARCH_MARGINS[measure][0], high * _SEARCH_MARGINS[measure][1])
        for measure, (low, high) in target.printed.bounds().items()
    }
    sample = single.sample(target.draws, seed, **limits)
    free = isinstance(space.resolution, Values)
    configs: Any = sample.configs
    resolutions = configs.resolutions if free else np.full(len(sample), space.resolution)
    regnets = configs.configs if free else configs
    nets, origin, groups = _with_group_widths(regnets.nets, space.group_width)
    resolutions = resolutions[origin]
    indices = np.flatnonzero(_matches_printed(target.printed, nets.complexity(resolutions)))
    nets, origin, groups, resolutions = nets.take(indices), origin[indices], groups[indices], resolutions[indices]
    parameters = [
        replace(regnets[index], group_width=group)
        for index, group in zip(origin.tolist(), groups.tolist(), strict=True)
    ]
    first, which = _distinct(nets, resolutions)
    nets, resolutions = nets.take(first), resolutions[first]
    factors = [_factors(nets, resolutions, float(target.printed.flops), row) for row in target.scaled.values()]
    all_rows = [i for i in range(len(nets)) if all(i in of_row for of_row in factors)]
    counts = nets.complexity(resolutions)
    found = [
        Match(
            min((parameters[j] for j in np.flatnonzero(which == i)), key=_simplicity_key),
            int(resolutions[i]),
            Counts(*(int(array[i]) for array in counts)),
            {name: of_row[i] for name, of_row in zip(target.scaled, factors, strict=True)},
        )
        for i in all_rows
    ]
    return Recovered(tuple(found), len(nets), sample.drawn)


def _with_group_widths(nets: AnyNetBatch, values: Values | None) -> tuple[AnyNetBatch, Array, Array]:
    """Every network with every group width, the index of the network, and the group width; n·k of each."""
    groups = np.array(values.values if values else (0,))
    origin, group = np.repeat(np.arange(len(nets)), len(groups)), np.tile(groups, len(nets))
    nets = nets.take(origin)
    wanted = np.broadcast_to(group[:, None], nets.widths.shape)
    widths, group_widths = fit_group_width_arrays(nets.widths, nets.bottle_ratios, wanted)
    return replace(nets, widths=widths, group_widths=group_widths), origin, group


def _distinct(nets: AnyNetBatch, resolutions: Array) -> tuple[Array, Array]:
    """Index of the first of each group of equal networks, and for each network the index of its group."""
    rows = np.concatenate([nets.depths, nets.widths, nets.group_widths, resolutions[:, None]], axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, which.ravel()


def _factors(nets: AnyNetBatch, resolutions: Array, base: float, row: Printed) -> dict[int, tuple[float, float]]:
    """Smallest and largest factor of three digits that scales a network to the row, by the network's index."""
    factors: dict[int, tuple[float, float]] = {}
    for factor in _three_digit_factors(0.8 * float(row.flops) / base, 1.25 * float(row.flops) / base):
        multipliers = STRATEGIES["dWr"].multipliers(factor)
        larger = _scale(nets, multipliers)
        sides, indices = np.unique(resolutions, return_inverse=True)
        larger_sides = np.array([round_resolution(side * multipliers.resolution) for side in sides.tolist()])
        for i in np.flatnonzero(_matches_printed(row, larger.complexity(larger_sides[indices.ravel()]))).tolist():
            factors[i] = (factors.get(i, (factor,))[0], factor)
    return factors


def _scale(nets: AnyNetBatch, multipliers: Multipliers) -> AnyNetBatch:
    inner_widths = nets.inner_widths()
    depths, widths, group_widths = scale_anynet_arrays(
        nets.depths, nets.widths, inner_widths, nets.bottle_ratios, nets.group_widths, multipliers
    )
    return replace(nets, depths=depths, widths=widths, group_widths=group_widths)


def _three_digit_factors(low: float, high: float) -> Iterator[float]:
    factor = float(f"{low:.3g}")
    while factor <= high:
        yield factor
        factor = float(f"{factor + 10.0 ** (np.floor(np.log10(factor)) - 2):.3g}")


def _matches_printed(row: Printed, counts: Complexities) -> Array:
    inside = np.ones(len(counts.flops), dtype=bool)
    for measure, (low, high) in row.bounds().items():
        values = getattr(counts, measure)
        inside &= (values >= low) & (values < high)
    return inside


def _simplicity_key(cfg: RegNetCfg) -> tuple[Any, ...]:
    return len(f"{cfg.wa:g}{cfg.wm:g}"), cfg.wm, cfg.wa


def table(names: Iterable[str] | None = None, show: int = 5) -> Iterator[str]:
    """Lines of at most 80 columns with the matches of each target.

    Args:
        names: names in ``TARGETS_TO_RECOVER``. ``None``: all.
        show: how many matches of each are shown.
    """
    for name in names or TARGETS_TO_RECOVER:
        target = TARGETS_TO_RECOVER[name]
        result = recover(target)
        rows = {name: target.printed, **{f"→ {to}": row for to, row in target.scaled.items()}}
        yield "; ".join(f"{label} {'/'.join(row)}" for label, row in rows.items())
        yield f"  {result.drawn:,} drawn, {result.candidates:,} networks match the first row, {len(result.found):,} all"
        if result.found:
            yield f"  {'d':>2} {'w0':>3} {'wa':>5} {'wm':>6} {'g':>3} {'r':>4}   flops   params   acts   factors"
        for found in sorted(result.found, key=lambda found: _simplicity_key(found.cfg))[:show]:
            cfg, counts = found.cfg, found.counts
            factors = "  ".join(f"{low:g}–{high:g}" for low, high in found.factors.values())
            yield (
                f"  {cfg.depth:2} {cfg.w0:3} {cfg.wa:5g} {cfg.wm:6g} {cfg.group_width:3} {found.resolution:4} "
                f"{counts.flops / 1e9:6.3f}G {counts.params / 1e6:7.3f}M {counts.acts / 1e6:6.3f}M  {factors}"
            ).rstrip()
        if len(result.found) > show:
            yield f"  … and {len(result.found) - show:,} more: the figures do not say which"
        yield ""

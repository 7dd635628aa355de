"""Networks that a paper leaves unprinted, found from the figures that it prints.

Fast and Accurate Model Scaling, Tables 6 to 8, prints flops, params and acts of RegNets whose parameters it does not
print, and of the same networks scaled by dWr (α = 0.8). Configurations of a design space that round to the figures of
the base are scaled by every factor that may give the flops of a scaled row; what then rounds to all rows is left.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.complexity import Counts
from timm_regnet_ds.models.regnet import RegNetCfg, fit_group_width_arrays
from timm_regnet_ds.papers.complexity import Printed
from timm_regnet_ds.scaling.arithmetic.rounding import round_resolution
from timm_regnet_ds.scaling.arithmetic.strategy import STRATEGIES, Multipliers
from timm_regnet_ds.scaling.named.anynet import scale_anynet_arrays

from .arrays import AnyNets, Frame
from .regnet import REGNETS, RegNetSpace
from .space import Complexities
from .values import Values, steps

__all__ = ["UNPRINTED", "Found", "Recovered", "Unprinted", "recover", "table"]

Array = NDArray[Any]

# A group width adds flops and params, and hardly acts: structures of single channels a group are drawn with so much of
# the printed figures, and then each is given every group width.
_SHARES = {"flops": (0.6, 1.0), "params": (0.6, 1.0), "acts": (0.93, 1.07)}
_UNITS = {"flops": 1e9, "params": 1e6, "acts": 1e6}


@dataclass(frozen=True)
class Unprinted:
    """A network of which only figures are printed.

    Args:
        printed: its row.
        space: where to look.
        scaled: rows of the same network scaled by dWr.
        structures: how many configurations of about the printed figures are drawn; each is given every group width.
    """

    printed: Printed
    space: RegNetSpace
    scaled: Mapping[str, Printed] = field(default_factory=dict)
    structures: int = 20_000


@dataclass(frozen=True)
class Found:
    """A network that rounds to all rows.

    Attributes:
        cfg: of the parameters that give it, those with the fewest digits.
        resolution: side of the images.
        counts: its complexity.
        factors: for each scaled row the least and the largest factor of three digits with which it comes out.
    """

    cfg: RegNetCfg
    resolution: int
    counts: Counts
    factors: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Recovered:
    """What a search found.

    Attributes:
        found: networks that round to all rows.
        candidates: number of different networks that round to the base's row.
        drawn: how many configurations were drawn.
    """

    found: tuple[Found, ...]
    candidates: int
    drawn: int


# Ranges about the networks that are public; with them a search takes seconds. What is found is unique in them.
_Y = replace(
    REGNETS["regnety"],
    depth=steps(10, 30, log=False),
    w0=steps(8, 96, 8, log=False),
    wa=steps(8, 64, 0.1, log=False),
    wm=steps(2, 3, 0.001, log=False),
    bottle_ratio=Values((1.0,)),
    group_width=Values((1, 2, 4, *range(8, 65, 8))),
)
_Z = replace(_Y, name="regnetz", frame=Frame("z"), bottle_ratio=Values((4.0,)), group_width=Values((1, 2, 4, 8, 16)))

UNPRINTED = {
    "RegNetY-500MF": Unprinted(
        Printed("0.5", "5.6", "4.2"),
        _Y,
        {"4GF": Printed("4.1", "36.2", "13.3"), "16GF": Printed("16.2", "112.7", "29.4")},
    ),
    "RegNetY-4GF": Unprinted(
        Printed("4.1", "22.4", "14.5"),
        replace(
            _Y,
            depth=steps(12, 40, log=False),
            w0=steps(16, 160, 8, log=False),
            group_width=Values(tuple(range(8, 129, 8))),
            resolution=Values(tuple(range(192, 321, 16))),
        ),
        {"16GF": Printed("15.5", "72.3", "30.7")},
        structures=200_000,
    ),
    "RegNetZ-4GF-224": Unprinted(Printed("4.0", "26.9", "20.8"), _Z, structures=60_000),
}


def recover(unprinted: Unprinted, seed: int = 0) -> Recovered:
    """Look for the networks that round to all printed figures.

    Args:
        unprinted: the rows, and the space to look in.
        seed: of the draws.
    """
    space = unprinted.space
    single = replace(space, group_width=Values((1,)))
    limits: Any = {
        measure: (low * _SHARES[measure][0], high * _SHARES[measure][1])
        for measure, (low, high) in _bounds(unprinted.printed).items()
    }
    sample = single.sample(unprinted.structures, seed, **limits)
    free = isinstance(space.resolution, Values)
    configs: Any = sample.configs
    resolutions = configs.resolutions if free else np.full(len(sample), space.resolution)
    regnets = configs.configs if free else configs
    nets, origin, groups = _with_group_widths(regnets.nets, space.group_width)
    resolutions = resolutions[origin]
    places = np.flatnonzero(_round_to(unprinted.printed, nets.complexity(resolutions)))
    nets, origin, groups, resolutions = nets.take(places), origin[places], groups[places], resolutions[places]
    parameters = [
        replace(regnets[place], group_width=group)
        for place, group in zip(origin.tolist(), groups.tolist(), strict=True)
    ]
    first, which = _distinct(nets, resolutions)
    nets, resolutions = nets.take(first), resolutions[first]
    factors = [_factors(nets, resolutions, float(unprinted.printed.flops), row) for row in unprinted.scaled.values()]
    all_rows = [i for i in range(len(nets)) if all(i in of_row for of_row in factors)]
    counts = nets.complexity(resolutions)
    found = [
        Found(
            min((parameters[j] for j in np.flatnonzero(which == i)), key=_digits),
            int(resolutions[i]),
            Counts(*(int(array[i]) for array in counts)),
            {name: of_row[i] for name, of_row in zip(unprinted.scaled, factors, strict=True)},
        )
        for i in all_rows
    ]
    return Recovered(tuple(found), len(nets), sample.drawn)


def _with_group_widths(nets: AnyNets, values: Values | None) -> tuple[AnyNets, Array, Array]:
    """Each network with each group width, which network it was, and the group width: n·k of each."""
    groups = np.array(values.values if values else (0,))
    origin, group = np.repeat(np.arange(len(nets)), len(groups)), np.tile(groups, len(nets))
    nets = nets.take(origin)
    wanted = np.broadcast_to(group[:, None], nets.widths.shape)
    widths, group_widths = fit_group_width_arrays(nets.widths, nets.bottle_ratios, wanted)
    return replace(nets, widths=widths, group_widths=group_widths), origin, group


def _distinct(nets: AnyNets, resolutions: Array) -> tuple[Array, Array]:
    """Where each different network is first, and which of them each is."""
    rows = np.concatenate([nets.depths, nets.widths, nets.group_widths, resolutions[:, None]], axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, which.ravel()


def _factors(nets: AnyNets, resolutions: Array, base: float, row: Printed) -> dict[int, tuple[float, float]]:
    """Of the networks that a factor of three digits brings to a row, the least and the largest such factor."""
    factors: dict[int, tuple[float, float]] = {}
    for factor in _three_digits(0.8 * float(row.flops) / base, 1.25 * float(row.flops) / base):
        multipliers = STRATEGIES["dWr"].multipliers(factor)
        larger = _scale(nets, multipliers)
        sides, places = np.unique(resolutions, return_inverse=True)
        larger_sides = np.array([round_resolution(side * multipliers.resolution) for side in sides.tolist()])
        for i in np.flatnonzero(_round_to(row, larger.complexity(larger_sides[places.ravel()]))).tolist():
            factors[i] = (factors.get(i, (factor,))[0], factor)
    return factors


def _scale(nets: AnyNets, multipliers: Multipliers) -> AnyNets:
    inner_widths = nets.inner_widths()
    depths, widths, group_widths = scale_anynet_arrays(
        nets.depths, nets.widths, inner_widths, nets.bottle_ratios, nets.group_widths, multipliers
    )
    return replace(nets, depths=depths, widths=widths, group_widths=group_widths)


def _three_digits(low: float, high: float) -> Iterator[float]:
    factor = float(f"{low:.3g}")
    while factor <= high:
        yield factor
        factor = float(f"{factor + 10.0 ** (np.floor(np.log10(factor)) - 2):.3g}")


def _bounds(row: Printed) -> dict[str, tuple[float, float]]:
    """What rounds to a row, by measure."""
    bounds = {}
    for measure, figure in row._asdict().items():
        half = 0.5 * 10.0 ** -len(figure.partition(".")[2])
        bounds[measure] = ((float(figure) - half) * _UNITS[measure], (float(figure) + half) * _UNITS[measure])
    return bounds


def _round_to(row: Printed, counts: Complexities) -> Array:
    inside = np.ones(len(counts.flops), dtype=bool)
    for measure, (low, high) in _bounds(row).items():
        values = getattr(counts, measure)
        inside &= (values >= low) & (values < high)
    return inside


def _digits(cfg: RegNetCfg) -> tuple[Any, ...]:
    return len(f"{cfg.wa:g}{cfg.wm:g}"), cfg.wm, cfg.wa


def table(names: Iterable[str] | None = None, show: int = 5) -> Iterator[str]:
    """Lines of 80 columns that say what is found of ``UNPRINTED``, or of those with these names; ``show`` of each."""
    for name in names or UNPRINTED:
        unprinted = UNPRINTED[name]
        result = recover(unprinted)
        rows = {name: unprinted.printed, **{f"→ {to}": row for to, row in unprinted.scaled.items()}}
        yield "; ".join(f"{label} {'/'.join(row)}" for label, row in rows.items())
        yield f"  {result.drawn:,} drawn, {result.candidates:,} networks match the first row, {len(result.found):,} all"
        if result.found:
            yield f"  {'d':>2} {'w0':>3} {'wa':>5} {'wm':>6} {'g':>3} {'r':>4}   flops   params   acts   factors"
        for found in sorted(result.found, key=lambda found: _digits(found.cfg))[:show]:
            cfg, counts = found.cfg, found.counts
            factors = "  ".join(f"{low:g}–{high:g}" for low, high in found.factors.values())
            yield (
                f"  {cfg.depth:2} {cfg.w0:3} {cfg.wa:5g} {cfg.wm:6g} {cfg.group_width:3} {found.resolution:4} "
                f"{counts.flops / 1e9:6.3f}G {counts.params / 1e6:7.3f}M {counts.acts / 1e6:6.3f}M  {factors}"
            ).rstrip()
        if len(result.found) > show:
            yield f"  … and {len(result.found) - show:,} more: the figures do not say which"
        yield ""

"""`scale`: makes any model that timm can build larger or smaller."""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.size_limit import check_elements
from timm_regnet_ds.common.state_shapes import shapes_of
from timm_regnet_ds.latency.cards import predictor

from .arithmetic.strategy import STRATEGIES, Multipliers, Strategy, resolve_strategy
from .building.base import Base, base_of
from .building.build import Changes, changes_of
from .families.specs import ScalingSpec
from .fitting.flops_shares import FlopsShares, flops_shares
from .fitting.search import Trial, find_factor
from .fitting.target import LatencyBudget, Predictor, Target, target_of
from .fitting.transform import ScaledArgs, apply_rules, fit_to_factor
from .fitting.whole_widths import fit_whole_widths
from .scaled_model import Latency, ScaledModel, build_and_measure

__all__ = ["Scaler", "scale"]

# If all models are on one side of the target and the best misses it by more than this share, that is an error even
# without a tolerance.
OUT_OF_REACH = 0.05


def scale(
    model_or_name: str | nn.Module,
    factor: float | None = None,
    *,
    to: str | None = None,
    strategy: str | Strategy = "dWr",
    alpha: float | None = None,
    group_width: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    acts: float | None = None,
    latency_ms: float | None = None,
    on: str | Path | Predictor | None = None,
    batch_size: int | None = None,
    tolerance: float | None = None,
    base_args: dict[str, Any] | None = None,
    input_size: Sequence[int] | None = None,
    inherit_exactly: bool = False,
) -> ScaledModel:
    """Scale a model by a factor or to a target (Fast and Accurate Model Scaling, §5, Eq. 5).

    >>> scale("convnext_tiny", to="16gf").input_size
    (3, 256, 256)

    Args:
        model_or_name: a model that timm can build, as a name or as a built model, or a module of a class that is
            declared with `scalable`.
        factor: by how much flops should grow; below 1, the model becomes smaller.
        to: a target instead of a factor: ``4gf`` or ``600mf`` (flops), ``25mp`` (params), ``12ma`` (acts).
        strategy: how the growth is shared between depth, width and resolution: a name of ``STRATEGIES``.
        alpha: the same as a number in [0, 1]: the share of the growth that goes to width. Depth and resolution share
            the rest equally (Eq. 4).
        group_width: exponent e_g with which group widths grow apart from widths, by s^(e_g/2); 0 keeps them (Table 3).
            By default, they grow as widths do.
        flops, params, acts: the target as a number.
        latency_ms: the target as an upper limit of the predicted time of a batch, in milliseconds.
        on: what predicts that time: the name of a card such as ``rtx4090`` (`timm_regnet_ds.latency.cards`), the file
            of a fit, or a `LatencyModel`. By default, the card of this machine's device.
        batch_size: images in the batch; by default that of the card, 64 on a GPU.
        tolerance: largest allowed deviation from the target, as a share of it.
        base_args: arguments of ``timm.create_model`` for the base.
        input_size: (channels, height, width) of images, for modules that timm did not build.
        inherit_exactly: let widths grow by whole numbers only, and depth only in stages whose new blocks can be
            identities, so that ``create(inherit=…)`` can be exact; depth and resolution make up for the flops.

    Raises:
        ValueError: neither or both of factor and target, an invalid value, a model that does not scale along an axis
            of the strategy, or a target out of reach. The message says what is possible.
        TypeError: ``model_or_name`` is neither a name nor a module.
    """
    how = _strategy(strategy, alpha, group_width)
    target = _target(target_of(to, flops=flops, params=params, acts=acts), latency_ms, on, batch_size)
    if (factor is None) == (target is None):
        raise ValueError("a factor or a target is needed, and not both" if factor is None else _BOTH)
    if factor is not None:
        factor = check_float("factor", factor, above=0)
    if tolerance is not None:
        check_float("tolerance", tolerance, above=0)
        if target is None:
            raise ValueError("tolerance needs a target, and there is none")
    base = base_of(model_or_name, base_args or {}, input_size)
    if isinstance(model_or_name, nn.Module) and not hasattr(model_or_name, "_model_args"):
        _check_same(model_or_name, base)
    scaler = Scaler(base, how, inherit_exactly)
    if target is None:
        assert factor is not None
        return scaler.by(factor)
    return scaler.to(target, tolerance)


_BOTH = "a factor and a target exclude each other: pass one of them"


# Flops shares of recently scaled bases, so that scaling one base several ways measures it once.
_recent_shares: dict[tuple[Any, str], FlopsShares] = {}
_lock = threading.Lock()
_MAX_RECENT = 16


class Scaler:
    """Scales one base by one strategy.

    Raises:
        ValueError: the base does not scale along an axis of the strategy.
    """

    def __init__(self, base: Base, strategy: Strategy, inherit_exactly: bool = False) -> None:
        if inherit_exactly and base.spec.exact_depth:
            base = replace(base, spec=replace(base.spec, depth=base.spec.exact_depth))
        _check_axes(base, strategy)
        if strategy.group_width is not None and not _has_group_widths(base):
            raise ValueError(
                f"{base.name} has no group widths to scale: it has no grouped convolutions with groups of several "
                "channels, or none whose group width is an argument of its class"
            )
        self.base = base
        self.strategy = strategy
        self.inherit_exactly = inherit_exactly

    @cached_property
    def base_shares(self) -> FlopsShares:
        """The base's complexity and the shares of its flops, measured once."""
        base = self.base
        key = (
            base.build.model_cls,
            repr((base.name, base.create_args, base.build, base.pretrained_cfg, base.input_size)),
        )
        with _lock:
            found = _recent_shares.get(key)
        if found is None:
            found = flops_shares(*build_and_measure(base.name, base, Changes(), base.input_size))
            with _lock:
                _recent_shares[key] = found
                if len(_recent_shares) > _MAX_RECENT:
                    del _recent_shares[next(iter(_recent_shares))]
        return found

    def scale_args(self, factor: float) -> ScaledArgs:
        """The base's arguments and image size, scaled by a factor."""
        base = self.base
        if self.inherit_exactly:
            return fit_whole_widths(base.spec, base.args, base.input_size, self.strategy, factor, self.base_shares)
        if base.spec.round_independently:
            return apply_rules(base.spec, base.args, base.input_size, self.strategy.multipliers(factor))
        return fit_to_factor(base.spec, base.args, base.input_size, self.strategy, factor, self.base_shares)

    def by(self, factor: float) -> ScaledModel:
        """The base scaled by a factor."""
        self.check_size(factor)
        return self.model(factor, self.scale_args(factor))

    def model(self, factor: float, scaled: ScaledArgs) -> ScaledModel:
        changes = changes_of(self.base, scaled.args, scaled.input_size)
        return ScaledModel(
            base=self.base.name,
            strategy=self.strategy,
            factor=factor,
            multipliers=self.strategy.multipliers(factor),
            achieved=scaled.achieved,
            overrides=dict(changes.args),
            input_size=scaled.input_size,
            base_complexity=self.base_shares.complexity,
            _base=self.base,
            _changes=changes,
            _multipliers=scaled.multipliers,
            _inherit_exactly=self.inherit_exactly,
        )

    def to(self, target: Target | LatencyBudget, tolerance: float | None) -> ScaledModel:
        """The base scaled by the factor whose model is nearest to a target, or an error if that is not near enough."""
        base = self.base_shares.complexity
        if target.dtype != base.dtype:
            base = build_and_measure(self.base.name, self.base, Changes(), self.base.input_size, target.dtype)[1]
        exponent = target.exponent(self.strategy, base)
        if not exponent:
            raise ValueError(f"strategy {self.strategy.name} does not change {target.measure}: it reaches no target")
        tried: dict[float, ScaledModel] = {}

        def evaluate(factor: float) -> tuple[Hashable, Callable[[], float]]:
            self.check_size(factor)
            tried[factor] = model = self.model(factor, self.scale_args(factor))
            return repr((model.overrides, model.input_size)), lambda: target.value_of(model.measure(target.dtype))

        if (least := target.lower_limit()) >= target.value:
            raise ValueError(f"no model takes {target}: a call alone takes {replace(target, value=least)}")
        best, below, above = find_factor(target, Trial(1.0, target.value_of(base)), exponent, evaluate, tolerance)
        off = abs(best.value / target.value - 1)
        if (below is None and not target.may_exceed) or ((below is None or above is None) and off > OUT_OF_REACH):
            limit = f"no {'less' if below is None else 'more'} than {replace(target, value=best.value)}"
            raise ValueError(f"{self.base.name} by {self.strategy.name} reaches {limit}, not {target}")
        if tolerance is not None and off > tolerance:
            sides = " and ".join(
                f"{replace(target, value=side.value)} (factor {side.factor:g})" for side in (below, above) if side
            )
            raise ValueError(
                f"{self.base.name} by {self.strategy.name} comes no nearer to {target} than {off:.2%}; "
                f"the nearest that were found are {sides}"
            )
        found = tried[best.factor]
        return replace(found, latency=Latency.of(target, best.value)) if isinstance(target, LatencyBudget) else found

    def check_size(self, factor: float) -> None:
        """Raise a ValueError for a model that is larger than any memory, before it is built."""
        grown, base = self.strategy.growth(factor), self.base_shares.complexity
        for measure in ("params", "acts"):
            elements = getattr(base, measure) * getattr(grown, measure)
            check_elements(f"{self.base.name} scaled by {factor:g}", elements, measure)


def _has_group_widths(base: Base) -> bool:
    by = Multipliers(group_width=2.0)
    return apply_rules(base.spec, base.args, base.input_size, by).args != base.args


def _target(
    target: Target | None, latency_ms: float | None, on: str | Path | Predictor | None, batch_size: int | None
) -> Target | LatencyBudget | None:
    if latency_ms is None:
        given = [name for name, value in {"on": on, "batch_size": batch_size}.items() if value is not None]
        if given:
            raise ValueError(f"{given[0]} goes with latency_ms, and there is none")
        return target
    if target is not None:
        raise ValueError(f"one target is needed, not two: {target}, and {latency_ms} ms")
    batch = None if batch_size is None else check_int("batch_size", batch_size)
    return LatencyBudget(check_float("latency_ms", latency_ms, above=0), predictor(on), batch)


def _strategy(strategy: str | Strategy, alpha: float | None, group_width: float | None) -> Strategy:
    if alpha is not None and strategy != "dWr":
        raise ValueError(f"strategy {strategy!r} and alpha {alpha!r} exclude each other: pass one of them")
    found = resolve_strategy(strategy if alpha is None else check_float("alpha", alpha, minimum=0, maximum=1))
    if group_width is None:
        return found
    exponent = check_float("group_width", group_width, minimum=0)
    return replace(found, name=f"{found.name}, group width {exponent:g}", group_width=exponent)


def _check_axes(base: Base, strategy: Strategy) -> None:
    lacking = _lacking(base.spec, strategy)
    if lacking:
        can = [name for name, other in STRATEGIES.items() if not _lacking(base.spec, other)]
        why = base.spec.why_fixed.get(lacking[0], "no argument of its class sets it")
        raise ValueError(
            f"{base.name} does not scale in {lacking[0]}: {why}; strategies that it allows: {', '.join(can)}"
        )


def _check_same(model: nn.Module, base: Base) -> None:
    """Raise a ValueError if the base's name alone does not build ``model``, whose arguments timm did not record.

    timm records the arguments of a model since version 1.0.31.
    """
    built, _ = build_and_measure(base.name, base, Changes(), base.input_size)
    if base.pretrained_cfg is not None and shapes_of(built.state_dict()) != shapes_of(model.state_dict()):
        raise ValueError(f"{base.name} alone does not build this model: pass the arguments that did as base_args")


def _lacking(spec: ScalingSpec, strategy: Strategy) -> list[str]:
    """The axes that the strategy scales and the model does not."""
    return [axis for axis in ("depth", "width") if getattr(strategy, axis) and not getattr(spec, axis)]

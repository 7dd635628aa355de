"""Scaled models as text of at most 80 columns and as plain values."""

import json
import re
import shlex
import textwrap
from collections.abc import Iterable
from typing import Any

from timm.models import is_model

from timm_regnet_ds.common.text import format_size, shorten
from timm_regnet_ds.complexity import UNITS, ZERO_COUNTS
from timm_regnet_ds.latency.cards import predictor
from timm_regnet_ds.scaling.arithmetic.strategy import STRATEGIES, describe_scaling
from timm_regnet_ds.scaling.fitting.target import MEASURES
from timm_regnet_ds.scaling.scale import scale
from timm_regnet_ds.scaling.scaled_model import ScaledModel

from .exponents import exponents, predicted

__all__ = ["format_exponents", "format_scaled", "format_strategies", "format_usage", "to_dict"]

# A module with more submodules than this is shown as one row.
_MAX_PARTS = 8


def format_scaled(model: ScaledModel) -> str:
    """A table of base, scaled model and prediction, then the parts of the model, then the changed arguments."""
    lines = [
        describe_scaling(model.base, _how(model), model.factor),
        "",
        f"{'':12}{'base':>12}{'scaled':>12}{'growth':>10}{'predicted':>11}",
        *(_measure_line(model, name) for name in MEASURES),
        *(_axis_line(model, name) for name in ("depth", "width")),
        _resolution_line(model),
        "",
        f"{'':28}{'flops (G)':>23}{'params (M)':>24}",
        f"{'part':28}" + f"{'base':>9}{'scaled':>9}{'×':>6}" * 2,
        *_part_lines(model),
        "",
        *(_override_line(model, name) for name in model.overrides),
    ]
    return "\n".join(line.rstrip() for line in lines)


def format_usage(model: ScaledModel) -> str:
    """The line of Python and the options of timm's ``train.py`` that build the model.

    They contain the factor and not the target, so that nothing is searched again.
    """
    recipe = model.recipe()
    call = ["timm.create_model(", '"scaled", ', *(f"{name}={value!r}, " for name, value in recipe.items())]
    python = "".join(call).removesuffix(", ").replace("'", '"') + ")"
    kwargs = (shlex.quote(f"{name}={value}".replace("'", '"')) for name, value in recipe.items())
    train = _fold(" ".join(["--model scaled --model-kwargs", *kwargs]), " \\")
    return f"in Python:\n{_fold(python)}\noptions of timm's train.py:\n{train}"


def _fold(text: str, end: str = "") -> str:
    """Text indented and broken at spaces outside quotes into lines, if possible of at most 80 columns."""
    joined = re.sub("'[^']*'|\"[^\"]*\"", lambda quoted: quoted[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(joined, 78 - len(end), break_long_words=False, break_on_hyphens=False)
    return f"{end}\n".join(f"  {line}" for line in lines).replace("\0", " ")


def _how(model: ScaledModel) -> str:
    alpha = "" if model.alpha is None else f"α = {model.alpha:.2g}"
    return model.strategy.name + (alpha and f" ({alpha})") if model.strategy.name in STRATEGIES else alpha


def _measure_line(model: ScaledModel, name: str) -> str:
    unit = UNITS[name]
    before, after = (getattr(c, name) / unit.size for c in (model.base_complexity, model.complexity))
    growth, predicted = getattr(model.growth, name), getattr(model.predicted, name)
    return f"{f'{name} ({unit.prefix})':12}{before:12.4g}{after:12.4g}{growth:9.3g}×{predicted:10.3g}×"


def _axis_line(model: ScaledModel, name: str) -> str:
    return f"{name:12}{'':24}{getattr(model.achieved, name):9.3g}×{getattr(model.multipliers, name):10.3g}×"


def _resolution_line(model: ScaledModel) -> str:
    before, after = (format_size(c.input_size[1:]) for c in (model.base_complexity, model.complexity))
    achieved, ideal = model.achieved.resolution, model.multipliers.resolution
    return f"{'resolution':12}{before:>12}{after:>12}{achieved:9.3g}×{ideal:10.3g}×"


def _part_lines(model: ScaledModel) -> list[str]:
    before, after = model.base_complexity.by_module(2), model.complexity.by_module(2)
    lines = []
    for name in after:
        if not name or name.count(".") or not after[name].flops:
            continue
        below = [part for part in after if part.startswith(f"{name}.")]
        # The module with most of the flops contains the stages; each of them is a row.
        stages = after[name].flops > after[""].flops / 2 and 1 < len(below) <= _MAX_PARTS
        for part in below if stages else [name]:
            label = shorten(part, 27, keep="end")
            old, new = before.get(part, ZERO_COUNTS), after[part]
            flops = _pair(old.flops / 1e9, new.flops / 1e9)
            lines.append(f"{label:28}{flops}{_pair(old.params / 1e6, new.params / 1e6)}")
    return lines


def _pair(before: float, after: float) -> str:
    return f"{before:9.3f}{after:9.3f}{f'{after / before:.2f}' if before else '':>6}"


def _override_line(model: ScaledModel, name: str) -> str:
    before, after = model.base_value(name), model.overrides[name]
    text = f"{name}: {before} → {after}"
    return text if len(text) <= 80 else f"{name}: changed"


def format_strategies(
    name: str,
    to: str | None = None,
    latency_ms: float | None = None,
    on: Any = None,
    batch_size: int | None = None,
) -> str:
    """A table with one row per strategy, all scaled to the same target.

    Args:
        name: the base.
        to: the target in flops, params or acts.
        latency_ms: instead of it, the most milliseconds.
        on: what predicts time, as for `scale`. If given, the table has a column of milliseconds.
        batch_size: images in the batch whose time is predicted.

    Raises:
        ValueError: an unknown name or card, a wrong target, or one that no strategy reaches.
    """
    how: dict[str, Any] = {"to": to}
    timed = on is not None or latency_ms is not None
    if timed:
        on = predictor(on)
    if latency_ms is not None:
        how |= {"latency_ms": latency_ms, "on": on, "batch_size": batch_size}
    lines = [
        f"{name} to {to if latency_ms is None else f'{latency_ms:g} ms'}",
        *(
            [line for text in (on.about(batch_size), on.expected_error(batch_size)) for line in textwrap.wrap(text, 80)]
            if timed
            else []
        ),
        "",
        f"{'strategy':8}{'factor':>8}{'flops (G)':>10}{'params (M)':>11}{'acts (M)':>9}"
        f"{'depth':>8}{'width':>8}{'size':>9}{'ms' if timed else '':>9}".rstrip(),
    ]
    errors = []
    for strategy in STRATEGIES:
        try:
            model = scale(name, strategy=strategy, **how)
        except ValueError as error:
            errors.append(error)
            lines.append(f"{strategy:8}{textwrap.shorten(str(error), 71, placeholder=' …')}")
            continue
        c, by = model.complexity, model.achieved
        size = format_size(c.input_size[1:])
        lines.append(
            f"{strategy:8}{model.factor:8.4g}{c.flops / 1e9:10.4g}{c.params / 1e6:11.4g}{c.acts / 1e6:9.4g}"
            f"{by.depth:7.3g}×{by.width:7.3g}×{size:>9}{_milliseconds(model, on, batch_size) if timed else ''}"
        )
    if len(errors) == len(STRATEGIES):  # the name or the target is wrong
        raise errors[0]
    return "\n".join(lines)


def _milliseconds(model: ScaledModel, on: Any, batch_size: int | None) -> str:
    options = {} if batch_size is None else {"batch_size": batch_size}
    return f"{on.predict(model.measure(on.dtype), **options):9.4g}"


def format_exponents(names: Iterable[str]) -> str:
    """A table of the fitted exponents of params and acts over flops, each with the predicted one in parentheses."""
    lines = [f"{'':32}{'params':>16}{'body':>16}{'acts':>16}"]
    for name in names:
        for strategy in ("w", "dwr", "dWr"):
            label = f"{name if len(name) <= 27 else f'{name[:26]}…'} {strategy}"
            try:
                found = exponents(name, strategy)
            except ValueError as error:
                if not is_model(name):
                    raise
                lines.append(f"{label:32}{textwrap.shorten(str(error), 48, placeholder=' …')}")
                continue
            wanted = predicted(STRATEGIES[strategy])
            pairs = ((getattr(found, part), getattr(wanted, part)) for part in ("params", "body", "acts"))
            lines.append(f"{label:32}" + "".join(f"{f'{fitted:.2f} ({theory:.2f})':>16}" for fitted, theory in pairs))
    return "\n".join(lines)


def to_dict(model: ScaledModel) -> dict[str, Any]:
    """All fields and measurements as values that JSON can hold."""
    return {
        "base": model.base,
        "strategy": model.strategy.name,
        "alpha": model.alpha,
        "factor": model.factor,
        "multipliers": vars(model.multipliers),
        "achieved": vars(model.achieved),
        "overrides": json.loads(json.dumps(model.overrides, default=str)),
        "input_size": list(model.input_size),
        "base_complexity": model.base_complexity.to_dict(),
        "complexity": model.complexity.to_dict(),
        "predicted": vars(model.predicted),
        "growth": vars(model.growth),
        **({} if model.latency is None else {"latency": vars(model.latency)}),
    }

"""Builds a scaled model that starts from the weights of its base."""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from timm.models import create_model
from timm.utils.model import unwrap_model
from torch import nn

from timm_regnet_ds.weights import Inherited, inherit
from timm_regnet_ds.weights.checks import check_state

from .arithmetic.rounding import nearest_multiple
from .arithmetic.strategy import Multipliers
from .building.base import Base, ImageSize
from .building.build import Changes, build_changed, changes_of
from .building.capture import bypass_interception
from .fitting.transform import apply_rules
from .fitting.whole_widths import whole_ratio

__all__ = ["create_inheriting"]

# Above this error, outputs are not those of the base in any useful sense.
_OVERLAP = 0.2

# Models that take images of any size are compared on smaller ones, which takes less time.
_SIDE = 96


def create_inheriting(
    base: Base,
    create: Callable[..., nn.Module],
    multipliers: Multipliers,
    source: bool | nn.Module | Mapping[str, Any],
    exact: bool,
    **kwargs: Any,
) -> nn.Module:
    """Build a scaled model with its base's weights.

    Args:
        base: the model that was scaled.
        create: builds the scaled model from arguments of ``timm.create_model``.
        multipliers: those that the rules were given.
        source: a trained base, its state dict, or True for its pretrained weights.
        exact: raise an error if the model does not compute what the base computes.
        **kwargs: arguments of ``timm.create_model``.

    Raises:
        ValueError: a base that does not fit, or is not exact where it has to be.
    """
    if kwargs.get("features_only"):
        raise ValueError("inherit= does not go with features_only=True: inherit first, then take features")
    trained = _trained_base(base, source, {key: value for key, value in kwargs.items() if key != "num_classes"})
    if base.pretrained_cfg is not None and hasattr(trained, "num_classes"):
        kwargs.setdefault("num_classes", trained.num_classes)
    classes = kwargs.get("num_classes")
    fresh_head = classes is not None and classes != getattr(trained, "num_classes", classes)
    if fresh_head:
        trained = _with_classes(trained, int(classes))  # type: ignore[arg-type]

    def scaled(by: Multipliers) -> nn.Module:
        args = apply_rules(base.spec, base.args, base.input_size, by).args
        return build_changed(base, changes_of(base, args, base.input_size), **kwargs)

    model = create(**kwargs)
    d, w, g, r = multipliers.depth, multipliers.width, multipliers.group_width, multipliers.resolution
    grown = model if r == 1 else scaled(Multipliers(d, w, g, 1.0))
    between = None
    if d != 1 and w != 1:
        with torch.device("meta"), bypass_interception():
            between = scaled(Multipliers(1.0, w, g, 1.0))
    result = inherit(trained, grown, between, input_size=_compared_size(base))
    if grown is not model:
        _load_resampled(base, grown, model)
    if fresh_head:
        result = result.with_new(_head_parameters(model))
    _report(base, result, exact, w)
    vars(model)["inherited"] = result
    return model


def _trained_base(base: Base, source: bool | nn.Module | Mapping[str, Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """The trained base, checked."""
    if source is True:
        if base.pretrained_cfg is None:
            raise ValueError(f"{base.name} is not a model of timm and has no pretrained weights: pass inherit=model")
        with bypass_interception():
            try:
                return create_model(base.name, pretrained=True, **{**base.create_args, **kwargs})
            except RuntimeError as error:
                if not str(error).startswith("No pretrained weights exist"):
                    raise
                raise ValueError(f"inherit=True: {base.name} has no pretrained weights to load ({error})") from error
    if not isinstance(source, (nn.Module, Mapping)):
        raise TypeError(f"inherit takes a model, a state dict or True, not {type(source).__name__}")
    model: nn.Module | None = None
    if isinstance(source, nn.Module):
        model = unwrap_model(source)  # of torch.compile, DistributedDataParallel or an average of weights
        state: Mapping[str, Any] = model.state_dict()
    else:
        state = source.get("state_dict", source)
    expected = build_changed(base, Changes(), **{**kwargs, **_own_classes(base, model, state)})
    check_state(base.name, state, expected)
    if model is not None and type(model) is type(expected):
        return model
    expected.load_state_dict(dict(state))
    return expected.eval()


def _own_classes(base: Base, source: Any, state: Mapping[str, Any]) -> dict[str, int]:
    """The number of classes that a base has been trained for."""
    if hasattr(source, "num_classes"):
        return {"num_classes": source.num_classes}
    heads = _heads(base.pretrained_cfg or {})
    weight = state.get(f"{heads[0]}.weight") if heads else None
    return {} if weight is None else {"num_classes": weight.shape[0]}


def _heads(pretrained_cfg: Mapping[str, Any]) -> list[str]:
    names = pretrained_cfg.get("classifier") or ()
    return [names] if isinstance(names, str) else list(names)


def _with_classes(trained: nn.Module, classes: int) -> nn.Module:
    """A copy of the base with a fresh classifier, through which its features are compared."""
    if not hasattr(trained, "reset_classifier"):
        raise ValueError(f"{type(trained).__name__} cannot change its number of classes: leave num_classes out")
    changed: Any = copy.deepcopy(trained)
    changed.reset_classifier(classes)
    return changed


def _head_parameters(model: nn.Module) -> list[str]:
    heads = _heads(getattr(model, "pretrained_cfg", None) or {})
    return [name for name, _ in model.named_parameters() if any(name.startswith(f"{head}.") for head in heads)]


def _compared_size(base: Base) -> ImageSize:
    """The size of the images on which outputs are compared: the base's, or a smaller one if it takes any."""
    channels, height, width = base.input_size
    cfg = base.pretrained_cfg or {}
    if cfg.get("fixed_input_size") or base.args.get("img_size") or base.pretrained_cfg is None:
        return base.input_size
    multiple = base.spec.resolution_multiple(base.args)
    if 32 % multiple and multiple % 32:
        multiple *= 32
    sides = [side if side <= _SIDE else min(side, nearest_multiple(_SIDE, multiple)) for side in (height, width)]
    return channels, sides[0], sides[1]


def _load_resampled(base: Base, grown: nn.Module, model: nn.Module) -> None:
    """Load weights for images of another size; timm's own functions resample embeddings of positions."""
    wanted = model.state_dict()
    state: dict[str, Any] = dict(grown.state_dict())
    if any(state[key].shape != value.shape for key, value in wanted.items() if key in state):
        adapt = base.build.options.get("pretrained_filter_fn")
        if adapt is not None:
            state = dict(adapt(state, model))
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for key, value in wanted.items():
        if key not in state or state[key].shape != value.shape:
            if key in parameters:
                shape = tuple(state[key].shape) if key in state else "missing"
                raise ValueError(
                    f"{base.name}: {key} ({shape}) cannot be resampled to {tuple(value.shape)} for images of another "
                    "size; scale with a strategy that leaves the resolution, such as 'dw'"
                )
            state[key] = value  # a table of positions that follows from the image size
    model.load_state_dict({key: state[key] for key in wanted})


def _report(base: Base, result: Inherited, exact: bool, width: float) -> None:
    """Warn about an error, or raise it."""
    if result.exact:
        return
    reasons = "; ".join(result.reasons[:3]) or "no reason was found"
    if exact:
        fraction = any(found.fraction for found in result.widened.values())
        whole = whole_ratio(base.spec, base.args, base.input_size, width) if fraction else None
        advice = (
            f"widths that grow by {whole} can be exact: scale(…, inherit_exactly=True)"
            if whole
            else "inherit without exact=True to begin with these weights all the same"
        )
        raise ValueError(
            f"{base.name}: the scaled model does not compute what its base computes (error {result.error:.2g}): "
            f"{reasons}; {advice}"
        )
    what = "overlap copied, not inherited" if result.error > _OVERLAP else "not inherited exactly"
    warnings.warn(f"{base.name}: {what}: error {result.error:.2g}: {reasons}", stacklevel=4)

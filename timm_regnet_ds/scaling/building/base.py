"""What is to be scaled: a name or a module, and what timm would build it from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from timm.models import get_pretrained_cfg, is_model, list_models
from timm.models._builder import resolve_pretrained_cfg
from timm.models._registry import _deprecated_models
from torch import nn

from timm_regnet_ds._check import check_int, did_you_mean
from timm_regnet_ds.scaling.families.axes import Axes, axes_of, complete_args, recorded_args
from timm_regnet_ds.scaling.families.rules import Args

from .capture import Build, capture

__all__ = ["Base", "base_of"]


@dataclass(frozen=True)
class Base:
    """A model as it is before scaling.

    Attributes:
        name: registered name, with its tag if one was given, or the class of a module that timm did not build.
        given: arguments of ``create_model`` beside the name.
        build: what timm would build.
        args: the class's arguments, with defaults.
        cfg: pretrained config, without its weights; None for a module that timm did not build.
        input_size: (channels, height, width) of images.
        axes: what scales.
    """

    name: str
    given: dict[str, Any]
    build: Build
    args: Args
    cfg: dict[str, Any] | None
    input_size: tuple[int, int, int]
    axes: Axes


def base_of(model: str | nn.Module, given: dict[str, Any], input_size: Any) -> Base:
    """What a name or a module stands for.

    Raises:
        ValueError: an unknown or deprecated name, or a module whose class has no declaration.
        TypeError: neither a name nor a module.
    """
    if given.pop("pretrained", False):
        raise ValueError(f"pretrained=True: the weights of the base {model} do not fit a scaled model")
    if isinstance(model, str):
        _refuse_size(input_size)
        return _named(model, given)
    if not isinstance(model, nn.Module):
        raise TypeError(f"a timm model's name or a torch.nn.Module is needed, not {type(model).__name__}")
    cfg: Any = getattr(model, "pretrained_cfg", None)
    name = cfg.get("architecture") if isinstance(cfg, dict) else None
    if name is not None and is_model(name):
        _refuse_size(input_size)
        return _named(*_created_with(model, name, cfg, given))
    if given:
        raise ValueError(f"base_args are for models of timm, and {type(model).__name__} is none")
    return _own(model, input_size)


def _named(name: str, given: dict[str, Any]) -> Base:
    if ":" in name:
        raise ValueError(f"a registered name is needed, not {name!r}: build that model and scale it")
    if name in _deprecated_models:
        raise ValueError(f"{name!r} is a deprecated name of timm: use {_deprecated_models[name] or 'another'!r}")
    if not is_model(name):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name.partition('.')[0], list_models())}")
    try:
        build = capture(name, **given)
    except RuntimeError as error:  # an unknown tag
        raise ValueError(f"{name}: {error}") from error
    cfg = _without_weights(build)
    channels, *sides = cfg["input_size"]
    side = given.get("img_size") or build.args.get("img_size")
    if side:
        sides = list(side) if isinstance(side, Sequence) else [side, side]
    cfg["input_size"] = (given.get("in_chans") or channels, *sides)
    axes = axes_of(build)
    if axes is None:
        raise ValueError(f"{name} is a {_class(build)}, of which is not declared what scales: see `scalable`")
    if build.options.get("pruned"):
        reason = "its channels were pruned to a list that comes with timm"
        axes = replace(axes, depth=(), width=(), missing={"depth": reason, "width": reason})
    return Base(name, given, build, complete_args(build), cfg, tuple(cfg["input_size"]), axes)


def _own(model: nn.Module, input_size: Any) -> Base:
    name = type(model).__name__
    args = recorded_args(model)
    build = Build(type(model), name, False, args or {})
    axes = axes_of(build)
    if axes is None or args is None:
        raise ValueError(
            f"{name} was not built by timm, and its class does not keep what it was made from: "
            "decorate it with `scalable`"
        )
    if not isinstance(input_size, Sequence) or len(input_size) != 3:
        raise ValueError(f"{name} needs input_size=(channels, height, width), not {input_size!r}")
    channels, height, width = (check_int("input_size", side) for side in input_size)
    return Base(name, {}, build, complete_args(build), None, (channels, height, width), axes)


def _refuse_size(input_size: Any) -> None:
    if input_size is not None:
        raise ValueError("input_size is for modules that timm did not build; for its models, see base_args")


def _class(build: Build) -> str:
    return getattr(build.model_cls, "__name__", repr(build.model_cls))


# Of a pretrained config: where weights are, and what is true of those weights alone.
_OF_WEIGHTS = {
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "custom_load"),
    *("label_offset", "label_names", "label_descriptions", "notes", "origin_url"),
}


def _without_weights(build: Build) -> dict[str, Any]:
    options = build.options
    cfg = resolve_pretrained_cfg(
        build.variant,
        pretrained_cfg=options.get("pretrained_cfg"),
        pretrained_cfg_overlay=options.get("pretrained_cfg_overlay"),
    )
    return {key: value for key, value in asdict(cfg).items() if key not in _OF_WEIGHTS and value is not None}


# Of a pretrained config, what a model may have been created with instead.
_DATA = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes")


def _created_with(model: Any, name: str, cfg: dict[str, Any], given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of ``create_model`` for a model that it built, as it is now."""
    if cfg.get("tag") and get_pretrained_cfg(f"{name}.{cfg['tag']}") is not None:
        name = f"{name}.{cfg['tag']}"
    own = get_pretrained_cfg(name)
    registered = own.to_dict() if own is not None else {}
    differing = {key: cfg[key] for key in _DATA if cfg.get(key) is not None and cfg[key] != registered.get(key)}
    args = dict(getattr(model, "_model_args", {}))
    args |= {key: getattr(model, key) for key in ("num_classes", "in_chans") if hasattr(model, key)}
    if differing and name != "scaled":
        args["pretrained_cfg_overlay"] = differing
    return name, args | given

"""What is to be scaled: a name or a module, and what timm would build it from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from timm.models import is_model, list_models
from timm.models._builder import resolve_pretrained_cfg
from timm.models._registry import _deprecated_models
from torch import nn

from timm_regnet_ds._check import nearest

from .axes import Axes, axes_of, complete_args, recorded_args
from .capture import Build, capture
from .rules import Args

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
    if isinstance(model, str):
        return _named(model, given)
    if not isinstance(model, nn.Module):
        raise TypeError(f"a timm model's name or a torch.nn.Module is needed, not {type(model).__name__}")
    cfg = getattr(model, "pretrained_cfg", None)
    name = cfg.get("architecture") if isinstance(cfg, dict) else None
    if name is not None and is_model(name):
        return _named(name, {"pretrained_cfg": cfg, **_created_with(model), **given})
    return _own(model, input_size)


def _named(name: str, given: dict[str, Any]) -> Base:
    if name in _deprecated_models:
        raise ValueError(f"{name!r} is a deprecated name of timm: use {_deprecated_models[name]!r}")
    if ":" not in name and not is_model(name):
        raise ValueError(f"timm has no model {name!r}{nearest(name.partition('.')[0], list_models())}")
    build = capture(name, **given)
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
            f"{name} was not built by timm, and its class does not declare what scales: decorate it with `scalable`"
        )
    if input_size is None:
        raise ValueError(f"{name} has no input size of its own: pass input_size=(channels, height, width)")
    return Base(name, {}, build, complete_args(build), None, input_size, axes)


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


def _created_with(model: Any) -> dict[str, Any]:
    """Arguments of ``create_model`` for a model that it built, as it is now."""
    args = dict(getattr(model, "_model_args", {}))
    if hasattr(model, "num_classes"):
        args["num_classes"] = model.num_classes
    if hasattr(model, "in_chans"):
        args["in_chans"] = model.in_chans
    return args

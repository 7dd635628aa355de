"""The model to scale: its name, and what timm would build it from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from timm.models import get_pretrained_cfg, is_model, list_models
from timm.models._builder import resolve_pretrained_cfg
from timm.models._registry import _deprecated_models
from torch import nn

from timm_regnet_ds.common.check import check_int, did_you_mean
from timm_regnet_ds.scaling.families.rules import Args
from timm_regnet_ds.scaling.families.specs import ScalingSpec, complete_args, recorded_args, spec_of

from .capture import BuildCall, capture

__all__ = ["Base", "ImageSize", "base_of"]

ImageSize = tuple[int, int, int]


@dataclass(frozen=True)
class Base:
    """A model before scaling.

    Attributes:
        name: the registered name, with its tag if one was given; for a module that timm did not build, its class.
        create_args: the arguments of ``timm.create_model`` other than the name.
        build: the call with which timm would build the model.
        args: the arguments of the model's class, including defaults.
        pretrained_cfg: the pretrained config without its weights; None for a module that timm did not build.
        input_size: (channels, height, width) of images.
        spec: which arguments scale.
    """

    name: str
    create_args: dict[str, Any]
    build: BuildCall
    args: Args
    pretrained_cfg: dict[str, Any] | None
    input_size: ImageSize
    spec: ScalingSpec


def base_of(model: str | nn.Module, create_args: dict[str, Any], input_size: Sequence[int] | None) -> Base:
    """The base that a name or a module stands for.

    Args:
        model: a registered name, or a module.
        create_args: arguments of ``timm.create_model`` for the base.
        input_size: (channels, height, width), for a module that timm did not build.

    Raises:
        ValueError: an unknown or deprecated name, or a module whose class is not declared with `scalable`.
        TypeError: neither a name nor a module.
    """
    create_args = dict(create_args)
    if create_args.pop("pretrained", False):
        raise ValueError(f"pretrained=True: the weights of the base {model} do not fit a scaled model")
    if isinstance(model, str):
        _refuse_size(input_size)
        return _registered(model, create_args)
    if not isinstance(model, nn.Module):
        raise TypeError(f"a timm model's name or a torch.nn.Module is needed, not {type(model).__name__}")
    cfg: Any = getattr(model, "pretrained_cfg", None)
    name = cfg.get("architecture") if isinstance(cfg, dict) else None
    if name is not None and is_model(name):
        _refuse_size(input_size)
        return _registered(*_created_with(model, name, cfg, create_args))
    if create_args:
        raise ValueError(f"base_args are for models of timm, and {type(model).__name__} is not one")
    return _declared(model, input_size)


def _registered(name: str, create_args: dict[str, Any]) -> Base:
    if ":" in name:
        raise ValueError(f"a registered name is needed, not {name!r}: build that model and scale it")
    if name in _deprecated_models:
        raise ValueError(f"{name!r} is a deprecated name of timm: use {_deprecated_models[name] or 'another'!r}")
    if not is_model(name):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name.partition('.')[0], list_models())}")
    try:
        build = capture(name, **create_args)
        cfg = _without_weights(build)
    except RuntimeError as error:  # an unknown tag
        raise ValueError(f"{name}: {error}") from error
    channels, *sides = cfg["input_size"]
    side = create_args.get("img_size") or build.args.get("img_size")
    if side:
        sides = list(side) if isinstance(side, Sequence) else [side, side]
    cfg["input_size"] = (create_args.get("in_chans") or channels, *sides)
    spec = spec_of(build.model_cls, build.variant)
    if spec is None:
        raise ValueError(f"{name} is a {_class_name(build)}, and nothing declares what scales in it: see `scalable`")
    if build.options.get("pruned"):
        reason = "its channels were pruned to a list that comes with timm"
        spec = replace(spec, depth=(), width=(), why_fixed={"depth": reason, "width": reason})
    return Base(
        name, create_args, build, complete_args(build.model_cls, build.args), cfg, tuple(cfg["input_size"]), spec
    )


def _declared(model: nn.Module, input_size: Any) -> Base:
    """The base for a module of a class declared with `scalable`."""
    name = type(model).__name__
    args = recorded_args(model)
    build = BuildCall(type(model), name, False, args or {})
    spec = spec_of(build.model_cls, build.variant)
    if spec is None or args is None:
        raise ValueError(
            f"{name} was not built by timm, and its class does not record its arguments: decorate it with `scalable`"
        )
    if not isinstance(input_size, Sequence) or len(input_size) != 3:
        raise ValueError(f"{name} needs input_size=(channels, height, width), not {input_size!r}")
    channels, height, width = (check_int("input_size", side) for side in input_size)
    return Base(name, {}, build, complete_args(build.model_cls, build.args), None, (channels, height, width), spec)


def _refuse_size(input_size: Any) -> None:
    if input_size is not None:
        raise ValueError("input_size is for modules that timm did not build; for timm's models, use base_args")


def _class_name(build: BuildCall) -> str:
    return getattr(build.model_cls, "__name__", repr(build.model_cls))


# Entries of a pretrained config that locate weights or describe them alone.
_WEIGHTS_ENTRIES = {
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "custom_load"),
    *("label_offset", "label_names", "label_descriptions", "notes", "origin_url"),
}


def _without_weights(build: BuildCall) -> dict[str, Any]:
    """The pretrained config of a build, without the entries about weights."""
    options = build.options
    cfg = resolve_pretrained_cfg(
        build.variant,
        pretrained_cfg=options.get("pretrained_cfg"),
        pretrained_cfg_overlay=options.get("pretrained_cfg_overlay"),
    )
    return {key: value for key, value in asdict(cfg).items() if key not in _WEIGHTS_ENTRIES and value is not None}


# Entries of a pretrained config that a caller of create_model may have replaced.
_DATA_ENTRIES = ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "num_classes")


def _created_with(
    model: Any, name: str, cfg: dict[str, Any], create_args: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name and arguments with which ``create_model`` builds a model as it is now."""
    if cfg.get("tag") and get_pretrained_cfg(f"{name}.{cfg['tag']}") is not None:
        name = f"{name}.{cfg['tag']}"
    own = get_pretrained_cfg(name)
    registered = own.to_dict() if own is not None else {}
    differing = {key: cfg[key] for key in _DATA_ENTRIES if cfg.get(key) is not None and cfg[key] != registered.get(key)}
    args = dict(getattr(model, "_model_args", {}))
    args |= {key: getattr(model, key) for key in ("num_classes", "in_chans") if hasattr(model, key)}
    if differing and name != "scaled":
        args["pretrained_cfg_overlay"] = differing
    return name, args | create_args

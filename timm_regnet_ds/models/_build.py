"""How this package's models become timm models: building, registration, pretrained configs."""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from timm.layers import SelectAdaptivePool2d
from timm.models import (
    _registry,
    build_model_with_cfg,
    generate_default_cfgs,
    is_model,
    model_entrypoint,
    register_model,
)
from torch import nn

from timm_regnet_ds.common.check import check_float, check_int, did_you_mean

from ._hub_access import offline_overlay
from ._weights_check import weights_checked

__all__ = [
    "NOT_MODEL_ARGS",
    "ModelEntry",
    "add_size_overlay",
    "build",
    "check_output_stride",
    "default_cfg",
    "output_size",
    "refuse_fields",
    "register",
    "size_overlay",
    "take_fields",
]

# timm lists the models of this package under this name: timm.list_models(module="timm_regnet_ds").
PACKAGE = __name__.partition(".")[0]

CreateFn = Callable[..., nn.Module]

# Arguments of an entrypoint that locate the weights or place the model; they do not describe the model.
NOT_MODEL_ARGS = {"pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir", "device", "dtype"}


def output_size(resolution: int, strides: Iterable[int]) -> int:
    """Side of the feature map after padded convolutions with these strides, for images of side ``resolution``."""
    for stride in strides:
        resolution = -(-resolution // stride)
    return resolution


def size_overlay(resolution: int, strides: Iterable[int], in_chans: int = 3) -> dict[str, Any]:
    """``input_size`` and ``pool_size`` of timm's pretrained config.

    Args:
        resolution: side of the images.
        strides: all strides of the network, from the stem to the last stage.
        in_chans: channels of the images.
    """
    side = output_size(resolution, strides)
    return {"input_size": (in_chans, resolution, resolution), "pool_size": (side, side)}


def add_size_overlay(kwargs: dict[str, Any], resolution: int, strides: Iterable[int]) -> None:
    """Adapt the sizes of the registered pretrained config to a network whose arguments change them.

    The sizes are added to ``kwargs["pretrained_cfg_overlay"]``, where values that the caller gave take precedence. A
    pretrained config that the caller passed, such as one saved with weights, stays as it is.
    """
    cfg = kwargs.get("pretrained_cfg")
    if cfg is None or isinstance(cfg, str):
        given = kwargs.get("pretrained_cfg_overlay") or {}
        kwargs["pretrained_cfg_overlay"] = size_overlay(resolution, strides) | given


def default_cfg(resolution: int = 224) -> dict[str, Any]:
    """timm's pretrained config of a model without weights that reduces images of side ``resolution`` by 32."""
    return {
        **size_overlay(resolution, (2,) * 5),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "num_classes": 1000,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        "license": "apache-2.0",
    }


def build(
    model_cls: Callable[..., nn.Module], variant: str, pretrained: bool, *, feature_maps: int = 5, **kwargs: Any
) -> nn.Module:
    """``timm.models.build_model_with_cfg``, with errors that name what was given and what is allowed.

    Args:
        model_cls: class of the model, or a function that returns one.
        variant: registered name.
        pretrained: load the weights that the pretrained config names.
        feature_maps: number of feature maps that ``features_only`` offers. (timm needs it before the model exists.)
        **kwargs: passed to ``build_model_with_cfg``.

    Raises:
        ValueError: an entry of ``out_indices`` that the model does not have, an unknown pooling, a rate outside
            [0, 1], an invalid number of classes or channels, or weights that do not fit.
        ConnectionError: the weights are on a Hub that cannot be reached, and not in the cache.
    """
    out_indices = kwargs.get("out_indices")
    if kwargs.get("features_only") and out_indices is not None:
        _check_out_indices(variant, out_indices, feature_maps)
    for rate in {"drop_rate", "drop_path_rate"} & kwargs.keys():
        check_float(rate, kwargs[rate], minimum=0, maximum=1)
    for count, minimum in (("num_classes", 0), ("in_chans", 1)):
        if count in kwargs:
            check_int(count, kwargs[count], minimum=minimum)
    if "global_pool" in kwargs:
        _check_pooling(kwargs["global_pool"])
    if pretrained and (overlay := offline_overlay(variant, kwargs)):
        kwargs["pretrained_cfg_overlay"] = {**(kwargs.get("pretrained_cfg_overlay") or {}), **overlay}
    feature_cfg = {"out_indices": tuple(range(feature_maps)), **kwargs.pop("feature_cfg", {})}
    with weights_checked(variant, model_cls, pretrained, bool(kwargs.get("features_only"))) as checked_cls:
        return build_model_with_cfg(checked_cls, variant, pretrained, feature_cfg=feature_cfg, **kwargs)


@dataclass(frozen=True)
class ModelEntry:
    """What timm's registry holds of a model besides its entrypoint.

    Args:
        doc: docstring of the entrypoint.
        cfgs: pretrained configs by tag, the default one first; the tag of a config without weights is ''.
    """

    doc: str
    cfgs: Mapping[str, Any] = field(default_factory=lambda: {"": default_cfg()})


def register(module: str, create_fn: CreateFn, models: Mapping[str, ModelEntry]) -> None:
    """Register models with timm; the entrypoint of each calls ``create_fn(name, pretrained, **kwargs)``.

    A name that timm itself already has is left to timm, with a warning.

    Args:
        module: ``__name__`` of the family's module, which receives the entrypoints and their pretrained configs.
        create_fn: builds the model of a given name.
        models: the names to register.
    """
    namespace = sys.modules[module]
    cfgs = {f"{name}.{tag}" if tag else name: cfg for name, entry in models.items() for tag, cfg in entry.cfgs.items()}
    vars(namespace).setdefault("default_cfgs", {}).update(generate_default_cfgs(cfgs))
    for name, entry in models.items():
        if is_model(name):
            # A reloaded module finds its own names.
            if model_entrypoint(name).__module__ != module:
                warnings.warn(f"timm already has a model {name!r}; it is not replaced", stacklevel=2)
            continue
        entrypoint = _entrypoint(name, create_fn, module, entry.doc)
        setattr(namespace, name, entrypoint)
        register_model(entrypoint)
        _list_apart(name)


def _list_apart(name: str) -> None:
    """Let timm list a model under this package's name, and its weights under timm's name of the same network alone.

    timm takes the last part of a module's name, so that a file ``regnet.py`` here would add to timm's ``regnet``. The
    weights stay available: ``create_model(name, pretrained=True)`` looks for them in the pretrained config.
    """
    module = _registry._model_to_module[name]
    _registry._module_to_models[module].discard(name)
    if not _registry._module_to_models[module]:
        del _registry._module_to_models[module]
    _registry._model_to_module[name] = PACKAGE
    _registry._module_to_models[PACKAGE].add(name)
    for listed in (name, *_registry._model_with_tags.get(name, ())):
        _registry._model_has_pretrained.discard(listed)


def _entrypoint(name: str, create_fn: CreateFn, module: str, doc: str) -> CreateFn:
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model: Any = create_fn(name, pretrained, **kwargs)
        # timm records a model's arguments itself only since 1.0.31.
        recorded = {key: value for key, value in kwargs.items() if key not in NOT_MODEL_ARGS}
        vars(model).setdefault("_model_args", recorded)
        return model

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = module
    entrypoint.__doc__ = doc
    return entrypoint


def take_fields(cfg_cls: type, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields of a config from ``kwargs`` and return them."""
    return {f.name: kwargs.pop(f.name) for f in fields(cfg_cls) if f.name in kwargs}


def refuse_fields(variant: str, kwargs: Mapping[str, Any], names: Iterable[str], reason: str) -> None:
    """Raise a ValueError if one of ``names`` is among ``kwargs``."""
    for name in names:
        if name in kwargs:
            raise ValueError(f"{variant} takes no {name}: {reason}")


def check_output_stride(kwargs: Mapping[str, Any]) -> None:
    """Raise a ValueError for an ``output_stride`` other than 8, 16 or 32, which timm's classes ignore or assert on."""
    if kwargs.get("output_stride", 32) not in (8, 16, 32):
        raise ValueError(f"output_stride {kwargs['output_stride']!r} is not possible here; allowed: [8, 16, 32]")


def _check_out_indices(variant: str, out_indices: Any, feature_maps: int) -> None:
    if isinstance(out_indices, int):
        is_valid = 0 < out_indices <= feature_maps
    else:
        are_ints = isinstance(out_indices, (list, tuple)) and all(isinstance(i, int) for i in out_indices)
        is_valid = are_ints and len(out_indices) > 0 and all(-feature_maps <= i < feature_maps for i in out_indices)
    if not is_valid:
        raise ValueError(
            f"{variant} has {feature_maps} feature maps, numbered 0 to {feature_maps - 1}; "
            f"out_indices={out_indices!r} asks for others"
        )


def _check_pooling(name: Any) -> None:
    """Raise a ValueError for a pooling that timm does not have."""
    try:
        SelectAdaptivePool2d(pool_type=name)
    except (AssertionError, AttributeError):
        # timm has no list of its poolings; these are named only to help the caller.
        pools = ("avg", "max", "avgmax", "catavgmax")
        raise ValueError(
            f"unknown global_pool {name!r}{did_you_mean(str(name), pools)} "
            f"(allowed: '', {', '.join(pools)}, and 'fast' with one of these)"
        ) from None

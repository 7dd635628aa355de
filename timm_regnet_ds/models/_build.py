"""What every family needs to become ordinary timm models: one way to build, one way to register."""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from safetensors import SafetensorError
from timm.models import build_model_with_cfg, generate_default_cfgs, is_model, model_entrypoint, register_model
from torch import nn

from timm_regnet_ds._check import check_choice, check_float, check_int

__all__ = ["build", "check_output_stride", "data_cfg", "output_size", "register"]

Entrypoint = Callable[..., nn.Module]

# Arguments of an entrypoint that say where weights are and where they go, not what the model is.
NOT_MODEL_ARGS = {"pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir", "device", "dtype"}


# timm's names of the poolings; '' is none.
POOLS = dict.fromkeys(
    ("", "avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax")
)


def data_cfg(resolution: int = 224) -> dict[str, Any]:
    """timm's pretrained config of a model without weights, of reduction 32, for images of side ``resolution``."""
    side = output_size(resolution, (2,) * 5)
    return {
        "input_size": (3, resolution, resolution),
        "pool_size": (side, side),
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "num_classes": 1000,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
        "license": "apache-2.0",
    }


def output_size(resolution: int, strides: Iterable[int]) -> int:
    """Side of what padded convolutions of these strides make of an image of side ``resolution``."""
    for stride in strides:
        resolution = -(-resolution // stride)
    return resolution


def build(
    model_cls: Callable[..., nn.Module], variant: str, pretrained: bool, *, feature_maps: int, **kwargs: Any
) -> nn.Module:
    """``timm.models.build_model_with_cfg`` with errors that name what was given and what is allowed.

    Args:
        model_cls: class of the model, or what makes one.
        variant: registered name.
        pretrained: load the weights that the pretrained config names.
        feature_maps: how many of them ``features_only`` offers.
        **kwargs: passed on.

    Raises:
        ValueError: an entry of ``out_indices`` that the model does not have, an unknown pooling, a rate outside
            [0, 1], or weights that do not fit.
    """
    out_indices = kwargs.get("out_indices")
    if kwargs.get("features_only") and out_indices is not None:
        _check_out_indices(variant, out_indices, feature_maps)
    for rate in {"drop_rate", "drop_path_rate"} & kwargs.keys():
        check_float(rate, kwargs[rate], minimum=0, maximum=1)
    for count, least in (("num_classes", 0), ("in_chans", 1)):
        if count in kwargs:
            check_int(count, kwargs[count], minimum=least)
    if "global_pool" in kwargs:
        check_choice("global_pool", kwargs["global_pool"], POOLS)
    feature_cfg = {"out_indices": tuple(range(feature_maps)), **kwargs.pop("feature_cfg", {})}
    try:
        return build_model_with_cfg(model_cls, variant, pretrained, feature_cfg=feature_cfg, **kwargs)
    except SafetensorError as error:
        raise ValueError(f"{variant}: the weights file is not a whole safetensors file ({error})") from error
    except RuntimeError as error:
        if "Error(s) in loading state_dict" not in str(error):
            raise
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{variant}: the weights are those of another model ({_shorten(first)})") from error


def register(module: str, build_fn: Entrypoint, cfgs: Mapping[str, Any], docs: Mapping[str, str]) -> None:
    """Register with timm, for each name in ``docs``, the entrypoint ``build_fn(name, pretrained, **kwargs)``.

    Args:
        module: ``__name__`` of the family's module; it receives the entrypoints and their configs.
        build_fn: builds the model of a given name.
        cfgs: pretrained configs by ``name`` or ``name.tag``, as for timm's ``generate_default_cfgs``.
        docs: name of each model and its one-line docstring.

    A name that timm itself already has is left to timm, with a warning.
    """
    namespace = sys.modules[module]
    known = vars(namespace).setdefault("default_cfgs", {})
    known.update(generate_default_cfgs(dict(cfgs)))
    for name, doc in docs.items():
        if is_model(name):
            if model_entrypoint(name).__module__ == module:  # reloaded
                continue
            warnings.warn(f"timm already has a model {name!r}; it is left as it is", stacklevel=2)
            continue
        entrypoint = _entrypoint(name, build_fn, module, doc)
        setattr(namespace, name, entrypoint)
        register_model(entrypoint)


def _entrypoint(name: str, build_fn: Entrypoint, module: str, doc: str) -> Entrypoint:
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        model: Any = build_fn(name, pretrained, **kwargs)
        # timm itself records what a model was created with since 1.0.31 only.
        recorded = {key: value for key, value in kwargs.items() if key not in NOT_MODEL_ARGS}
        vars(model).setdefault("_model_args", recorded)
        return model

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = module
    entrypoint.__doc__ = doc
    return entrypoint


def check_output_stride(kwargs: Mapping[str, Any]) -> None:
    """What timm's own classes build in silence, or assert: an ``output_stride`` other than 8, 16 and 32."""
    if kwargs.get("output_stride", 32) not in (8, 16, 32):
        raise ValueError(f"output_stride {kwargs['output_stride']!r} is not possible here; allowed: [8, 16, 32]")


def _check_out_indices(variant: str, out_indices: Any, feature_maps: int) -> None:
    if isinstance(out_indices, int):
        fits = 0 < out_indices <= feature_maps
    else:
        whole_numbers = isinstance(out_indices, (list, tuple)) and all(isinstance(i, int) for i in out_indices)
        fits = whole_numbers and len(out_indices) > 0 and all(-feature_maps <= i < feature_maps for i in out_indices)
    if not fits:
        raise ValueError(
            f"{variant} has {feature_maps} feature maps, numbered 0 to {feature_maps - 1}; "
            f"out_indices={out_indices!r} asks for others"
        )


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[:limit] + " …"

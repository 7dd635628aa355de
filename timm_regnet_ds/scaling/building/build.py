"""Builds a base with changed arguments: through timm, or by calling the class if timm does not build it."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

from timm.models import create_model
from torch import nn

from timm_regnet_ds.models._weights_check import weights_checked
from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.families.rules import Args

from .base import Base, ImageSize
from .capture import BuildCall, intercept_builds

__all__ = ["Changes", "build_changed", "changes_of"]


@dataclass(frozen=True)
class Changes:
    """What scaling changes of a base.

    Attributes:
        args: the changed arguments of the model's class.
        pretrained_cfg: the changed entries of the pretrained config.
    """

    args: dict[str, Any] = field(default_factory=dict)
    pretrained_cfg: dict[str, Any] = field(default_factory=dict)


def changes_of(base: Base, scaled_args: Args, input_size: ImageSize) -> Changes:
    """What differs from the base.

    Args:
        base: what is scaled.
        scaled_args: all arguments of its class, scaled.
        input_size: (channels, height, width) of the scaled model's images; arguments and config entries that hold
            the image size or a size derived from it follow.
    """
    args = {key: value for key, value in scaled_args.items() if value != base.args.get(key)}
    cfg: dict[str, Any] = {"architecture": "scaled"}
    if input_size == base.input_size:
        return Changes(args, cfg)
    # timm passes the image size to models whose arguments omit it, so only sizes that the caller gave are changed.
    passed = base.args if base.pretrained_cfg is None else base.build.args
    for name in base.spec.img_size:
        if passed.get(name) is not None:
            args[name] = _image_sides(passed[name], base, input_size)
    return Changes(args, cfg | _config_sizes(base, input_size))


def build_changed(base: Base, changes: Changes, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build the base with changes.

    Args:
        base: the model to build.
        changes: what differs from it.
        pretrained: load the weights that ``pretrained_cfg`` among ``kwargs`` names.
        **kwargs: arguments of ``timm.create_model``, or of the class if timm does not build the base.
    """
    if base.pretrained_cfg is None:
        model: nn.Module = base.build.model_cls(**deepcopy({**base.build.args, **changes.args, **kwargs}))
        return model
    create_args = {**base.create_args, **kwargs}
    cfg = base.pretrained_cfg | changes.pretrained_cfg
    if weights_cfg := _cfg_of_weights(kwargs.get("pretrained_cfg")):
        cfg = weights_cfg | {"architecture": cfg["architecture"]}
    # A copy, because some classes modify their arguments.
    changed_args = deepcopy({key: value for key, value in changes.args.items() if key not in kwargs})

    def build_with_changes(call: BuildCall) -> nn.Module:
        if call.variant != base.build.variant:  # another model, which is a part of this one
            return call.run()
        # `cfg` already contains what the family's entrypoint lays over its own config.
        options = {
            **call.options,
            "pretrained_cfg": cfg,
            "pretrained_cfg_overlay": kwargs.get("pretrained_cfg_overlay"),
        }
        model_cls = base.spec.model_factory or call.model_cls
        features_only = bool(kwargs.get("features_only"))
        with weights_checked(f"{base.name} scaled", model_cls, pretrained, features_only) as checked_cls:
            return replace(call, model_cls=checked_cls, args={**call.args, **changed_args}, options=options).run()

    with intercept_builds(build_with_changes):
        return create_model(base.name, pretrained=pretrained, **create_args)


def _cfg_of_weights(cfg: Any) -> dict[str, Any] | None:
    """A pretrained config that was saved with weights; None for a tag and for no config."""
    if is_dataclass(cfg) and not isinstance(cfg, type):
        return {key: value for key, value in asdict(cfg).items() if value is not None}
    return dict(cfg) if isinstance(cfg, Mapping) else None


def _image_sides(value: Any, base: Base, input_size: ImageSize) -> Any:
    """The new image size in the form of the old one: a pair of sides, or one side."""
    if isinstance(value, (tuple, list)):
        return type(value)(input_size[1:])
    return input_size[1 if value == base.input_size[1] else 2]


def _config_sizes(base: Base, input_size: ImageSize) -> dict[str, Any]:
    """Entries of the pretrained config that depend on the image size."""
    if base.pretrained_cfg is None:
        return {}
    sizes: dict[str, Any] = {"input_size": input_size}
    old_and_new = list(zip(base.input_size[1:], input_size[1:], strict=True))
    for name in ("pool_size", "test_pool_size"):
        if old := base.pretrained_cfg.get(name):
            sizes[name] = tuple(_feature_map_side(side, *pair) for side, pair in zip(old, old_and_new, strict=True))
    if base.pretrained_cfg.get("test_input_size"):
        channels, *sides = base.pretrained_cfg["test_input_size"]
        multiple = base.spec.resolution_multiple(base.args)
        scaled = (nearest_multiple(s * new / old, multiple) for s, (old, new) in zip(sides, old_and_new, strict=True))
        sizes["test_input_size"] = (channels, *scaled)
    return sizes


def _feature_map_side(side: int, image: int, new_image: int) -> int:
    """Side of the last feature map for a new image side, given the old feature map's and image's."""
    reduction = 2 ** round(math.log2(image / side))
    for rounding in (math.ceil, math.floor):
        if rounding(image / reduction) == side:
            return rounding(new_image / reduction)
    return side + (new_image - image) // reduction  # convolutions without padding

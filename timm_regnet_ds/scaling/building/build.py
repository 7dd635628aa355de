"""Building what a base is made from, changed: through timm, or a class of one's own directly."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

from timm.models import create_model
from torch import nn

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.fitting.transform import Scaled

from .base import Base
from .capture import Build, intercepted

__all__ = ["Changes", "changes_of", "make"]


@dataclass(frozen=True)
class Changes:
    """What scaling changes of a base.

    Attributes:
        args: arguments of the class.
        cfg: entries of the pretrained config.
    """

    args: dict[str, Any] = field(default_factory=dict)
    cfg: dict[str, Any] = field(default_factory=dict)


def changes_of(base: Base, scaled: Scaled) -> Changes:
    """What differs from the base, and the sizes that go with the new resolution."""
    args = {key: value for key, value in scaled.args.items() if value != base.args.get(key)}
    cfg: dict[str, Any] = {"architecture": "scaled"}
    if scaled.input_size == base.input_size:
        return Changes(args, cfg)
    # timm gives the size to those of its models that do not say it.
    said = base.args if base.cfg is None else base.build.args
    for name in base.axes.img_size:
        if said.get(name) is not None:
            args[name] = _sides(said[name], base, scaled)
    return Changes(args, cfg | _sizes(base, scaled))


def make(base: Base, changes: Changes, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The base with changes.

    Args:
        base: what is to be built.
        changes: what of it differs.
        pretrained: load the weights that ``pretrained_cfg`` among ``kwargs`` names.
        **kwargs: of ``timm.create_model``.
    """
    if base.cfg is None:
        model: nn.Module = base.build.model_cls(**deepcopy({**base.build.args, **changes.args, **kwargs}))
        return model
    given = {**base.given, **kwargs}
    cfg = base.cfg | changes.cfg
    if saved := _saved(kwargs.get("pretrained_cfg")):
        cfg = saved | {"architecture": cfg["architecture"]}
    # A copy: some classes take their arguments apart.
    settled = deepcopy({key: value for key, value in changes.args.items() if key not in kwargs})

    def changed(build: Build) -> nn.Module:
        if build.variant != base.build.variant:  # a model that this one is built around
            return build.run()
        # What a family lays over its own config is in `cfg` already.
        options = {
            **build.options,
            "pretrained_cfg": cfg,
            "pretrained_cfg_overlay": kwargs.get("pretrained_cfg_overlay"),
        }
        model_cls = base.axes.builder or build.model_cls
        return replace(build, model_cls=model_cls, args={**build.args, **settled}, options=options).run()

    with intercepted(changed):
        return create_model(base.name, pretrained=pretrained, **given)


def _saved(cfg: Any) -> dict[str, Any] | None:
    """A pretrained config that came with weights; None for a tag, or none."""
    if is_dataclass(cfg) and not isinstance(cfg, type):
        return {key: value for key, value in asdict(cfg).items() if value is not None}
    return dict(cfg) if isinstance(cfg, Mapping) else None


def _sides(value: Any, base: Base, scaled: Scaled) -> Any:
    """The new image size, said as the old one."""
    if isinstance(value, (tuple, list)):
        return type(value)(scaled.input_size[1:])
    return scaled.input_size[1 if value == base.input_size[1] else 2]


def _sizes(base: Base, scaled: Scaled) -> dict[str, Any]:
    if base.cfg is None:
        return {}
    sizes: dict[str, Any] = {"input_size": scaled.input_size}
    pairs = list(zip(base.input_size[1:], scaled.input_size[1:], strict=True))
    for name in ("pool_size", "test_pool_size"):
        if base.cfg.get(name):
            sizes[name] = tuple(_map_side(side, *pair) for side, pair in zip(base.cfg[name], pairs, strict=True))
    if base.cfg.get("test_input_size"):
        channels, *sides = base.cfg["test_input_size"]
        unit = base.axes.unit(base.args)
        wanted = (nearest_multiple(side * new / old, unit) for side, (old, new) in zip(sides, pairs, strict=True))
        sizes["test_input_size"] = (channels, *wanted)
    return sizes


def _map_side(side: int, image: int, new_image: int) -> int:
    """Side of the last feature map for a new image, from that for an old one."""
    reduction = 2 ** round(math.log2(image / side))
    for whole in (math.ceil, math.floor):
        if whole(image / reduction) == side:
            return whole(new_image / reduction)
    return side + (new_image - image) // reduction  # convolutions without padding

"""Models of configurations."""

from collections.abc import Iterable, Mapping
from typing import Any

from timm.models import create_model
from torch import nn

from timm_regnet_ds.models._build import size_overlay

__all__ = ["build_model"]


def build_model(
    name: str,
    config_args: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    *,
    resolution: int,
    strides: Iterable[int],
    num_classes: int,
    in_chans: int,
) -> nn.Module:
    """The timm model of a configuration, with the input size and the pool size of the space's images.

    Args:
        name: registered name of the model.
        config_args: arguments that describe the configuration.
        kwargs: the user's arguments; they replace ``num_classes``, ``in_chans`` and entries of the pretrained config.
        resolution: side of the images.
        strides: strides from the image to the last feature map.
        num_classes, in_chans: defaults of the space.
    """
    arguments = {"num_classes": num_classes, "in_chans": in_chans, **kwargs}
    overlay = size_overlay(resolution, strides, arguments["in_chans"])
    arguments["pretrained_cfg_overlay"] = overlay | (arguments.get("pretrained_cfg_overlay") or {})
    return create_model(name, **config_args, **arguments)

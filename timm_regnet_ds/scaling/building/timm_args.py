"""A scaled model as timm alone would build it: a stock architecture and arguments that json can hold."""

import json
from typing import Any

import torch
from timm.models import create_model
from torch import nn

from .base import Base
from .build import Changes, make

__all__ = ["shapes_of", "stock_args"]


def stock_args(base: Base, changes: Changes) -> tuple[str, dict[str, Any]]:
    """Architecture and ``model_args`` of ``timm.create_model``.

    Raises:
        ValueError: changes that json or the architecture's entrypoint cannot say.
    """
    if base.cfg is None:
        raise ValueError(f"{base.name} is no model of timm")
    name = base.build.variant
    if name != base.name.partition(".")[0]:
        raise ValueError(f"timm alone cannot build {base.name} scaled: timm has no model of that name")
    args = {key: value for key, value in base.given.items() if key != "pretrained_cfg_overlay"}
    for key, value in changes.args.items():
        args |= _fields(base.args[key], value) if key in ("model_cfg", "cfg") else {key: value}
    if "input_size" in changes.cfg and base.cfg.get("fixed_input_size"):
        args["img_size"] = list(changes.cfg["input_size"][1:])
    try:
        args = json.loads(json.dumps(args))
    except TypeError as error:
        raise ValueError(f"timm alone cannot build {base.name} scaled: {error}") from None
    try:
        with torch.device("meta"), torch.random.fork_rng([]):
            built = shapes_of(create_model(name, **args))
    except Exception as error:
        raise ValueError(f"timm alone cannot build {name} scaled by {', '.join(args)}: {error}") from error
    with torch.device("meta"), torch.random.fork_rng([]):
        wanted = shapes_of(make(base, changes))
    if built != wanted:
        raise ValueError(f"timm alone cannot build {name} scaled: its entrypoint ignores some of {', '.join(args)}")
    return name, args


def _fields(before: Any, after: Any) -> dict[str, Any]:
    """The fields of a config that differ; families with configs take them as arguments."""
    old, new = (cfg if isinstance(cfg, dict) else vars(cfg) for cfg in (before, after))
    return {key: value for key, value in new.items() if value != old.get(key)}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's weights and buffers."""
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}

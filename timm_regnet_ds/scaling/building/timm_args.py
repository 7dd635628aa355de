"""The architecture and JSON arguments with which timm alone, without this package, builds a scaled model."""

import json
from typing import Any

import torch
from timm.models import create_model

from timm_regnet_ds.common.state_shapes import shapes_of

from .base import Base
from .build import Changes, build_changed

__all__ = ["timm_args"]


def timm_args(base: Base, changes: Changes) -> tuple[str, dict[str, Any]]:
    """Architecture and ``model_args`` of ``timm.create_model``.

    Raises:
        ValueError: JSON cannot hold the changes, or the architecture's entrypoint does not take them.
    """
    if base.pretrained_cfg is None:
        raise ValueError(f"{base.name} is not a model of timm")
    name = base.build.variant
    if name != base.name.partition(".")[0]:
        raise ValueError(f"timm alone cannot build {base.name} scaled: timm has no model of that name")
    args = {key: value for key, value in base.create_args.items() if key != "pretrained_cfg_overlay"}
    for key, value in changes.args.items():
        args |= _changed_fields(base.args[key], value) if key in ("model_cfg", "cfg") else {key: value}
    if "input_size" in changes.pretrained_cfg and base.pretrained_cfg.get("fixed_input_size"):
        args["img_size"] = list(changes.pretrained_cfg["input_size"][1:])
    try:
        args = json.loads(json.dumps(args))
    except TypeError as error:
        raise ValueError(f"timm alone cannot build {base.name} scaled: {error}") from None
    try:
        with torch.device("meta"), torch.random.fork_rng([]):
            built = shapes_of(create_model(name, **args).state_dict())
    except Exception as error:
        raise ValueError(f"timm alone cannot build {name} scaled with {', '.join(args)}: {error}") from error
    with torch.device("meta"), torch.random.fork_rng([]):
        wanted = shapes_of(build_changed(base, changes).state_dict())
    if built != wanted:
        raise ValueError(f"timm alone cannot build {name} scaled: its entrypoint ignores some of {', '.join(args)}")
    return name, args


def _changed_fields(before: Any, after: Any) -> dict[str, Any]:
    """The fields of a config that differ. Families with configs take them as arguments."""
    old, new = (cfg if isinstance(cfg, dict) else vars(cfg) for cfg in (before, after))
    return {key: value for key, value in new.items() if value != old.get(key)}

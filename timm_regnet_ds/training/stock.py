"""A model as timm alone builds it, for people who do not have this package."""

from typing import Any

import torch
from timm.models import create_model, model_entrypoint
from torch import nn

from timm_regnet_ds.models.regnet import SAME_IN_TIMM
from timm_regnet_ds.scaling.building.base import base_of
from timm_regnet_ds.scaling.building.saved import changes_from_saved
from timm_regnet_ds.scaling.building.timm_args import timm_args

from .card import architecture_of

__all__ = ["stock_model"]

# Arguments that every entrypoint takes. With any other argument, the network is not the one of that name.
_COMMON = {"num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate", "output_stride"}
_RECIPE = {"base", "base_args", "factor", "strategy", "alpha", "sizes", "inherit_exactly"}


def stock_model(model: Any) -> nn.Module:
    """The same network under timm's own architecture, with the same weights.

    Its name and arguments are those of ``pretrained_cfg`` and ``_model_args``. A model of timm is returned as it is.

    Raises:
        ValueError: timm alone cannot build this network; the message says why.
    """
    name, recorded = architecture_of(model), dict(getattr(model, "_model_args", {}))
    if _is_timms(name):
        return model
    if name == "scaled":
        stock, args = _scaled(recorded)
    else:
        stock, args = _regnet(name, recorded)
    args = {key: value for key, value in args.items() if value is not None} | {"num_classes": model.num_classes}
    built: Any = create_model(stock, **args)
    built.load_state_dict(model.state_dict())
    _check_same(model, built, stock)
    cfg = {key: value for key, value in model.pretrained_cfg.items() if key != "tag"}
    built.pretrained_cfg = built.default_cfg = cfg | {"architecture": stock}
    built._model_args = args
    return built.train(model.training)


def _is_timms(name: str) -> bool:
    return model_entrypoint(name).__module__.startswith("timm.")


def _scaled(recorded: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = recorded.get("base", "")
    if "sizes" not in recorded:
        raise ValueError(f"timm alone cannot build {name or 'this model'} scaled: its sizes are not recorded")
    if not _is_timms(name):
        raise ValueError(f"timm alone cannot build {name} scaled: {name} is a model of this package")
    base = base_of(name, recorded.get("base_args", {}), None)
    stock, args = timm_args(base, changes_from_saved(base, recorded["sizes"]))
    return stock, args | {key: value for key, value in recorded.items() if key not in _RECIPE}


def _regnet(name: str, recorded: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if name not in SAME_IN_TIMM:
        raise ValueError(f"timm alone cannot build {name}: it is a network of this package")
    if others := sorted(recorded.keys() - _COMMON):
        raise ValueError(f"timm alone cannot build {name} with {others[0]}=: that makes it another network")
    return SAME_IN_TIMM[name], recorded


@torch.inference_mode()
def _check_same(model: nn.Module, stock: nn.Module, name: str) -> None:
    size = model.pretrained_cfg["input_size"]  # type: ignore[index]
    images = torch.randn(1, *size, generator=torch.Generator().manual_seed(0))
    weight = next(model.parameters())
    was_training = model.training
    try:
        one, other = (net.eval().to(weight.device)(images.to(weight)) for net in (model, stock))
    finally:
        model.train(was_training)
    if not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
        raise ValueError(f"timm's {name} with these weights gives other logits, so it is not pushed under that name")

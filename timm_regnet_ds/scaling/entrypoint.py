"""`scale` as a model of timm: ``timm.create_model('scaled', base='convnext_tiny', to='16gf', strategy='dwr')``."""

from typing import Any

from torch import nn

from timm_regnet_ds.models._build import data_cfg, register

from .scale import scale

__all__: list[str] = []

# What says how to scale; all other arguments are the model's.
HOW = ("to", "factor", "strategy", "alpha", "flops", "params", "acts", "tolerance", "base_args")


def _scaled(variant: str, pretrained: bool, base: str | None = None, resolved: float | None = None, **kwargs: Any) -> nn.Module:
    """
    Args:
        variant: ``scaled``.
        pretrained: load weights of this very model; those of the base do not fit.
        base: a model that timm can build.
        resolved: the factor that a search has found for the target; it is saved with the model, which is then
            built without searching again.
        **kwargs: of `scale` and of ``timm.create_model``.
    """
    if base is None:
        raise ValueError("scaled needs base=, the name of a model: create_model('scaled', base='resnet50', to='8gf')")
    how = {name: kwargs.pop(name) for name in HOW if kwargs.get(name) is not None}
    if resolved is not None:
        target = {"to", "flops", "params", "acts", "tolerance", "factor"}
        how = {name: value for name, value in how.items() if name not in target} | {"factor": resolved}
    searched = "factor" not in how
    found = scale(base, **how)
    model: Any = found.create(pretrained, **kwargs)
    if searched or resolved is not None:
        # timm adds the arguments that it was called with, the target among them.
        model._model_args["resolved"] = model._model_args.pop("factor")
    return model


register(
    __name__,
    _scaled,
    {"scaled": data_cfg()},
    {"scaled": "Any model `base`, scaled: see `timm_regnet_ds.scale`."},
)

"""`scale` as a model of timm: ``timm.create_model('scaled', base='convnext_tiny', to='16gf', strategy='dwr')``."""

from typing import Any

from torch import nn

from timm_regnet_ds.models._build import ModelEntry, register

from .scale import scale

__all__: list[str] = []

# What says how to scale; all other arguments are the model's.
HOW = ("to", "factor", "strategy", "alpha", "flops", "params", "acts", "tolerance", "base_args")
SEARCH = ("to", "flops", "params", "acts", "tolerance")


def _scaled(variant: str, pretrained: bool, base: str = "", resolved: float | None = None, **kwargs: Any) -> nn.Module:
    """
    Args:
        variant: ``scaled``.
        pretrained: load weights of this very model; those of the base do not fit.
        base: a model that timm can build. Without any argument, the model is the paper's: RegNetZ-500MF to 4 GF.
        resolved: the factor that a search has found for the target. It is saved with the model, which is then built
            without searching again.
        **kwargs: of `scale` and of ``timm.create_model``.
    """
    how = {name: kwargs.pop(name) for name in HOW if kwargs.get(name) is not None}
    if not base:
        if how:
            raise ValueError(
                "scaled needs base=, the name of a model: create_model('scaled', base='resnet50', to='8gf')"
            )
        base, how = "regnetz_500mf", {"factor": 8.1}
    if resolved is not None:
        how = {name: value for name, value in how.items() if name not in SEARCH} | {"factor": resolved}
    found = scale(base, **how)
    model: Any = found.create(pretrained, **kwargs)
    if resolved is not None or "factor" not in how:
        # timm adds the arguments that it was called with, the target among them, which a factor would contradict.
        model._model_args["resolved"] = model._model_args.pop("factor")
    return model


register(__name__, _scaled, {"scaled": ModelEntry("Any model `base`, scaled: see `timm_regnet_ds.scale`.")})

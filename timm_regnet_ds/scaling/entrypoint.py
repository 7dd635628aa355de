"""The registered model ``scaled``: ``timm.create_model('scaled', base='convnext_tiny', to='16gf', strategy='dwr')``."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from torch import nn

from timm_regnet_ds.models._build import ModelEntry, register

from .building.base import base_of
from .building.saved import changes_from_saved
from .scale import scale
from .scaled_model import ScaledModel, create_scaled

__all__: list[str] = []

_logger = logging.getLogger(__name__)

# Arguments of `scale`; all others are the model's.
SCALE_ARGS = (
    "to",
    "factor",
    "strategy",
    "alpha",
    "group_width",
    "flops",
    "params",
    "acts",
    "latency_ms",
    "on",
    "batch_size",
    "tolerance",
    "base_args",
    "inherit_exactly",
)
# Arguments that state the target of a search.
TARGET_ARGS = ("to", "flops", "params", "acts", "latency_ms", "on", "batch_size", "tolerance")


def _create_scaled(
    variant: str,
    pretrained: bool = False,
    base: str = "",
    sizes: Mapping[str, Any] | None = None,
    resolved: float | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build ``scaled``.

    Args:
        variant: ``scaled``.
        pretrained: load weights of this very model; those of the base do not fit.
        base: a model that timm can build.
        sizes: what `ScaledModel.model_args` saves. The model is built from these sizes, and nothing is scaled again.
        resolved: the factor that a search has found. Models saved before there were ``sizes`` have it.
        **kwargs: arguments of `scale` and of ``timm.create_model``.

    Raises:
        ValueError: no ``base``, or what `scale` refuses.
    """
    how = {name: kwargs.pop(name) for name in SCALE_ARGS if kwargs.get(name) is not None}
    if not base:
        raise ValueError("scaled needs base=, the name of a model: create_model('scaled', base='resnet50', to='8gf')")
    _check_nesting(base, how.get("base_args"))
    if sizes is not None:
        if not isinstance(sizes, Mapping):
            raise ValueError(f"sizes are what a saved model's config has under that name, not {sizes!r}")
        recipe = {name: value for name, value in how.items() if name not in TARGET_ARGS}
        if not pretrained and any(kwargs.get(name) not in (None, False) for name in ("inherit", "exact")):
            return _scaled_again(base, recipe, sizes).create(**kwargs)
        found = base_of(base, how.get("base_args", {}), None)
        kwargs = {name: value for name, value in kwargs.items() if name not in ("inherit", "exact")}
        model_args = {"base": base, **recipe, "sizes": dict(sizes)}
        return create_scaled(found, changes_from_saved(found, sizes), model_args, pretrained, **kwargs)
    if resolved is not None:
        how = {name: value for name, value in how.items() if name not in TARGET_ARGS} | {"factor": resolved}
    found_model = scale(base, **how)
    if found_model.latency is not None:
        _logger.info("%s: predicted %s", found_model.title, found_model.latency)
    return found_model.create(pretrained, **kwargs)


# Each model that is scaled inside another one takes more than three times as long to build.
_MAX_NESTED = 3


def _check_nesting(base: Any, base_args: Any) -> None:
    """Raise a ValueError if more scaled models are inside each other than can be built in seconds."""
    levels = 1
    while base == "scaled" and isinstance(base_args, Mapping):
        levels += 1
        base, base_args = base_args.get("base"), base_args.get("base_args")
    if levels > _MAX_NESTED:
        raise ValueError(
            f"{levels} scaled models inside each other (allowed: up to {_MAX_NESTED}): give the innermost base, and "
            "the product of the factors"
        )


def _scaled_again(base: str, recipe: Mapping[str, Any], sizes: Mapping[str, Any]) -> ScaledModel:
    """The scaled model of a saved recipe, whose steps inheriting needs: sizes do not tell what depth has added."""
    if "factor" not in recipe:
        raise ValueError("inherit= with the sizes of a saved model needs its factor and its strategy too")
    scaled = scale(base, **recipe)
    if json.dumps(scaled.model_args().get("sizes")) != json.dumps(dict(sizes)):
        raise ValueError(
            f"inherit=: {scaled.title} has other sizes in this version of the package than the saved model: "
            "scale the base again, without sizes"
        )
    return scaled


register(__name__, _create_scaled, {"scaled": ModelEntry("Any model `base`, scaled: see `timm_regnet_ds.scale`.")})

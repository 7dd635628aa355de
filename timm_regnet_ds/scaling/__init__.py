"""Making models larger or smaller. Importing this registers the scaled models that have names, and `scaled`."""

from . import entrypoint, families
from .arithmetic.strategy import STRATEGIES, Growth, Multipliers, Strategy, resolve_strategy
from .families.specs import ScalingSpec, scalable
from .named import models as named_models
from .scale import scale
from .scaled_model import ScaledModel

__all__ = [
    "STRATEGIES",
    "Growth",
    "Multipliers",
    "ScaledModel",
    "ScalingSpec",
    "Strategy",
    "entrypoint",
    "families",
    "named_models",
    "resolve_strategy",
    "scalable",
    "scale",
]

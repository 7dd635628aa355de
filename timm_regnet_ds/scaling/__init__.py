"""Making models larger or smaller. Importing this registers the scaled models that have names, and `scaled`."""

from . import entrypoint, families
from .arithmetic.strategy import STRATEGIES, Growth, Multipliers, Strategy, resolve_strategy
from .families.axes import Axes, scalable
from .named import models as named_models
from .scale import scale
from .scaled_model import ScaledModel

__all__ = [
    "STRATEGIES",
    "Axes",
    "Growth",
    "Multipliers",
    "ScaledModel",
    "Strategy",
    "entrypoint",
    "families",
    "named_models",
    "resolve_strategy",
    "scalable",
    "scale",
]

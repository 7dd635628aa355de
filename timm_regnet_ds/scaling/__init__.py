"""Making models larger or smaller. Importing this registers the scaled models that have names, and `scaled`."""

from . import entrypoint, scaled, table
from .axes import Axes, scalable
from .scaled_model import ScaledModel
from .scaler import scale
from .strategy import STRATEGIES, Growth, Multipliers, Strategy, resolve_strategy

__all__ = [
    "STRATEGIES",
    "Axes",
    "Growth",
    "Multipliers",
    "ScaledModel",
    "Strategy",
    "entrypoint",
    "resolve_strategy",
    "scalable",
    "scale",
    "scaled",
    "table",
]

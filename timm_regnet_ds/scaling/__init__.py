"""Making models larger or smaller. Importing this registers the scaled models that have names, and `scaled`."""

from . import coverage, entrypoint, scaled, table, tables
from .axes import Axes, scalable
from .scaler import ScaledModel, scale
from .strategy import STRATEGIES, Growth, Multipliers, Strategy, resolve_strategy

__all__ = [
    "STRATEGIES",
    "Axes",
    "Growth",
    "Multipliers",
    "ScaledModel",
    "Strategy",
    "coverage",
    "entrypoint",
    "resolve_strategy",
    "scalable",
    "scale",
    "scaled",
    "table",
    "tables",
]

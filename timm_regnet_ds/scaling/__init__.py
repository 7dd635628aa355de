"""Making models larger or smaller. Importing this registers the scaled models that have names."""

from . import scaled
from .strategy import STRATEGIES, Growth, Multipliers, Strategy, resolve_strategy

__all__ = ["STRATEGIES", "Growth", "Multipliers", "Strategy", "resolve_strategy", "scaled"]

"""Milliseconds predicted from complexity: a formula, its fit to measured times, and the cards in the package.

The cards predict the time of any model, on devices that need not be at hand:

>>> from timm_regnet_ds.latency import card
>>> milliseconds = card("rtx4090").predict("resnet50", batch_size=256)
"""

from .cards import card, cards
from .model import CrossValidation, LatencyModel

__all__ = ["CrossValidation", "LatencyModel", "card", "cards"]

"""The cards in the package: coefficients fitted to the times of over a thousand models on each device.

A card is a device in one setting. ``cards.json`` has the coefficients with their errors, which
``benchmarks/make_cards.py`` fitted to the tables of times in timm's repository.
"""

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from timm_regnet_ds.common.check import did_you_mean
from timm_regnet_ds.common.processor import processor_name

from .model import LatencyModel

__all__ = ["CARDS_FILE", "card", "cards", "describe_cards", "predictor"]

CARDS_FILE = Path(__file__).with_name("cards.json")


@functools.cache
def cards() -> Mapping[str, LatencyModel]:
    """The cards by name."""
    saved = json.loads(CARDS_FILE.read_text(encoding="utf-8"))
    return MappingProxyType({name: LatencyModel.from_dict(values) for name, values in saved["cards"].items()})


def card(name: str | None = None) -> LatencyModel:
    """A card by its name, such as ``rtx4090-compiled``, or by the device's name as torch gives it.

    >>> card("rtx4090").device_name
    'NVIDIA GeForce RTX 4090'

    Args:
        name: the name of a card, or of a device: then its card in eager mode, channels first, if there is one. None
            stands for the GPU of this machine or, without one, for its processor.

    Raises:
        ValueError: no such card.
    """
    if name is None:
        device = _device_here()
        found = _of_device(device)
        if found is None:
            raise ValueError(f"there is no card for this machine's {device!r}: pass one of {', '.join(cards())}")
        return found
    found = cards().get(name) or _of_device(name)
    if found is None:
        raise ValueError(f"unknown card {name!r}{did_you_mean(name, cards())} (allowed: {', '.join(cards())})")
    return found


def _device_here() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return processor_name() or "processor"


def _of_device(name: str) -> LatencyModel | None:
    found = [key for key, known in cards().items() if _essence(name) in (_essence(key), _essence(known.device_name))]
    return cards()[min(found, key=len)] if found else None


def _essence(name: str) -> str:
    """The letters and digits of a name: ``NVIDIA GeForce RTX 4090`` and ``rtx4090`` are the same."""
    return re.sub(r"nvidia|geforce|[^a-z0-9]", "", name.lower())


def predictor(on: Any = None) -> Any:
    """What predicts time: a card by name, a file that ``latency fit`` wrote, or an object that can predict already.

    Args:
        on: the name of a card or of a device, a path that ends with ``.json``, an object with a method ``predict``, or
            None for the device of this machine.

    Raises:
        ValueError: no such card, or a file of another kind.
        FileNotFoundError: no such file.
        TypeError: none of these.
    """
    if on is None:
        return card()
    if isinstance(on, Path) or (isinstance(on, str) and on.endswith(".json")):
        return LatencyModel.load(on)
    if isinstance(on, str):
        return card(on)
    if not hasattr(on, "predict"):
        raise TypeError(f"on must be a card's name, a file or a latency model, not {type(on).__name__}")
    return on


def describe_cards() -> str:
    """A table of the cards with their settings and errors, of at most 80 columns."""
    return "\n".join(
        [
            f"{'':33}{'torch':>7}{'batch':>10}{'models':>8}   {'error, by family':>19}",
            f"{'card':33}{'':7}{'':10}{'':8}   {'median':>9}{'90%':>10}",
            *(_line(name, known) for name, known in cards().items()),
        ]
    )


def _line(name: str, known: LatencyModel) -> str:
    low, high = known.batch_sizes or (0, 0)
    error = known.family_error or known.error
    batches = str(low) if low == high else f"{low}–{high}"
    return f"{name:33}{known.torch:>7}{batches:>10}{error.models:>8}   {error.median:>9.1%}{error.p90:>10.1%}"

"""State dicts, compared by their names and shapes."""

from collections.abc import Mapping
from typing import Any

from .text import count, listed

__all__ = ["Shapes", "describe_differences", "shapes_of"]

Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a state dict."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def describe_differences(found: Shapes, wanted: Shapes) -> str:
    """How names and shapes differ from those that are wanted; empty if they are the same.

    >>> describe_differences({"a": (1,), "b": (2,)}, {"a": (3,), "c": (2,)})
    '3 keys differ: a is (1,), not (3,); c is missing; b is not expected'
    """
    other = [f"{key} is {found[key]}, not {shape}" for key, shape in wanted.items() if found.get(key, shape) != shape]
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    number = len(other) + len(missing) + len(extra)
    if not number:
        return ""
    parts = [
        *([listed(other)] if other else []),
        *([f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} missing"] if missing else []),
        *([f"{listed(extra)} {'is' if len(extra) == 1 else 'are'} not expected"] if extra else []),
    ]
    return f"{count(number, 'key')} differ{'s' if number == 1 else ''}: {'; '.join(parts)}"

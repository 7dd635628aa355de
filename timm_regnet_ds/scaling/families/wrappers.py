"""Objects that rules pass to a class in place of one of its arguments, and the names under which they are saved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .rules import Args

__all__ = ["WRAPPERS", "Wrapper"]


@dataclass(frozen=True)
class Wrapper:
    """How such an object is recognized, and how it is made again for a saved model.

    Attributes:
        kind: the object's class, or the object itself if it is a function.
        from_base: makes the object from the base's arguments, before anything is scaled.
    """

    kind: Any
    from_base: Callable[[Args], Any]

    def matches(self, value: Any) -> bool:
        """Return whether an argument is such an object."""
        return value is self.kind or type(value) is self.kind


# The names are part of the file format of saved models: they never change.
WRAPPERS: dict[str, Wrapper] = {}

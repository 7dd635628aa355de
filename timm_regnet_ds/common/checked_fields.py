"""Dataclasses whose fields declare how their values are checked.

Example:
    >>> @dataclass(frozen=True)
    ... class Recipe(CheckedFields):
    ...     epochs: int = field(default=10, metadata=checked_by(check_int, minimum=1))
    ...     width: int | None = field(default=None, metadata=checked_by(check_int, optional=True))
    >>> Recipe(epochs=0)
    ValueError: epochs must be a whole number of at least 1, not 0
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

__all__ = ["CheckedFields", "checked_by"]


def checked_by(check: Callable[..., Any], optional: bool = False, **arguments: Any) -> dict[str, Any]:
    """Metadata for ``dataclasses.field`` that declares the check of a field of a `CheckedFields`.

    Args:
        check: called as ``check(name, value, **arguments)``; returns the value to store, or raises a ValueError. The
            functions of ``common.check`` have this form.
        optional: whether ``None`` is allowed; ``check`` is not called for it.
        **arguments: further arguments of ``check``, such as ``minimum``.
    """

    def checked(name: str, value: Any) -> Any:
        return None if optional and value is None else check(name, value, **arguments)

    return {"check": checked}


class CheckedFields:
    """Base class of dataclasses, frozen or not, whose fields declare their checks with `checked_by`.

    A subclass that checks fields against each other, or fills in a default, does so in a ``__post_init__`` of its
    own and calls this one with ``super().__post_init__()``.
    """

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            if "check" in f.metadata:
                self._set(f.name, f.metadata["check"](f.name, getattr(self, f.name)))

    def _set(self, name: str, value: Any) -> None:
        """Set a field, also of a frozen dataclass; only for ``__post_init__``."""
        object.__setattr__(self, name, value)

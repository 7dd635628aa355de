"""Small pieces of text that tables and messages share."""

from collections.abc import Iterable, Sequence

__all__ = ["count", "first_line", "format_size", "listed", "short_repr", "shorten"]


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's type if it has no message."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def count(number: int, thing: str) -> str:
    """A number of things, whose plural has an s: ``1 module``, ``2 modules``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are: ``a, b, c and 2 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_size(size: Iterable[int]) -> str:
    """An image size as text: ``3×224×224``."""
    return "×".join(map(str, size))


def shorten(name: str, width: int, keep: str = "start") -> str:
    """``name`` in at most ``width`` characters: ``…`` replaces what is cut off.

    Args:
        name: the text.
        width: the greatest length.
        keep: the part that stays, ``start`` or ``end``.
    """
    if len(name) <= width:
        return name
    return f"{name[: width - 1]}…" if keep == "start" else f"…{name[1 - width :]}"


def short_repr(value: object) -> str:
    """The value as Python writes it, in at most 200 characters."""
    try:
        return shorten(repr(value), 200)
    except ValueError:  # Python writes no integer of more than 4,300 digits.
        return "a number of thousands of digits"

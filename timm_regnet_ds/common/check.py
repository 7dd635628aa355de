"""Checks of arguments. Each error names what was given and what is allowed."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from .text import short_repr

__all__ = ["check_choice", "check_float", "check_int", "check_per_stage", "did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the most similar known name, or an empty string if no name is similar."""
    by_lower: dict[str, str] = {}
    for other in known:
        by_lower.setdefault(other.lower(), other)
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def check_choice(what: str, name: Any, choices: Collection[str]) -> Any:
    """Look a name up.

    Args:
        what: how the error calls the value.
        name: the value to check.
        choices: the allowed names, or a mapping from them.

    Returns:
        The name's entry if ``choices`` is a mapping, otherwise the name.

    Raises:
        ValueError: an unknown name; the message lists the allowed ones.
    """
    if isinstance(name, str) and name in choices:
        return choices[name] if isinstance(choices, dict) else name
    raise ValueError(
        f"unknown {what} {name!r}{did_you_mean(str(name), choices)} "
        f"(allowed: {', '.join(key or repr(key) for key in choices)})"
    )


def check_int(what: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """``value`` as an int, or a ValueError if it is not a whole number within the bounds, which are included."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        result = int(value)
        if result >= minimum and (maximum is None or result <= maximum):
            return result
    bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ValueError(f"{what} must be a whole number {bounds}, not {short_repr(value)}")


def check_float(
    what: str, value: Any, above: float | None = None, minimum: float | None = None, maximum: float | None = None
) -> float:
    """``value`` as a finite float within the bounds, or a ValueError that states them."""
    bounds = {"above": above, "at least": minimum, "at most": maximum}
    result = _as_float(value)
    if result is not None:
        is_inside = (above is None or result > above) and (minimum is None or result >= minimum)
        if is_inside and (maximum is None or result <= maximum):
            return result
    stated = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    raise ValueError(f"{what} must be a finite number {stated}, not {short_repr(value)}")


def _as_float(value: Any) -> float | None:
    """A finite real number as a float, otherwise None."""
    try:
        if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond 1e308
        pass
    return None


def check_per_stage(what: str, value: Any, stages: int, check: Callable[..., Any], **bounds: Any) -> tuple[Any, ...]:
    """Check one value per stage.

    Args:
        what: how the error calls the value.
        value: one value for all stages, or a list or tuple with one per stage.
        stages: the number of stages.
        check: `check_int` or `check_float`.
        **bounds: passed to ``check``.

    Raises:
        ValueError: a wrong number of values, or one that ``check`` refuses.
    """
    values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value] * stages
    if len(values) != stages:
        raise ValueError(f"{what} has {len(values)} values for {stages} stages: {list(values)}")
    return tuple(check(what, v, **bounds) for v in values)

"""Checks of what a user passes. Each error names what was given and what is allowed."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

__all__ = ["lookup", "nearest", "number", "per_stage", "whole"]


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the nearest known name, or nothing where none is near."""
    by_lower: dict[str, str] = {}
    for other in known:
        by_lower.setdefault(other.lower(), other)
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def lookup(what: str, name: Any, table: dict[str, Any]) -> Any:
    """The entry of a table, or a ValueError that lists the names."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(
        f"unknown {what} {name!r}{nearest(str(name), table)} (allowed: {', '.join(key or repr(key) for key in table)})"
    )


def whole(what: str, value: Any, least: int = 1) -> int:
    """``value`` as an int, or a ValueError if it is not a whole number of at least ``least``."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise ValueError(f"{what} must be a whole number of at least {least}, not {value!r}")


def number(
    what: str, value: Any, above: float | None = None, least: float | None = None, most: float | None = None
) -> float:
    """``value`` as a finite float within the bounds, or a ValueError that states them."""
    bounds = {"above": above, "at least": least, "at most": most}
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        result = float(value)
        inside = (above is None or result > above) and (least is None or result >= least)
        if inside and (most is None or result <= most):
            return result
    stated = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    raise ValueError(f"{what} must be a finite number {stated}, not {value!r}")


def per_stage(what: str, value: Any, stages: int, check: Any, **bounds: Any) -> tuple[Any, ...]:
    """One checked value for each stage, from one for all or a sequence of as many as there are stages."""
    values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value] * stages
    if len(values) != stages:
        raise ValueError(f"{what} has {len(values)} values for {stages} stages: {list(values)}")
    return tuple(check(what, v, **bounds) for v in values)

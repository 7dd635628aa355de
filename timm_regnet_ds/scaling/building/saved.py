"""The sizes of a scaled model in a form that JSON can hold, and the way back.

A saved model is built from these sizes and not from its scaling factor. So it comes back unchanged even if a later
version of this package rounds otherwise, or a later timm gives the base other default sizes.

Only sizes and what scaling changes are saved; the rest is taken from the base. In the saved form, a mapping holds the
saved fields of a mapping or dataclass of the base, and a list stands for a sequence of the type that the base has.
Three reserved keys hold what this cannot express:

- ``{"like": i, ...}`` in a list: item ``i`` of the base's list with these fields changed;
- ``{"tuple": [...]}`` or ``{"list": [...]}``: a sequence of another type than the base's;
- ``{"wrapper": name, ...}``: an object of ``families.wrappers`` with these fields changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from inspect import signature
from numbers import Integral, Real
from typing import Any

from timm_regnet_ds.common.check import check_int, did_you_mean
from timm_regnet_ds.scaling.families.wrappers import WRAPPERS

from .base import Base
from .build import Changes, changes_of

__all__ = ["changes_from_saved", "saved_sizes"]


def saved_sizes(base: Base, changes: Changes, input_size: Sequence[int]) -> dict[str, Any] | None:
    """The image size and the arguments that scaling reads or changes, for ``json.dumps``.

    Returns:
        ``{"input_size": [...], "args": {...}}``, or None if an argument has no saved form, such as an object of a
        user's own class.
    """
    rules = (*base.spec.depth, *base.spec.width)
    scaled = {getattr(rule, "path", "").partition(".")[0] for rule in rules} & base.args.keys()
    names = sorted((scaled | changes.args.keys()) - {*base.spec.img_size})
    try:
        args = {name: _saved_arg(changes.args.get(name, base.args.get(name)), base, name) for name in names}
    except _NoSavedFormError:
        return None
    return {"input_size": [int(side) for side in input_size], "args": args}


def changes_from_saved(base: Base, sizes: Mapping[str, Any]) -> Changes:
    """The changes that build the saved model from its base.

    Raises:
        ValueError: the saved sizes do not fit the base. The message names the argument.
    """
    try:
        channels_and_sides = [check_int("input_size", side) for side in sizes["input_size"]]
        if len(channels_and_sides) != 3:
            raise _MisfitError(f"input_size is {sizes['input_size']}, not (channels, height, width)")
        args = {name: _restored_arg(value, base, name) for name, value in sizes["args"].items()}
    except (_MisfitError, KeyError, TypeError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"the saved sizes do not fit {base.name}: {reason}") from error
    channels, height, width = channels_and_sides
    return changes_of(base, base.args | args, (channels, height, width))


class _NoSavedFormError(Exception):
    """A value that JSON cannot hold."""


class _MisfitError(Exception):
    """A saved value that does not fit the base's."""


def _saved_arg(value: Any, base: Base, name: str) -> Any:
    old = base.args.get(name)
    for wrapper_name, wrapper in WRAPPERS.items():
        if wrapper.matches(value) and not wrapper.matches(old):
            start = wrapper.from_base(base.args)
            changed = {} if start is value else _saved_fields(value, start)
            return {"wrapper": wrapper_name, **changed}
    return _saved(value, old)


def _restored_arg(saved: Any, base: Base, name: str) -> Any:
    if isinstance(saved, Mapping) and "wrapper" in saved:
        wrapper = WRAPPERS.get(saved["wrapper"])
        if wrapper is None:
            raise _MisfitError(
                f"{name} is saved as {saved['wrapper']!r}{did_you_mean(str(saved['wrapper']), WRAPPERS)}"
            )
        changed = {key: value for key, value in saved.items() if key != "wrapper"}
        start = wrapper.from_base(base.args)
        return _with_fields(start, changed, name) if changed else start
    if name not in base.args and name not in signature(base.spec.model_factory or base.build.model_cls).parameters:
        raise _MisfitError(f"it has no argument {name!r}{did_you_mean(name, base.args)}")
    return _restored(saved, base.args.get(name), name)


def _saved(value: Any, old: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, (list, tuple)):
        items = [_saved_item(item, i, old) for i, item in enumerate(value)]
        if type(value) is type(old):
            return items
        if type(value) in (list, tuple):
            return {type(value).__name__: items}
    if _has_fields(value) and type(value) is type(old):
        return _saved_fields(value, old)
    raise _NoSavedFormError


def _saved_fields(value: Any, old: Any) -> dict[str, Any]:
    """The fields that hold sizes, and those that differ from ``old``."""
    before, after = _fields(old), _fields(value)
    if not before.keys() <= after.keys() or {"like", "tuple", "list", "wrapper"} & after.keys():
        raise _NoSavedFormError
    return {
        key: _saved(item, before.get(key))
        for key, item in after.items()
        if _is_size(item) or key not in before or not _equal(item, before[key])
    }


def _saved_item(item: Any, index: int, old: Any) -> Any:
    """The saved form of an item; mappings, dataclasses and objects refer to the most similar item of ``old``."""
    others = list(old) if isinstance(old, (list, tuple)) else []
    if isinstance(item, (list, tuple)):
        return _saved(item, others[min(index, len(others) - 1)] if others else None)
    if not _has_fields(item) and (item is None or isinstance(item, (bool, str, Real))):
        return _saved(item, None)
    by_distance = sorted(range(len(others)), key=lambda i: (not _equal(item, others[i]), abs(i - index)))
    forms = []
    for i in by_distance:
        if _equal(item, others[i]):
            return {"like": i, **(_sizes_of(item) if _has_fields(item) else {})}
        if _has_fields(item) and type(item) is type(others[i]):
            try:
                forms.append({"like": i, **_saved_fields(item, others[i])})
            except _NoSavedFormError:
                continue
    if not forms:
        raise _NoSavedFormError
    return min(forms, key=len)


def _sizes_of(item: Any) -> dict[str, Any]:
    return {key: _saved(value, value) for key, value in _fields(item).items() if _is_size(value)}


def _restored(saved: Any, old: Any, where: str) -> Any:
    if isinstance(saved, list):
        if not isinstance(old, (list, tuple)):
            raise _MisfitError(f"{where} is {saved}, where the base has {old!r}")
        items = [_restored_item(item, i, old, f"{where}[{i}]") for i, item in enumerate(saved)]
        return type(old)(*items) if hasattr(old, "_fields") else type(old)(items)
    if isinstance(saved, Mapping):
        for kind in (list, tuple):
            if saved.keys() == {kind.__name__}:
                items = saved[kind.__name__]
                return kind(_restored_item(item, i, old, f"{where}[{i}]") for i, item in enumerate(items))
        return _with_fields(old, saved, where)
    if _has_fields(old):
        raise _MisfitError(f"{where} is {saved!r}, where the base has a {type(old).__name__}")
    return saved


def _restored_item(saved: Any, index: int, old: Any, where: str) -> Any:
    others = list(old) if isinstance(old, (list, tuple)) else []
    if isinstance(saved, Mapping) and "like" in saved:
        if not 0 <= saved["like"] < len(others):
            raise _MisfitError(f"{where} is like item {saved['like']}, but the base has {len(others)} items")
        changed = {key: value for key, value in saved.items() if key != "like"}
        return _with_fields(others[saved["like"]], changed, where) if changed else others[saved["like"]]
    return _restored(saved, others[min(index, len(others) - 1)] if others else None, where)


def _with_fields(old: Any, saved: Mapping[str, Any], where: str) -> Any:
    if not _has_fields(old):
        raise _MisfitError(f"{where} has the fields {', '.join(saved)}, where the base has {old!r}")
    before = _fields(old)
    if is_dataclass(old):
        for key in saved:
            if key not in before:
                raise _MisfitError(f"{where} has no field {key!r}{did_you_mean(key, before)}")
    changed = {key: _restored(value, before.get(key), f"{where}.{key}") for key, value in saved.items()}
    return replace(old, **changed) if is_dataclass(old) and not isinstance(old, type) else {**old, **changed}


def _has_fields(value: Any) -> bool:
    return isinstance(value, Mapping) or (is_dataclass(value) and not isinstance(value, type))


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _is_size(value: Any) -> bool:
    """Whether a value is a number or a nested sequence of numbers."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_size, value))
    return isinstance(value, Real) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """Equality that also compares copies of `functools.partial`."""
    if type(one) is not type(other):
        return False
    if isinstance(one, partial):
        return all(_equal(getattr(one, part), getattr(other, part)) for part in ("func", "args", "keywords"))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if _has_fields(one):
        before, after = _fields(one), _fields(other)
        return before.keys() == after.keys() and all(_equal(before[key], after[key]) for key in before)
    return bool(one == other)

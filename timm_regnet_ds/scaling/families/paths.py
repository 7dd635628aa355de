"""Paths to numbers inside a model's arguments: ``depths``, ``model_cfg.stages.depth``, ``block_args.*.*.out_chs``.

A path goes through mappings, lists, tuples and dataclasses; ``*`` stands for every item of a mapping, list or tuple.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any

__all__ = ["change_at", "leaves", "map_leaves", "value_at", "values_at"]


def value_at(node: Any, path: str) -> Any:
    """Return the value at a path without ``*``, or None if the path does not exist."""
    for name in path.split("."):
        node = _get(node, name)
    return node


def values_at(node: Any, path: str) -> list[Any]:
    """Return all values at a path; an empty list if the path does not exist."""
    name, _, rest = path.partition(".")
    if name != "*":
        child = _get(node, name)
        found = [] if child is None else [child]
    elif isinstance(node, Mapping):
        found = list(node.values())
    else:
        found = list(node) if isinstance(node, (list, tuple)) else []
    return [value for child in found for value in values_at(child, rest)] if rest else found


def change_at(node: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Return a copy of ``node`` with ``change`` applied to each value at ``path``; unchanged if there is none."""
    name, _, rest = path.partition(".")
    deeper = (lambda child: change_at(child, rest, change)) if rest else change
    if is_dataclass(node) and not isinstance(node, type):
        return replace(node, **{name: deeper(getattr(node, name))}) if hasattr(node, name) else node
    if isinstance(node, Mapping):
        keys = node if name == "*" else [name] if name in node else []
        return {**node, **{key: deeper(node[key]) for key in keys}}
    if isinstance(node, (list, tuple)):
        chosen = range(len(node)) if name == "*" else [int(name)]
        items = [deeper(item) if i in chosen else item for i, item in enumerate(node)]
        return _same_type(node, items)
    return node


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply ``change`` to each item of nested lists and tuples, or to ``value`` itself if it is neither."""
    if isinstance(value, (list, tuple)):
        return _same_type(value, [map_leaves(item, change) for item in value])
    return change(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the items of nested lists and tuples, or ``value`` itself if it is neither."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _get(node: Any, name: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(name)
    if isinstance(node, (list, tuple)):
        return node[int(name)]
    return getattr(node, name, None)


def _same_type(node: Any, items: list[Any]) -> Any:
    if hasattr(node, "_fields"):
        return type(node)(*items)
    return type(node)(items)

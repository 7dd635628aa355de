"""Index maps: which channel of the base each channel of the grown model repeats."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dims import Concat, Dim, Groups, Leaf, Product, resolve

__all__ = ["COPY", "FRESH", "MEAN", "OLD", "ZERO", "Map", "Policy", "index_map", "scale_map"]

# What a channel of the grown model is.
OLD = 0  # one of the base, in the order of the base
COPY = 1  # a copy of one of the base
MEAN = 2  # new; it carries the mean of the old ones
ZERO = 3  # new; it carries 0
FRESH = 4  # new, as the class initializes it


class Policy(Enum):
    """What new channels are.

    Attributes:
        FRESH: as the class initializes them; the mean of the old ones where a LayerNorm reads them, and zero where
            another operator reads all channels.
        ZERO: the same, with zero for LayerNorm too.
        COPY: copies of the old ones.
        MIXED: copies where an operator reads all channels and their number is a multiple of the base's; else fresh.
    """

    MIXED = "mixed"
    FRESH = "fresh"
    ZERO = "zero"
    COPY = "copy"


class Map(NamedTuple):
    """Where the channels of a grown dimension come from.

    Attributes:
        source: the index of the base's channel; -1 where there is none.
        state: `OLD`, `COPY`, `MEAN`, `ZERO` or `FRESH`.
    """

    source: NDArray[np.int64]
    state: NDArray[np.int64]

    def where(self, *states: int) -> NDArray[np.int64]:
        """The channels in one of some states."""
        return np.flatnonzero(np.isin(self.state, states))


def index_map(dim: Dim, policy: Policy) -> Map:
    """The map of a dimension."""
    dim = resolve(dim)
    if isinstance(dim, Leaf):
        return _leaf_map(dim, policy)
    if isinstance(dim, Groups):
        return _groups_map(dim)
    if isinstance(dim, Concat):
        return _concat_map(dim, policy)
    assert isinstance(dim, Product)
    source, state = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for part in dim.parts:
        inner = index_map(part, policy)
        known = (source[:, None] >= 0) & (inner.source >= 0)
        source = np.where(known, source[:, None] * part.base + inner.source, -1).ravel()
        state = np.maximum(state[:, None], inner.state).ravel()
    return Map(source, state)


def _leaf_map(dim: Leaf, policy: Policy) -> Map:
    new = max(0, dim.grown - dim.base)
    old = np.arange(min(dim.base, dim.grown))
    # Queries and keys are copied at any ratio: `scale_map` makes up for it.
    is_multiple = bool(dim.base) and dim.grown % dim.base == 0
    copies = (
        policy is Policy.COPY or "contraction" in dim.marks or (policy is Policy.MIXED and dim.marks and is_multiple)
    )
    if copies and dim.base:
        state = np.repeat([OLD, COPY], [len(old), new])
        return Map(np.arange(dim.grown) % dim.base, state)
    source = np.concatenate([old, np.full(new, -1)])
    kind = FRESH
    if "norm" in dim.marks:
        kind = ZERO if policy is Policy.ZERO else MEAN
    elif dim.marks & {"mean", "group norm", "old channels"}:
        kind = ZERO
    return Map(source, np.repeat([OLD, kind], [len(old), new]))


def _groups_map(dim: Groups) -> Map:
    """Groups of the base in order, several in each of the grown model."""
    (groups, _), (width, wide) = dim.groups, dim.width
    fit = wide // width
    group = np.arange(groups)[:, None]
    at = ((group // fit) * wide + (group % fit) * width + np.arange(width)).ravel()
    source, state = np.full(dim.grown, -1), np.full(dim.grown, FRESH)
    source[at], state[at] = np.arange(dim.base), OLD
    return Map(source, state)


def _concat_map(dim: Concat, policy: Policy) -> Map:
    sources, states, start = [], [], 0
    for part in dim.parts:
        inner = index_map(part, policy)
        sources.append(np.where(inner.source < 0, -1, inner.source + start))
        states.append(inner.state)
        start += part.base
    return Map(np.concatenate(sources), np.concatenate(states))


def scale_map(dim: Dim, scales: Mapping[Leaf, float]) -> NDArray[np.float64]:
    """By how much each channel of a grown dimension differs from the base's.

    Args:
        dim: the dimension.
        scales: of leaves that queries and keys are summed over, the factor by which constants change the sum. Each
            channel, and each of its copies, is so small that the sum stays what it was.
    """
    dim = resolve(dim)
    if isinstance(dim, Leaf) and dim in scales:
        source = np.arange(dim.grown) % max(dim.base, 1)
        return np.asarray((scales[dim] * np.bincount(source)[source]) ** -0.5)
    if isinstance(dim, Product):
        scale = np.ones(1)
        for part in dim.parts:
            scale = np.outer(scale, scale_map(part, scales)).ravel()
        return scale
    if isinstance(dim, Concat):
        return np.concatenate([scale_map(part, scales) for part in dim.parts])
    return np.ones(dim.grown)

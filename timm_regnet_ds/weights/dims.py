"""Dimensions of tensors: the size that the base has, the size that the grown model has, and what both are made of.

A dimension is a leaf (64 channels that become 96), a product (8 heads of 16 channels), a concatenation (queries, keys,
values) or groups of which several fit in one grown group. Unification (`unify.py`) binds leaves to other dimensions.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Concat",
    "Dim",
    "Groups",
    "Leaf",
    "Product",
    "concat",
    "factors",
    "leaves",
    "product",
    "resolve",
    "same",
    "segments",
    "size",
]

Size = tuple[int, int]


class Dim:
    """A dimension of a tensor of the base, and of the tensor of the grown model that corresponds to it.

    Attributes:
        base: its size in the base.
        grown: its size in the grown model.
    """

    __slots__ = ("base", "grown")

    def __init__(self, base: int, grown: int) -> None:
        self.base = int(base)
        self.grown = int(grown)

    @property
    def size(self) -> Size:
        return self.base, self.grown


class Leaf(Dim):
    """A dimension of which no structure is known; it may be bound to another dimension.

    Attributes:
        bound: the dimension that this one was found to be.
        marks: what reads the dimension as a whole and so depends on its new channels: ``norm``, ``mean`` …; or
            ``old channels``, which are what a shortcut adds the new channels to.
    """

    __slots__ = ("bound", "marks")

    def __init__(self, base: int, grown: int) -> None:
        super().__init__(base, grown)
        self.bound: Dim | None = None
        self.marks: set[str] = set()

    def __repr__(self) -> str:
        return f"{self.base}→{self.grown}" if self.bound is None else repr(resolve(self))


class Product(Dim):
    """A dimension that a view splits: the first part varies slowest."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Dim]) -> None:
        super().__init__(math.prod(p.base for p in parts), math.prod(p.grown for p in parts))
        self.parts = tuple(parts)

    def __repr__(self) -> str:
        return f"({' × '.join(map(repr, self.parts))})"


class Concat(Dim):
    """A dimension along which tensors are concatenated or cut."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Dim]) -> None:
        super().__init__(sum(p.base for p in parts), sum(p.grown for p in parts))
        self.parts = tuple(parts)

    def __repr__(self) -> str:
        return f"({' | '.join(map(repr, self.parts))})"


class Groups(Dim):
    """Groups of channels, of which several fit in one group of the grown model.

    Attributes:
        groups: number of groups in the base and in the grown model.
        width: channels of a group in the base and in the grown model.
    """

    __slots__ = ("groups", "width")

    def __init__(self, groups: Size, width: Size) -> None:
        super().__init__(groups[0] * width[0], groups[1] * width[1])
        self.groups = groups
        self.width = width

    def __repr__(self) -> str:
        return f"groups {self.groups[0]}→{self.groups[1]} of {self.width[0]}→{self.width[1]}"


def resolve(dim: Dim) -> Dim:
    """What a dimension is bound to, or itself."""
    while isinstance(dim, Leaf) and dim.bound is not None:
        dim = dim.bound
    return dim


def size(dim: Dim) -> Size:
    """Sizes in the base and in the grown model."""
    return dim.base, dim.grown


def product(parts: Iterable[Dim]) -> Dim:
    """A product; parts of size 1 are left out, and products among the parts are taken apart."""
    flat = [factor for part in parts for factor in factors(part) if factor.size != (1, 1)]
    if not flat:
        return Leaf(1, 1)
    return flat[0] if len(flat) == 1 else Product(flat)


def concat(parts: Iterable[Dim]) -> Dim:
    """A concatenation; empty parts are left out, and concatenations among the parts are taken apart."""
    flat = [segment for part in parts for segment in segments(part) if segment.size != (0, 0)]
    if not flat:
        return Leaf(0, 0)
    return flat[0] if len(flat) == 1 else Concat(flat)


def factors(dim: Dim) -> list[Dim]:
    """The factors of a product, resolved; of any other dimension, itself."""
    dim = resolve(dim)
    return [factor for part in dim.parts for factor in factors(part)] if isinstance(dim, Product) else [dim]


def segments(dim: Dim) -> list[Dim]:
    """The segments of a concatenation, resolved; of any other dimension, itself."""
    dim = resolve(dim)
    return [segment for part in dim.parts for segment in segments(part)] if isinstance(dim, Concat) else [dim]


def leaves(dim: Dim) -> Iterator[Leaf]:
    """All leaves of a dimension."""
    dim = resolve(dim)
    if isinstance(dim, Leaf):
        yield dim
    elif isinstance(dim, (Product, Concat)):
        for part in dim.parts:
            yield from leaves(part)


def same(dim: Dim) -> bool:
    """Whether each channel of the base has the same index in the grown model, which has no other."""
    dim = resolve(dim)
    if isinstance(dim, (Product, Concat)):
        return all(same(part) for part in dim.parts)
    return isinstance(dim, Leaf) and dim.base == dim.grown

"""Finding out what dimensions are made of: unification, cuts and views."""

from collections.abc import Sequence
from typing import NamedTuple

from .dims import Concat, Dim, Groups, Leaf, Product, Size, concat, factors, leaves, product, resolve, same, segments

__all__ = ["Unifier"]


class _Overhang(NamedTuple):
    """A cut after which the grown model has fewer channels than the base.

    This happens in a deeper model whose widths grow from block to block: the channels that an added block has added
    are in front of the cut, and they give way where both parts are joined again.

    Attributes:
        at: where the two models cut.
        whole: what is cut.
        first, rest: stand for the two parts.
    """

    at: Size
    whole: Dim
    first: Leaf
    rest: Leaf


class Unifier:
    """Binds dimensions to each other, and collects what does not fit.

    Attributes:
        prefix: whether the base's channels come first wherever new channels give way, as they do if depth alone grows.
        overhangs: cuts whose parts have not been joined yet.
        conflicts: a line for each pair of dimensions that do not fit. The weights may still be inherited exactly,
            which verification tells.
    """

    def __init__(self, prefix: bool = False) -> None:
        self.prefix = prefix
        self.conflicts: list[str] = []
        self.overhangs: list[_Overhang] = []

    def conflict(self, what: str, *dims: Dim) -> None:
        self.conflicts.append(" ".join([what, *map(repr, dims)]))

    def unify(self, a: Dim, b: Dim) -> None:
        """Make two dimensions one: their channels correspond."""
        a, b = resolve(a), resolve(b)
        if a is b:
            return
        if a.size != b.size:
            self.conflict("sizes differ:", a, b)
        elif isinstance(a, Leaf):
            _bind(a, b)
        elif isinstance(b, Leaf):
            _bind(b, a)
        elif same(a) and same(b):
            return
        elif isinstance(a, Groups) or isinstance(b, Groups):
            if not (isinstance(a, Groups) and isinstance(b, Groups) and (a.groups, a.width) == (b.groups, b.width)):
                self.conflict("groups differ:", a, b)
        elif isinstance(a, Product) and isinstance(b, Product):
            self._unify_factors(factors(a), factors(b))
        elif isinstance(a, Concat) and isinstance(b, Concat):
            self._unify_segments(segments(a), segments(b))
        elif isinstance(a, Concat):
            self._unify_product_with_concat(b, a)
        else:
            self._unify_product_with_concat(a, b)

    def _unify_factors(self, a: list[Dim], b: list[Dim]) -> None:
        while a and b:
            x, y = resolve(a[0]), resolve(b[0])
            if x.size == y.size:
                self.unify(x, y)
                a, b = a[1:], b[1:]
            elif _divisible(x, y.size):
                first, rest = _divide(x, y.size)
                self.unify(first, y)
                a, b = [rest, *a[1:]], b[1:]
            elif _divisible(y, x.size):
                first, rest = _divide(y, x.size)
                self.unify(first, x)
                a, b = a[1:], [rest, *b[1:]]
            else:
                self.conflict("factors differ:", product(a), product(b))
                return

    def _unify_segments(self, a: list[Dim], b: list[Dim]) -> None:
        while a and b:
            x, y = resolve(a[0]), resolve(b[0])
            if x.size == y.size:
                self.unify(x, y)
                a, b = a[1:], b[1:]
                continue
            short, long = (x, y) if x.base <= y.base and x.grown <= y.grown else (y, x)
            halves = self.cut(long, short.size)
            if halves is None:
                self.conflict("segments differ:", concat(a), concat(b))
                return
            self.unify(halves[0], short)
            if short is x:
                a, b = a[1:], [halves[1], *b[1:]]
            else:
                a, b = [halves[1], *a[1:]], b[1:]

    def _unify_product_with_concat(self, a: Dim, b: Dim) -> None:
        parts, pieces = factors(a), segments(b)
        first, rest = resolve(parts[0]), product(parts[1:])
        if first.size == (len(pieces), len(pieces)) and len({piece.size for piece in pieces}) == 1:
            for piece in pieces:
                self.unify(piece, rest)
        elif isinstance(first, Leaf) and all(_is_multiple(piece.size, rest.size) for piece in pieces):
            cut = [Leaf(piece.base // rest.base, piece.grown // rest.grown) for piece in pieces]
            _bind(first, concat(cut))
            for part, piece in zip(cut, pieces, strict=True):
                self.unify(product([part, rest]), piece)
        else:
            self.conflict("a product is no concatenation:", a, b)

    def cut(self, dim: Dim, at: Size) -> tuple[Dim, Dim] | None:
        """A dimension in two, of which the first has the sizes ``at``; None where it cannot be cut there."""
        dim = resolve(dim)
        base, grown = at
        if at == (0, 0):
            return Leaf(0, 0), dim
        if at == dim.size:
            return dim, Leaf(0, 0)
        if base > dim.base or grown > dim.grown or base < 0 or grown < 0:
            return None
        if isinstance(dim, Leaf):
            first, second = Leaf(base, grown), Leaf(dim.base - base, dim.grown - grown)
            _bind(dim, Concat([first, second]))
            return first, second
        if isinstance(dim, Concat):
            return self._cut_segments(segments(dim), at)
        if isinstance(dim, Product):
            first_factor, *others = factors(dim)
            rest = product(others)
            if _is_multiple(at, rest.size):
                halves = self.cut(first_factor, (base // rest.base, grown // rest.grown))
                if halves is not None:
                    return product([halves[0], rest]), product([halves[1], rest])
        return None

    def _cut_segments(self, pieces: list[Dim], at: Size) -> tuple[Dim, Dim] | None:
        base, grown = at
        for i, piece in enumerate(pieces):
            if (base, grown) == (0, 0):
                return concat(pieces[:i]), concat(pieces[i:])
            if piece.base <= base and piece.grown <= grown:
                base, grown = base - piece.base, grown - piece.grown
                continue
            halves = self.cut(piece, (base, grown))
            if halves is None:
                return None
            return concat([*pieces[:i], halves[0]]), concat([halves[1], *pieces[i + 1 :]])
        return concat(pieces), Leaf(0, 0)

    def slice(self, dim: Dim, start: Size, end: Size) -> Dim:
        """The part of a dimension between two positions."""
        whole = resolve(dim)
        if start == (0, 0) and end == whole.size:
            return dim
        if same(whole) and start[0] == start[1] and end[0] == end[1]:
            return Leaf(end[0] - start[0], end[1] - start[1])
        overhanging = self._overhanging(whole, start, end)
        if overhanging is not None:
            return overhanging
        first = self.cut(whole, end)
        halves = self.cut(first[0], start) if first else None
        if halves is None:
            self.conflict(f"no cut from {start} to {end}:", whole)
            return Leaf(end[0] - start[0], end[1] - start[1])
        return halves[1]

    def _overhanging(self, whole: Dim, start: Size, end: Size) -> Dim | None:
        """A part of a dimension whose cut is an `_Overhang`, or is treated as one; None for an ordinary cut."""
        if end == whole.size:
            return next((f.rest for f in self.overhangs if f.at == start and resolve(f.whole) is whole), None)
        late = (whole.base - end[0]) - (whole.grown - end[1])
        if start != (0, 0) or not isinstance(whole, Leaf) or not (late > 0 or self.prefix) or late > end[1] - end[0]:
            return None
        first, rest = Leaf(*end), Leaf(whole.base - end[0], whole.grown - end[1])
        self.overhangs.append(_Overhang(end, whole, first, rest))
        return first

    def join(self, parts: Sequence[Dim]) -> Dim:
        """A concatenation, in which what was cut is whole again."""
        if len(parts) == 2:
            for found in self.overhangs:
                if resolve(parts[1]) is found.rest and resolve(parts[0]) is resolve(found.first):
                    self.overhangs.remove(found)
                    self.unify(found.whole, concat(self.give_way(segments(found.first), found.rest.size)))
                    return found.whole
        return concat(parts)

    def give_way(self, pieces: Sequence[Dim], follow: Size) -> list[Dim]:
        """A concatenation of pieces and a leaf of the size ``follow``, which takes over new channels in front of it."""
        pieces = list(pieces)
        new = 0
        while pieces and (follow[0] > follow[1] + new or self.prefix):
            last = pieces[-1]
            if last.base and isinstance(last, Leaf) and last.grown > last.base:
                kept = last.base if self.prefix else max(last.base, last.grown - (follow[0] - follow[1] - new))
                last = Leaf(0, last.grown - kept)
                first = Leaf(pieces[-1].base, kept)
                self.unify(pieces[-1], Concat([first, last]))
                pieces[-1] = first
            elif last.base:
                break
            else:
                pieces.pop()
            for leaf in leaves(last):
                leaf.marks.add("old channels")  # they are added to what the base has there
            new += last.grown
        return [*pieces, Leaf(follow[0], follow[1] + new)]

    def finish(self) -> None:
        """Unify what was cut with its two parts, where these were not joined."""
        for found in self.overhangs:
            self.unify(found.whole, concat([found.first, found.rest]))

    def view(self, dims: Sequence[Dim], before: Sequence[Size], after: Sequence[Size]) -> list[Dim]:
        """The dimensions of a view.

        Args:
            dims: those of the tensor.
            before: their sizes.
            after: the sizes of the view.
        """
        found: list[Dim] = []
        i = j = 0
        while i < len(before) or j < len(after):
            start, first = i, j
            source, target = (1, 1), (1, 1)
            if i < len(before):
                source, i = before[i], i + 1
            if j < len(after):
                target, j = after[j], j + 1
            while source != target:
                behind = source[0] < target[0] or source[1] < target[1] or j >= len(after)
                if behind and i < len(before):
                    source, i = _times(source, before[i]), i + 1
                elif j < len(after):
                    target, j = _times(target, after[j]), j + 1
                else:
                    self.conflict(f"no view of {list(before)} as {list(after)}")
                    return [Leaf(*one) for one in after]
            found += self._regroup(dims[start:i], after[first:j])
        return found

    def _regroup(self, dims: Sequence[Dim], wanted: Sequence[Size]) -> list[Dim]:
        """The same channels in the same order, split or joined to other sizes."""
        if len(dims) == len(wanted) == 1:
            return [dims[0]]
        rest = [factor for dim in dims for factor in factors(dim) if factor.size != (1, 1)]
        found: list[Dim] = []
        for one in wanted:
            taken = self._take(rest, one)
            if taken is None:
                if not all(same(dim) for dim in dims):
                    self.conflict(f"no view as {list(wanted)} of", *dims)
                return [Leaf(*size) for size in wanted]
            found.append(taken)
        return found

    def _take(self, rest: list[Dim], wanted: Size) -> Dim | None:
        """Take a dimension of the wanted size from the front of a list of factors, which is changed."""
        parts: list[Dim] = []
        base, grown = wanted
        while (base, grown) != (1, 1):
            if not rest:
                return None
            factor = resolve(rest[0])
            if isinstance(factor, Product):
                rest[0:1] = factors(factor)
            elif factor.base and factor.grown and _is_multiple((base, grown), factor.size):
                parts.append(rest.pop(0))
                base, grown = base // factor.base, grown // factor.grown
            elif _divisible(factor, (base, grown)):
                first, rest[0] = _divide(factor, (base, grown))
                parts.append(first)
                base = grown = 1
            elif isinstance(factor, Concat):
                split = self._split_concat(factor, (base, grown), first=not parts)
                if split is None:
                    return None
                parts.append(split[0])
                rest[0] = split[1]
                base = grown = 1
            else:
                return None
        return product(parts)

    def _split_concat(self, dim: Concat, wanted: Size, first: bool) -> tuple[Dim, Dim] | None:
        """A concatenation as a product whose first factor has the wanted size."""
        count, other = wanted
        if count == other and dim.base % count == 0 and dim.grown % count == 0:
            pieces = self._equal_pieces(dim, count)
            if pieces is not None:
                for piece in pieces[1:]:
                    self.unify(piece, pieces[0])
                return Leaf(count, count), resolve(pieces[0])
        if first and count and other and dim.base % count == 0 and dim.grown % other == 0:
            row = Leaf(dim.base // count, dim.grown // other)
            pieces = segments(dim)
            if all(_is_multiple(piece.size, row.size) for piece in pieces):
                rows: list[Dim] = [Leaf(piece.base // row.base, piece.grown // row.grown) for piece in pieces]
                for part, piece in zip(rows, pieces, strict=True):
                    self.unify(product([part, row]), piece)
                return concat(rows), row
        return None

    def _equal_pieces(self, dim: Dim, count: int) -> list[Dim] | None:
        step = dim.base // count, dim.grown // count
        pieces: list[Dim] = []
        for _ in range(count - 1):
            halves = self.cut(dim, step)
            if halves is None:
                return None
            pieces.append(halves[0])
            dim = halves[1]
        return [*pieces, dim]


def _bind(leaf: Leaf, dim: Dim) -> None:
    leaf.bound = dim
    for other in leaves(dim):
        other.marks |= leaf.marks


def _is_multiple(of: Size, by: Size) -> bool:
    return all(by) and of[0] % by[0] == 0 and of[1] % by[1] == 0


def _divisible(dim: Dim, by: Size) -> bool:
    return isinstance(dim, Leaf) and all(by) and _is_multiple(dim.size, by)


def _divide(leaf: Dim, by: Size) -> tuple[Dim, Dim]:
    """A leaf as a product whose first factor has the size ``by``."""
    assert isinstance(leaf, Leaf)
    first, rest = Leaf(*by), Leaf(leaf.base // by[0], leaf.grown // by[1])
    _bind(leaf, Product([first, rest]))
    return first, rest


def _times(a: Size, b: Size) -> Size:
    return a[0] * b[0], a[1] * b[1]

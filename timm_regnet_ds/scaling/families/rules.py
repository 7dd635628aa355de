"""Rules that scale a model's arguments, one for each way in which model classes take their depths and widths."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple, round_group_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .paths import change_at, leaves, map_leaves, value_at, values_at

__all__ = [
    *("Custom", "Depth", "GroupWidth", "Heads", "MultiplierArg", "Repeats", "Rule", "Together", "Width"),
    *("nearest_depth", "repeat", "spread"),
]

Args = dict[str, Any]


def _itself(block: Any) -> Any:
    return block


class Rule(ABC):
    """Scales some of a model's arguments. Rules never change arguments in place: they return a copy."""

    @abstractmethod
    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        """Return ``args`` with the rule's arguments scaled."""

    @abstractmethod
    def sizes(self, args: Args) -> list[float]:
        """Return the depths or widths that the rule scales, in a fixed order; growth is computed from them."""

    def when(self, condition: Callable[[Args], bool]) -> "Rule":
        """Return this rule, applied only to models whose arguments fulfil ``condition``."""
        return _When(self, condition)

    def measured_by(self, sizes: Callable[[Args], list[float]]) -> "Rule":
        """Return this rule, with growth computed from ``sizes(args)`` instead of the numbers that it scales."""
        return Custom(self.scale, sizes)


@dataclass(frozen=True)
class _When(Rule):
    rule: Rule
    condition: Callable[[Args], bool]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return self.rule.scale(args, multipliers) if self.condition(args) else args

    def sizes(self, args: Args) -> list[float]:
        return self.rule.sizes(args) if self.condition(args) else []


@dataclass(frozen=True)
class Together(Rule):
    """Several rules as one, so that `Rule.when` and `Rule.measured_by` apply to all of them."""

    rules: tuple[Rule, ...]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        for rule in self.rules:
            args = rule.scale(args, multipliers)
        return args

    def sizes(self, args: Args) -> list[float]:
        return [size for rule in self.rules for size in rule.sizes(args)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change(args: Args, path: str, change: Callable[[float], float]) -> Args:
    """Change each number under ``path``. Other values stay, and so does 0, with which timm turns a layer off."""

    def changed(leaf: Any) -> Any:
        return change(leaf) if _is_number(leaf) and leaf > 0 else leaf

    return change_at(args, path, lambda value: map_leaves(value, changed))


def _numbers(args: Args, path: str) -> list[float]:
    return [leaf for value in values_at(args, path) for leaf in leaves(value) if _is_number(leaf) and leaf > 0]


@dataclass(frozen=True)
class _AtPath(Rule):
    path: str

    def sizes(self, args: Args) -> list[float]:
        return _numbers(args, self.path)


@dataclass(frozen=True)
class Depth(_AtPath):
    """Numbers of blocks: a number, or nested lists of numbers.

    Args:
        path: path of the numbers among the arguments, see `paths`.
        multiple: depths change by multiples of this, so that a pattern of this length is never cut.
        minimum: a depth of at least this never falls below it.
    """

    multiple: int = 1
    minimum: int = 1

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return _change(
            args, self.path, lambda depth: nearest_depth(int(depth), multipliers.depth, self.multiple, self.minimum)
        )


@dataclass(frozen=True)
class Repeats(_AtPath):
    """Stages that are written as lists of blocks.

    Args:
        path: path of the lists among the arguments, see `paths`.
        multiple: lengths change by multiples of this, so that a pattern of this length is never cut.
        follower: makes, from the first block of a stage, one that can follow it. The first block may reduce the
            resolution, which a follower must not do.
    """

    multiple: int = 1
    follower: Callable[[Any], Any] = _itself

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        def scaled(blocks: Any) -> Any:
            depth = nearest_depth(len(blocks), multipliers.depth, self.multiple)
            return repeat(blocks, depth, self.follower) if blocks else blocks

        return change_at(args, self.path, scaled)

    def sizes(self, args: Args) -> list[float]:
        return [len(blocks) for blocks in values_at(args, self.path)]


@dataclass(frozen=True)
class Width(_AtPath):
    """Numbers of channels: a number, or nested lists of numbers.

    Args:
        path: path of the numbers among the arguments, see `paths`.
        multiple: widths are rounded to multiples of this; an int, or a function of the arguments.
    """

    multiple: int | Callable[[Args], int] = 8

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        multiple = self.multiple if isinstance(self.multiple, int) else self.multiple(args)
        # A multiple that is a function follows the group widths, which may grow alone.
        if multipliers.width == 1 and (multipliers.group_width == 1 or isinstance(self.multiple, int)):
            return args
        return _change(args, self.path, lambda width: nearest_multiple(width * multipliers.width, multiple))


@dataclass(frozen=True)
class GroupWidth(_AtPath):
    """Channels per group. 1 stays 1, so that depthwise convolutions stay depthwise.

    The rule of the widths has to round them to multiples of the new group width.
    """

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return _change(args, self.path, lambda g: g if g == 1 else round_group_width(g * multipliers.group_width))


@dataclass(frozen=True)
class Heads(Rule):
    """Widths of attention: the number of heads grows, their size stays.

    Args:
        heads: path of the numbers of heads: one number, or a list with one per stage.
        width: path of the widths: one number, or a list with one per stage. One width with a list of heads is the
            width of the first stage.
        multiple: numbers of heads are rounded to multiples of this.
    """

    heads: str
    width: str
    multiple: int = 1

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        heads, width = value_at(args, self.heads), value_at(args, self.width)
        widths = list(leaves(width))
        if isinstance(heads, (list, tuple)) and not isinstance(width, (list, tuple)):
            # The other stages follow from the first one.
            first, new_first = heads[0], self._more(heads[0], multipliers)
            new_heads = [h * new_first // first for h in heads]
            new_widths = [widths[0] * new_first // first]
        else:
            of_stage = heads if isinstance(heads, (list, tuple)) else [heads] * len(widths)
            new_heads = [self._more(h, multipliers) for h in of_stage]
            new_widths = [w * new // h if h else w for h, new, w in zip(of_stage, new_heads, widths, strict=True)]
        args = change_at(args, self.heads, lambda old: _in_form_of(old, new_heads))
        return change_at(args, self.width, lambda old: _in_form_of(old, new_widths))

    def _more(self, heads: int, multipliers: Multipliers) -> int:
        return nearest_multiple(heads * multipliers.width, self.multiple) if multipliers.width != 1 else heads

    def sizes(self, args: Args) -> list[float]:
        return _numbers(args, self.width)


@dataclass(frozen=True)
class MultiplierArg(_AtPath):
    """An argument by which the class itself multiplies its depths or widths.

    Args:
        path: path of the argument, see `paths`.
        axis: ``depth`` or ``width``.
    """

    axis: str = "width"

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        by = getattr(multipliers, self.axis)
        # Six significant digits are enough for any width, and are short when printed.
        return _change(args, self.path, lambda value: value if by == 1 else float(f"{value * by:.6g}"))


@dataclass(frozen=True)
class Custom(Rule):
    """A rule that is written as two functions.

    Args:
        scale_args: (args, multipliers) -> scaled args.
        sizes_of: args -> the depths or widths from which growth is computed.
    """

    scale_args: Callable[[Args, Multipliers], Args]
    sizes_of: Callable[[Args], list[float]]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return self.scale_args(args, multipliers)

    def sizes(self, args: Args) -> list[float]:
        return self.sizes_of(args)


def nearest_depth(depth: int, by: float, multiple: int = 1, minimum: int = 1) -> int:
    """Return the number of blocks nearest to ``depth * by``, halves rounded away from ``depth``.

    Its difference from ``depth`` is a multiple of ``multiple``; a depth of at least ``minimum`` never falls below it.
    """
    change = _round_half_away(depth * (by - 1) / multiple) * multiple
    while depth + change < min(depth, minimum):
        change += multiple
    return depth + change


def repeat(blocks: Any, depth: int, follower: Callable[[Any], Any] = _itself) -> Any:
    """Return a stage of ``depth`` blocks: the first block, then the others of ``blocks``, `spread`.

    Args:
        blocks: a list or tuple of blocks.
        depth: the new number of blocks.
        follower: see `Repeats`; used if ``blocks`` has only one block.
    """
    if depth == len(blocks):
        return blocks
    first, *others = blocks
    return type(blocks)([first, *map(deepcopy, spread(others or [follower(first)], depth - 1))])


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return ``count`` of the ``items``, in their order and as nearly as possible in their proportions.

    With n items and m = ``count``, a longer list has item floor((i + 1/2) n / m) at index i, so that the items are
    repeated equally often. A shorter one has item round(i (n - 1) / (m - 1)): the first and the last stay at the ends,
    and of two kinds of items that alternate both remain. A single item is the last one.
    """
    n, m = len(items), count
    if m >= n:
        indices = [(2 * i + 1) * n // (2 * m) for i in range(m)]
    elif m > 1:
        indices = [_round_half_away(i * (n - 1) / (m - 1)) for i in range(m)]
    else:
        indices = [n - 1] * m
    return [items[index] for index in indices]


def _in_form_of(old: Any, items: list[int]) -> Any:
    """Return ``items`` as the type of ``old``: a list, a tuple, or a single number."""
    return type(old)(items) if isinstance(old, (list, tuple)) else items[0]


def _round_half_away(value: float) -> int:
    """Round to the nearest integer, halves away from 0, so that growing and shrinking by a half both take effect.

    The scaling paper's own models are rounded by `round_depth` instead, which takes halves to even numbers.
    """
    return int(math.copysign(math.floor(abs(value) + 0.5), value))

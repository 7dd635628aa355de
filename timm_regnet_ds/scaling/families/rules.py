"""What it means to scale an argument: a rule for each way in which models say their depths and widths."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple, round_group_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .paths import change_at, leaves, map_leaves, value_at, values_at

__all__ = ["Depth", "Factor", "Grouped", "Heads", "Repeats", "Rewrite", "Rule", "Width"]

Args = dict[str, Any]


class Rule(Protocol):
    """A way to scale some of a model's arguments. Never in place: what is scaled is a copy."""

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        """``args``, scaled."""

    def numbers(self, args: Args) -> list[float]:
        """The numbers that grow, in a fixed order."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _change(args: Args, path: str, change: Callable[[float], float]) -> Args:
    """Changes each number under ``path``; 0, which stands for none, and what is no number stay."""

    def changed(leaf: Any) -> Any:
        return change(leaf) if _is_number(leaf) and leaf > 0 else leaf

    return change_at(args, path, lambda value: map_leaves(value, changed))


def _numbers(args: Args, path: str) -> list[float]:
    return [leaf for value in values_at(args, path) for leaf in leaves(value) if _is_number(leaf) and leaf > 0]


@dataclass(frozen=True)
class _AtPath:
    path: str

    def numbers(self, args: Args) -> list[float]:
        return _numbers(args, self.path)


@dataclass(frozen=True)
class Depth(_AtPath):
    """Numbers of blocks: one, or nested lists of them.

    Args:
        path: where they are.
        multiple: each grows and shrinks by multiples of it, so that a pattern of that length stays whole.
        least: no number that is larger becomes less.
    """

    multiple: int = 1
    least: int = 1

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        def scaled(depth: float) -> int:
            depth = int(depth)
            change = _whole(depth * (multipliers.depth - 1) / self.multiple) * self.multiple
            while depth + change < min(depth, self.least):
                change += self.multiple
            return depth + change

        return _change(args, self.path, scaled)


@dataclass(frozen=True)
class Repeats(_AtPath):
    """Lists that say a stage block by block.

    Args:
        path: where they are.
        multiple: they grow and shrink by multiples of it, so that a pattern of that length stays whole.
        again: makes of a first block, which may reduce the resolution, one that can follow it.
    """

    multiple: int = 1
    again: Callable[[Any], Any] = lambda block: block

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        def scaled(blocks: Any) -> Any:
            if not blocks:
                return blocks
            change = _whole(len(blocks) * (multipliers.depth - 1) / self.multiple) * self.multiple
            while len(blocks) + change < 1:
                change += self.multiple
            if not change:
                return blocks
            first, *others = blocks
            pattern = others or [self.again(first)]
            wanted = len(blocks) + change - 1
            # From the first to the last, evenly: blocks that differ within a stage keep their order and their shares.
            places = [_whole(i * (len(pattern) - 1) / (wanted - 1)) for i in range(wanted)] if wanted > 1 else [-1]
            spread = [deepcopy(pattern[place]) for place in places[:wanted]]
            return type(blocks)([first, *spread])

        return change_at(args, self.path, scaled)

    def numbers(self, args: Args) -> list[float]:
        return [len(blocks) for blocks in values_at(args, self.path)]


@dataclass(frozen=True)
class Width(_AtPath):
    """Numbers of channels: one, or nested lists of them.

    Args:
        path: where they are.
        multiple: of what they are multiples: a number, or what computes one from the arguments.
    """

    multiple: int | Callable[[Args], int] = 8

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        multiple = self.multiple if isinstance(self.multiple, int) else self.multiple(args)
        if multipliers.width == 1:
            return args
        return _change(args, self.path, lambda width: nearest_multiple(width * multipliers.width, multiple))


@dataclass(frozen=True)
class Grouped(_AtPath):
    """Channels per group; 1 stays 1, so that depthwise stays depthwise. Widths must then fit, see `Rewrite`."""

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return _change(args, self.path, lambda g: g if g == 1 else round_group_width(g * multipliers.group_width))


@dataclass(frozen=True)
class Heads:
    """Widths of attention: the number of heads grows, their size stays.

    Args:
        heads: path of the numbers of heads, one or one a stage.
        width: path of the widths, one or one a stage. A single one with heads for each stage is the first stage's.
        multiple: numbers of heads stay multiples of it.
    """

    heads: str
    width: str
    multiple: int = 1

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        heads, width = value_at(args, self.heads), value_at(args, self.width)
        if isinstance(heads, (list, tuple)) and not isinstance(width, (list, tuple)):
            first = self._wider(heads[0], multipliers)
            scaled = map_leaves(heads, lambda h: h * first // heads[0])
            widths: Any = width * first // heads[0]
        elif isinstance(width, (list, tuple)):
            of_stage = heads if isinstance(heads, (list, tuple)) else [heads] * len(width)
            pairs = [(h, self._wider(h, multipliers), w) for h, w in zip(of_stage, width, strict=True)]
            scaled = type(of_stage)(new for _, new, _ in pairs)
            if not isinstance(heads, (list, tuple)):
                scaled = scaled[0]
            widths = type(width)(w * new // h if h else w for h, new, w in pairs)
        else:
            scaled = self._wider(heads, multipliers)
            widths = width * scaled // heads
        args = change_at(args, self.heads, lambda _: scaled)
        return change_at(args, self.width, lambda _: widths)

    def _wider(self, heads: int, multipliers: Multipliers) -> int:
        return nearest_multiple(heads * multipliers.width, self.multiple) if multipliers.width != 1 else heads

    def numbers(self, args: Args) -> list[float]:
        return _numbers(args, self.width)


@dataclass(frozen=True)
class Factor(_AtPath):
    """A multiplier that the class itself applies to its depths or widths.

    Args:
        path: where it is.
        axis: ``depth`` or ``width``.
    """

    axis: str = "width"

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        by = getattr(multipliers, self.axis)
        # Six digits say any width exactly, and print well.
        return _change(args, self.path, lambda value: value if by == 1 else float(f"{value * by:.6g}"))


@dataclass(frozen=True)
class Rewrite:
    """A family's own way.

    Args:
        function: (args, multipliers) -> scaled args.
        grown: args -> the numbers that grow.
    """

    function: Callable[[Args, Multipliers], Args]
    grown: Callable[[Args], list[float]]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return self.function(args, multipliers)

    def numbers(self, args: Args) -> list[float]:
        return self.grown(args)


def _whole(value: float) -> int:
    """To the nearest whole number, a half away from 0."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))

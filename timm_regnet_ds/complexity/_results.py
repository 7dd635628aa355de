"""What a measurement returns."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from timm_regnet_ds.common.text import format_size, shorten

from ._operators import KINDS

__all__ = ["ZERO_COUNTS", "Breakdown", "Complexity", "Counts", "InputSize", "ModuleCounts", "ThopAnswer"]

InputSize = tuple[int, int, int]


def _format_count(number: int, unit: str = "") -> str:
    """A count with four digits and a metric prefix: ``1.814 GF``."""
    for scale, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= scale:
            return f"{number / scale:#.4g}".rstrip(".") + f" {prefix}{unit}"
    return f"{number} {unit}".rstrip()


@dataclass(frozen=True)
class Counts:
    """Exact integers for one image: ``flops`` in multiply-adds, ``params`` and ``acts`` in elements.

    ``bytes`` are read and written for each image; ``weight_bytes``, once for a batch of any size. A batch of b images
    moves ``b * bytes + weight_bytes``.
    """

    flops: int
    params: int
    acts: int
    bytes: int = 0
    weight_bytes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.flops + other.flops,
            self.params + other.params,
            self.acts + other.acts,
            self.bytes + other.bytes,
            self.weight_bytes + other.weight_bytes,
        )

    def __str__(self) -> str:
        return f"{_format_count(self.flops, 'F')}, {_format_count(self.params)} params, {_format_count(self.acts)} acts"


ZERO_COUNTS = Counts(0, 0, 0)


class Breakdown(dict[str, Counts]):
    """Counts by name. It prints as a table of at most 80 columns."""

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{'':<28}{'flops':>10}{'params':>10}{'acts':>10}{'bytes':>10}{'of weights':>12}",
                *(self._line(name or "(all)", counts) for name, counts in self.items()),
            ]
        )

    @staticmethod
    def _line(name: str, counts: Counts) -> str:
        numbers = (_format_count(number) for number in (counts.flops, counts.params, counts.acts, counts.bytes))
        text = f"{shorten(name, 27, keep='end'):<28}" + "".join(f"{number:>10}" for number in numbers)
        return f"{text}{_format_count(counts.weight_bytes):>12}"


class ModuleCounts(NamedTuple):
    """Counts of the operators of one kind that one module calls itself; its children's calls are not included."""

    module: str
    kind: str
    counts: Counts


@dataclass(frozen=True)
class Complexity(Counts):
    """Flops, params, acts and bytes of a model for one image, as `timm_regnet_ds.complexity` defines them.

    Attributes:
        input_size: (channels, height, width) of the image.
        uncounted: operators that do, or may do, multiply-adds and have no formula (custom operators, FFTs, matrix
            decompositions …), with the number of their calls. ``flops`` and ``acts`` do not include them.
            `register_formula` adds a formula.
        operators: number of calls of operators, counted or not, without views: about as many kernels run on a GPU.
        product_bytes: the part of ``bytes`` that convolutions, linear layers and matrix products move.
        grouped_flops: the part of ``flops`` in convolutions with groups of more than one channel.
        dtype: the number format of ``bytes``, one of ``measure``'s.
        parts: the counts that ``by_module`` and ``by_operator`` add up.
    """

    input_size: InputSize = (0, 0, 0)
    uncounted: Mapping[str, int] = field(default_factory=dict, hash=False)
    operators: int = field(default=0, compare=False)
    product_bytes: int = 0
    grouped_flops: int = 0
    dtype: str = "fp32"
    parts: tuple[ModuleCounts, ...] = field(default=(), repr=False, compare=False)

    def by_module(self, depth: int | None = None) -> Breakdown:
        """Counts by dotted path. Each row includes the module's children; the first row, ``""``, is the whole model.

        A module that is used under several paths counts where it is called. Its parameters count where they are
        registered first.

        Args:
            depth: leave out paths with more names than this.
        """
        rows = Breakdown({"": ZERO_COUNTS})
        for path, _, counts in self.parts:
            names = path.split(".") if path else []
            for end in range(len(names[:depth]) + 1):
                name = ".".join(names[:end])
                rows[name] = rows.get(name, ZERO_COUNTS) + counts
        return rows

    def by_operator(self) -> Breakdown:
        """Counts by kind of operator: ``conv``, ``linear``, ``matmul``, ``attention``, registered kinds, ``other``.

        A call of ``scaled_dot_product_attention`` is ``attention``; attention that a model writes out is two calls of
        ``matmul``. Parameters belong to the operator that takes them as they are. ``other`` are the parameters of
        norms, embeddings and scales, those from which weights are computed, and the bytes of all other operators.
        """
        rows = Breakdown()
        for _, kind, counts in sorted(self.parts, key=lambda part: _position(part.kind)):
            rows[kind] = rows.get(kind, ZERO_COUNTS) + counts
        return rows

    def __str__(self) -> str:
        text = f"{super().__str__()} at {format_size(self.input_size)}"
        if self.uncounted:
            calls = ", ".join(f"{name} ({n}×)" for name, n in self.uncounted.items())
            text += "\n" + textwrap.fill(f"not counted: {calls}", 80, subsequent_indent="  ", break_on_hyphens=False)
        return text

    def to_dict(self) -> dict[str, Any]:
        """The totals as plain values, for json."""
        return {
            "flops": self.flops,
            "params": self.params,
            "acts": self.acts,
            "input_size": list(self.input_size),
            "uncounted": dict(self.uncounted),
            "operators": self.operators,
            "bytes": self.bytes,
            "weight_bytes": self.weight_bytes,
            "product_bytes": self.product_bytes,
            "grouped_flops": self.grouped_flops,
            "dtype": self.dtype,
        }


def _position(kind: str) -> tuple[bool, int]:
    """Sorts kinds: first this package's, then those that users registered, in order of appearance, then ``other``."""
    return kind == "other", KINDS.index(kind) if kind in KINDS else len(KINDS)


@dataclass(frozen=True)
class ThopAnswer:
    """What ``thop.profile`` returns. Its flops include norms and pooling; it does not count acts."""

    flops: int
    params: int
    input_size: InputSize

"""What a measurement returns."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ._operators import KINDS

__all__ = ["NOTHING", "Breakdown", "Complexity", "Counts", "InputSize", "Part", "ThopAnswer", "times"]

InputSize = tuple[int, int, int]


def _short(number: int, unit: str = "") -> str:
    for scale, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= scale:
            return f"{number / scale:#.4g}".rstrip(".") + f" {prefix}{unit}"
    return f"{number} {unit}".rstrip()


def times(size: InputSize) -> str:
    return "×".join(map(str, size))


@dataclass(frozen=True)
class Counts:
    """Exact integers for one image: ``flops`` in multiply-adds, ``params`` and ``acts`` in elements."""

    flops: int
    params: int
    acts: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.flops + other.flops, self.params + other.params, self.acts + other.acts)

    def __str__(self) -> str:
        return f"{_short(self.flops, 'F')}, {_short(self.params)} params, {_short(self.acts)} acts"


NOTHING = Counts(0, 0, 0)


class Breakdown(dict[str, Counts]):
    """Counts by name; printed, a table at most 80 columns wide."""

    def __str__(self) -> str:
        lines = [f"{'':<41}{'flops':>13}{'params':>13}{'acts':>13}"]
        for name, row in self.items():
            label = name if len(name) <= 40 else f"…{name[-39:]}"
            lines.append(f"{label or '(all)':<41}{_short(row.flops):>13}{_short(row.params):>13}{_short(row.acts):>13}")
        return "\n".join(lines)


class Part(NamedTuple):
    """What the operators of one kind did in one module, its children apart."""

    module: str
    kind: str
    counts: Counts


@dataclass(frozen=True)
class Complexity(Counts):
    """Flops, params and acts of a model for one image, as the head of this file defines them.

    Attributes:
        input_size: (channels, height, width) of the image.
        uncounted: operators that do, or may do, multiply-adds and have no formula here (custom operators, FFTs,
            matrix decompositions …), with the number of calls. ``flops`` and ``acts`` are without them.
        operators: calls of operators, counted or not, views apart: about as many kernels as a GPU is given.
        parts: what ``by_module`` and ``by_operator`` add up.
    """

    input_size: InputSize
    uncounted: Mapping[str, int] = field(default_factory=dict, hash=False)
    operators: int = field(default=0, compare=False)
    parts: tuple[Part, ...] = field(default=(), repr=False, compare=False)

    def by_module(self, depth: int | None = None) -> Breakdown:
        """Counts by dotted path, each with its children's; ``""``, the whole, comes first.

        A module used in several places counts where it is called, its parameters where they are first registered.

        Args:
            depth: leave out paths of more than this many names.
        """
        rows = Breakdown({"": NOTHING})
        for path, _, counts in self.parts:
            names = path.split(".") if path else []
            for end in range(len(names[:depth]) + 1):
                name = ".".join(names[:end])
                rows[name] = rows.get(name, NOTHING) + counts
        return rows

    def by_operator(self) -> Breakdown:
        """Counts by kind of operator: ``conv``, ``linear``, ``matmul``, ``attention`` and ``other``.

        Attention is ``attention`` where the model calls ``scaled_dot_product_attention``; written out, it is two of
        ``matmul``. Params go with the operators that take them as they are; those of norms, embeddings and scales,
        and those that weights are computed from, are ``other``.
        """
        rows = Breakdown()
        for _, kind, counts in sorted(self.parts, key=lambda part: KINDS.index(part.kind)):
            rows[kind] = rows.get(kind, NOTHING) + counts
        return rows

    def __str__(self) -> str:
        text = f"{super().__str__()} at {times(self.input_size)}"
        if self.uncounted:
            calls = ", ".join(f"{name} ({n}×)" for name, n in self.uncounted.items())
            text += "\n" + textwrap.fill(f"not counted: {calls}", 80, subsequent_indent="  ", break_on_hyphens=False)
        return text

    def to_dict(self) -> dict[str, Any]:
        """The totals as plain values, for json."""
        fields = {"flops": self.flops, "params": self.params, "acts": self.acts}
        return fields | {
            "input_size": list(self.input_size),
            "uncounted": dict(self.uncounted),
            "operators": self.operators,
        }


@dataclass(frozen=True)
class ThopAnswer:
    """What ``thop.profile`` says. Its flops have extras for norms and pooling; it does not know acts."""

    flops: int
    params: int
    input_size: InputSize

"""The five spaces of cells of On Network Design Spaces, §5.1 and Table 3: NASNet, Amoeba, PNAS, ENAS and DARTS.

The normal and the reduction cell are sampled alike and independently, step by step: for each node two inputs among
the cell's two and the nodes before it, and two operations, all uniformly; so are width and depth. Images are 32×32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timm.models import create_model
from torch import nn

from timm_regnet_ds.models._build import size_overlay
from timm_regnet_ds.models._cell_ops import OPS, STEMS, Convs, Skip
from timm_regnet_ds.models._staged import thirds
from timm_regnet_ds.models.nas_cell import CellNetCfg

from .space import Complexities, Configs, Membership, Space

__all__ = ["NAS", "NasConfigs", "NasSpace"]

Ints = NDArray[np.int64]

STEM = "cifar"


@dataclass(frozen=True, eq=False)
class NasConfigs(Configs):
    """n networks of cells as arrays; cell 0 is the normal one, cell 1 the reduction.

    Args:
        names: operations of the space.
        concat: ``all`` or ``loose``, as in `CellNetCfg`.
        ops: places in ``names``, shape (n, 2 cells, nodes, 2).
        inputs: what they are applied to, shape (n, 2 cells, nodes, 2).
        widths, depths: shape (n,).
    """

    names: tuple[str, ...]
    concat: str
    ops: Ints
    inputs: Ints
    widths: Ints
    depths: Ints

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, place: Any) -> Any:
        normal, reduction = (self._genotype(place, cell) for cell in (0, 1))
        return CellNetCfg(normal, reduction, int(self.widths[place]), int(self.depths[place]), self.concat, STEM)

    def __iter__(self) -> Iterator[CellNetCfg]:
        return (self[place] for place in range(len(self)))

    def _genotype(self, place: int, cell: int) -> list[Any]:
        ops, inputs = self.ops[place, cell].tolist(), self.inputs[place, cell].tolist()
        return [[(self.names[op], i) for op, i in zip(*node, strict=True)] for node in zip(ops, inputs, strict=True)]

    def take(self, places: NDArray[Any]) -> "NasConfigs":
        """Those at ``places``, integers of shape (m,)."""
        arrays = (array[places] for array in (self.ops, self.inputs, self.widths, self.depths))
        return NasConfigs(self.names, self.concat, *arrays)

    def joined(self, others: "Sequence[Any]") -> "NasConfigs":
        """These and those of ``others``, one after the other."""
        every = [self, *others]
        arrays = (np.concatenate([getattr(c, name) for c in every]) for name in ("ops", "inputs", "widths", "depths"))
        return NasConfigs(self.names, self.concat, *arrays)

    def outputs(self) -> Ints:
        """Number of nodes that each cell concatenates, shape (n, 2 cells)."""
        nodes = self.inputs.shape[2]
        if self.concat == "all":
            return np.full((len(self), 2), nodes)
        taken = (self.inputs[..., None] == np.arange(2, nodes + 2)).any(axis=(2, 3))
        return nodes - taken.sum(axis=2)


@dataclass(frozen=True)
class NasSpace(Space):
    """A space of cells.

    Args:
        name: its name.
        ops: operations to choose from.
        nodes: of a cell.
        concat: ``all`` or ``loose``: which nodes make its output.
        widths: w, channels of a node in the first third.
        depths: d, numbers of cells.
        num_classes: outputs of the classifier.
        in_chans: channels of the images.
        resolution: side of the images.
    """

    ops: tuple[str, ...]
    nodes: int
    concat: str
    widths: tuple[int, ...] = (16, 24, 32)
    depths: tuple[int, ...] = (4, 8, 12, 16, 20)
    num_classes: int = 10
    in_chans: int = 3
    resolution: int = 32

    def cells(self) -> int:
        """Number of cells: o^2k · ((k+1)!)² with o operations and k nodes (Table 3)."""
        return prod(len(self.ops) ** 2 * (node + 2) ** 2 for node in range(self.nodes))

    def count(self) -> int:
        """Number of configurations: two cells, a width, a depth. Many of them are the same network."""
        return self.cells() ** 2 * len(self.widths) * len(self.depths)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NasConfigs, Ints]:
        """n configurations, all of them valid, and 0 to n - 1."""
        shape = (n, 2, self.nodes, 2)
        ops = rng.integers(len(self.ops), size=shape)
        inputs = rng.integers(np.arange(2, self.nodes + 2)[:, None], size=shape)
        widths, depths = (rng.choice(values, size=n) for values in (self.widths, self.depths))
        return NasConfigs(self.ops, self.concat, ops, inputs, widths, depths), np.arange(n)

    def complexity(self, configs: NasConfigs) -> Complexities:
        """Of networks for one image; int64, shape (n,) each."""
        found = np.empty((len(configs), 3), dtype=np.int64)
        for width in np.unique(configs.widths):
            for depth in np.unique(configs.depths):
                places = np.flatnonzero((configs.widths == width) & (configs.depths == depth))
                if len(places):
                    found[places] = self._counts(configs.take(places), int(width), int(depth))
        return Complexities(*found.T)

    def _counts(self, configs: NasConfigs, width: int, depth: int) -> Ints:
        """flops, params and acts of networks of one width and depth, shape (n, 3)."""
        stem = STEMS[STEM]
        side, outputs = self.resolution, configs.outputs()
        stem_width = width * stem.widths[1]
        weights = 9 * self.in_chans * stem_width
        total = _Total(np.array([weights * side**2, weights + 2 * stem_width, stem_width * side**2]))
        older = newer = np.full(len(configs), stem_width)
        for i in range(depth):
            cell = int(i in thirds(depth))
            width *= 1 + cell
            for in_width in (older, newer):
                total.convs(in_width, width, side)
            out_side = -(-side // 2) if cell else side
            plain, striding = (_costs(configs.names, width, s, out_side) for s in (out_side, side))
            ops, inputs = configs.ops[:, cell], configs.inputs[:, cell]
            costs = np.where((inputs < 2)[..., None], striding[ops], plain[ops]) if cell else plain[ops]
            total.counts = total.counts + costs.sum(axis=(1, 2))
            older, newer, side = newer, width * outputs[:, cell], out_side
        classes = self.num_classes
        return total.counts + np.stack([newer * classes, (newer + 1) * classes, np.full_like(newer, classes)], axis=-1)

    def contains(self, config: Any) -> Membership:
        """Whether a `CellNetCfg` is one of the space's; a false answer has the reason."""
        if not isinstance(config, CellNetCfg):
            return Membership(f"{self.name} has configurations of the class CellNetCfg, not {type(config).__name__}")
        of_cells = ((cell, getattr(config, cell)) for cell in ("normal", "reduction"))
        allowed: dict[str, tuple[Any, Sequence[Any]]] = {
            "width": (config.width, self.widths),
            "depth": (config.depth, self.depths),
            "concat": (config.concat, (self.concat,)),
            "stem": (config.stem, (STEM,)),
        }
        for cell, genotype in of_cells:
            allowed[f"number of nodes of {cell}"] = (len(genotype), (self.nodes,))
            allowed |= {
                f"operation {half} of {cell}, node {i},": (op, self.ops)
                for i, node in enumerate(genotype)
                for half, (op, _) in enumerate(node, 1)
            }
        for what, (value, values) in allowed.items():
            if value not in values:
                return Membership(f"{what} is {value!r}, and {self.name} has {', '.join(map(str, values))}")
        return Membership()

    def build(self, config: CellNetCfg, **kwargs: Any) -> nn.Module:
        """The timm model of a configuration; ``kwargs`` go to ``timm.create_model``."""
        in_chans = kwargs.get("in_chans", self.in_chans)
        overlay = size_overlay(self.resolution, (2, 2), in_chans)
        arguments = {
            "num_classes": self.num_classes,
            "in_chans": in_chans,
            "pretrained_cfg_overlay": overlay | (kwargs.pop("pretrained_cfg_overlay", None) or {}),
        }
        return create_model("nas_cell", **self.to_json(config), **(arguments | kwargs))

    def to_json(self, config: CellNetCfg) -> dict[str, Any]:
        """A configuration as what json can hold: the arguments of `CellNetCfg`."""
        lists = {cell: [[list(half) for half in node] for node in getattr(config, cell)] for cell in _CELLS}
        return asdict(config) | lists

    def from_json(self, row: dict[str, Any]) -> CellNetCfg:
        """The configuration of which `to_json` gave ``row``.

        Raises:
            ValueError: keys or values that no configuration has.
        """
        known = set(CellNetCfg.__dataclass_fields__)
        if set(row) != known:
            raise ValueError(f"a configuration of {self.name} has {', '.join(sorted(known))}, not {', '.join(row)}")
        return CellNetCfg(**row)


_CELLS = ("normal", "reduction")


@dataclass
class _Total:
    """Complexity of n networks of one width and depth, added up: flops, params and acts, shape (n, 3)."""

    counts: Ints

    def convs(self, in_width: Any, out_width: int, side: int) -> None:
        """1×1 convolutions, or two of half the width side by side, and BN."""
        weights, pixels = np.asarray(in_width) * out_width, side**2
        acts = np.broadcast_to(out_width * pixels, weights.shape)
        self.counts = self.counts + np.stack([weights * pixels, weights + 2 * out_width, acts], axis=-1)


@cache
def _costs(names: tuple[str, ...], width: int, side: int, out_side: int) -> Ints:
    """flops, params and acts of each operation, from side to out_side, shape (operations, 3)."""
    return np.array([_cost(name, width, side, out_side) for name in names])


def _cost(name: str, width: int, side: int, out_side: int) -> tuple[int, int, int]:
    op = OPS[name]
    if isinstance(op, Skip) and side != out_side:
        return width**2 * out_side**2, width**2 + 2 * width, width * out_side**2
    flops = params = acts = 0
    for unit in op.units if isinstance(op, Convs) else ():
        height = across = side
        for conv in unit:
            strides_down, strides_across = conv.stride
            height, across = out_side if strides_down else height, out_side if strides_across else across
            weights = prod(conv.kernel) * width * (1 if conv.depthwise else width)
            flops += weights * height * across
            params += weights
            acts += width * height * across
        side = out_side
        params += 2 * width
    return flops, params, acts


_POOLS = ("avg_pool_3x3", "max_pool_3x3")
_SEPARABLE = ("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7")

# Table 3; the operations are those of the five papers, DARTS's with its zero.
NAS = {
    space.name: space
    for space in (
        NasSpace(
            "nasnet",
            (
                *("skip_connect", "conv_3x1_1x3", "conv_7x1_1x7", "dil_conv_3x3", *_POOLS, "max_pool_5x5"),
                *("max_pool_7x7", "conv_1x1", "conv_3x3", *_SEPARABLE),
            ),
            nodes=5,
            concat="loose",
        ),
        NasSpace(
            "amoeba",
            ("skip_connect", *_SEPARABLE, *_POOLS, "dil_sep_conv_3x3", "conv_7x1_1x7"),
            nodes=5,
            concat="loose",
        ),
        NasSpace(
            "pnas",
            (*_SEPARABLE, "conv_7x1_1x7", "skip_connect", *_POOLS, "dil_conv_3x3"),
            nodes=5,
            concat="all",
        ),
        NasSpace("enas", ("skip_connect", *_SEPARABLE[:2], *_POOLS), nodes=5, concat="loose"),
        NasSpace(
            "darts",
            ("none", *_POOLS, "skip_connect", *_SEPARABLE[:2], "dil_conv_3x3", "dil_conv_5x5"),
            nodes=4,
            concat="all",
        ),
    )
}

"""The five spaces of cells of On Network Design Spaces, §5.1 and Table 3: NASNet, Amoeba, PNAS, ENAS and DARTS.

The normal and the reduction cell are sampled independently. For each node, two inputs (among the cell's two inputs and
the earlier nodes) and two operations are drawn uniformly; so are width and depth. Images are 32×32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
from torch import nn

from timm_regnet_ds.models._build import output_size
from timm_regnet_ds.models._cell_ops import OPS, Convs, Skip
from timm_regnet_ds.models.nas_cell import CellNetCfg

from ._types import Array, Ints
from .build import build_model
from .complexities import Complexities, ComplexitySums
from .space import ConfigBatch, Membership, Space

__all__ = ["NAS_SPACES", "NasBatch", "NasSpace"]

STEM = "cifar"


@dataclass(frozen=True, eq=False, repr=False)
class NasBatch(ConfigBatch):
    """n networks of cells as arrays; cell 0 is the normal cell, cell 1 the reduction cell.

    Attributes:
        names: names of the operations of the space.
        concat: ``all`` or ``loose``, as in `CellNetCfg`.
        ops: indices into ``names``, shape (n, 2 cells, nodes, 2).
        inputs: inputs of the operations, numbered as in `CellNetCfg`, shape (n, 2 cells, nodes, 2).
        widths, depths: width w and number of cells d, shape (n,).
    """

    names: tuple[str, ...]
    concat: str
    ops: Ints
    inputs: Ints
    widths: Ints
    depths: Ints

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, index: Any) -> Any:
        normal, reduction = (self._genotype(index, cell) for cell in (0, 1))
        return CellNetCfg(normal, reduction, int(self.widths[index]), int(self.depths[index]), self.concat, STEM)

    def __iter__(self) -> Iterator[CellNetCfg]:
        return (self[index] for index in range(len(self)))

    def _genotype(self, index: int, cell: int) -> list[Any]:
        ops, inputs = self.ops[index, cell].tolist(), self.inputs[index, cell].tolist()
        return [[(self.names[op], i) for op, i in zip(*node, strict=True)] for node in zip(ops, inputs, strict=True)]

    def take(self, indices: Array) -> "NasBatch":
        arrays = (array[indices] for array in (self.ops, self.inputs, self.widths, self.depths))
        return NasBatch(self.names, self.concat, *arrays)

    def join(self, others: Any) -> "NasBatch":
        batches = [self, *others]
        arrays = (
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("ops", "inputs", "widths", "depths")
        )
        return NasBatch(self.names, self.concat, *arrays)

    def outputs(self) -> Ints:
        """Number of nodes that each cell concatenates, shape (n, 2 cells)."""
        nodes = self.inputs.shape[2]
        if self.concat == "all":
            return np.full((len(self), 2), nodes)
        used = (self.inputs[..., None] == np.arange(2, nodes + 2)).any(axis=(2, 3))
        return nodes - used.sum(axis=2)


@dataclass(frozen=True)
class NasSpace(Space):
    """A space of cells.

    Args:
        name: its name.
        ops: operations to choose from.
        nodes: number of nodes of a cell.
        concat: which nodes are concatenated to the output of a cell: ``all`` or ``loose``.
        widths: values of w, the channels of a node in the first third of the network.
        depths: values of d, the number of cells.
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
        """Number of configurations: two cells, a width and a depth. Many configurations give the same network."""
        return self.cells() ** 2 * len(self.widths) * len(self.depths)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NasBatch, Ints]:
        """n configurations, all of them valid, and their indices 0 to n − 1."""
        shape = (n, 2, self.nodes, 2)
        ops = rng.integers(len(self.ops), size=shape)
        inputs = rng.integers(np.arange(2, self.nodes + 2)[:, None], size=shape)
        widths, depths = (rng.choice(values, size=n) for values in (self.widths, self.depths))
        return NasBatch(self.ops, self.concat, ops, inputs, widths, depths), np.arange(n)

    def complexity(self, configs: NasBatch) -> Complexities:
        found = np.empty((len(configs), 3), dtype=np.int64)
        for width in np.unique(configs.widths):
            for depth in np.unique(configs.depths):
                indices = np.flatnonzero((configs.widths == width) & (configs.depths == depth))
                if len(indices):
                    found[indices] = np.stack(self._complexity(configs.take(indices), int(width), int(depth)), axis=-1)
        return Complexities(*found.T)

    def _complexity(self, batch: NasBatch, width: int, depth: int) -> Complexities:
        """Complexity of networks that have the same width and depth."""
        sums = ComplexitySums(len(batch))
        cells = CellNetCfg(width=width, depth=depth, stem=STEM).cells()
        older, newer = (np.full(len(batch), in_width) for in_width in cells[0].in_widths)
        sums.conv(3, self.in_chans, cells[0].in_widths[1], self.resolution)
        outputs = batch.outputs()
        for cell in cells:
            side, kind = output_size(self.resolution, (cell.reduction,)), int(cell.reduces)
            # Each input goes through 1×1 convolutions to the width of the cell.
            for in_width in (older, newer):
                sums.conv(1, in_width, cell.width, side)
            out_side = output_size(side, (2,)) if cell.reduces else side
            plain, strided = (_costs(batch.names, cell.width, s, out_side) for s in (out_side, side))
            ops, inputs = batch.ops[:, kind], batch.inputs[:, kind]
            costs = np.where((inputs < 2)[..., None], strided[ops], plain[ops])
            sums.add(*costs.sum(axis=(1, 2)).T)
            older, newer = newer, cell.width * outputs[:, kind]
        sums.linear(newer, self.num_classes)
        return sums.complexities()

    def contains(self, config: Any) -> Membership:
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
        return build_model(
            "nas_cell",
            self.to_json(config),
            kwargs,
            resolution=self.resolution,
            strides=(2, 2),
            num_classes=self.num_classes,
            in_chans=self.in_chans,
        )

    def to_json(self, config: CellNetCfg) -> dict[str, Any]:
        lists = {cell: [[list(half) for half in node] for node in getattr(config, cell)] for cell in _CELLS}
        return asdict(config) | lists

    def from_json(self, row: dict[str, Any]) -> CellNetCfg:
        known = set(CellNetCfg.__dataclass_fields__)
        if set(row) != known:
            raise ValueError(f"a configuration of {self.name} has {', '.join(sorted(known))}, not {', '.join(row)}")
        return CellNetCfg(**row)


_CELLS = ("normal", "reduction")


@cache
def _costs(names: tuple[str, ...], width: int, side: int, out_side: int) -> Ints:
    """Flops, params and acts of each operation on a feature map of ``side``, shape (operations, 3)."""
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
NAS_SPACES = {
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

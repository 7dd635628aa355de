"""Networks of cells: the structure that the NASNet, AmoebaNet, PNAS, ENAS and DARTS spaces share.

On Network Design Spaces, §5.1, Table 3. Cells are stacked as in DARTS (https://arxiv.org/abs/1806.09055, §3.1): the
inputs of each cell are the outputs of the two cells before it, and the cells at a third and at two thirds of the depth
halve the resolution and double the width. (§5.1 mentions three reduction cells; DARTS, which it follows, has two.)
"""

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import DropPath
from timm.models import checkpoint
from torch import nn
from torch.nn import functional as F  # noqa: N812

from timm_regnet_ds.common.check import check_choice, check_int

from ._build import ModelEntry, add_size_overlay, build, register, take_fields
from ._cell_ops import OPS, STEMS, Conv, Convs, Pool, Skip
from ._staged import Body, StageBase, StagedNet, check_reducible, thirds

__all__ = ["CONCATS", "CellNet", "CellNetCfg", "Node", "all_nodes", "unused_nodes"]

# A node adds the outputs of two operations: (operation, input), (operation, input). Input 0 is the cell's older input,
# input 1 its newer one, and inputs from 2 on are the cell's own nodes.
Node = tuple[tuple[str, int], tuple[str, int]]
Genotype = tuple[Node, ...]
Pair = tuple[torch.Tensor, torch.Tensor]


def unused_nodes(genotype: Genotype) -> tuple[int, ...]:
    """Nodes that are not an input of another node, numbered as inputs are."""
    used = {index for node in genotype for _, index in node}
    return tuple(index for index in all_nodes(genotype) if index not in used)


def all_nodes(genotype: Genotype) -> tuple[int, ...]:
    """All nodes, numbered as inputs are: from 2 on."""
    return tuple(range(2, len(genotype) + 2))


# The nodes that a cell concatenates: all, or the loose ends (Table 3's 'A' and 'L').
CONCATS = {"all": all_nodes, "loose": unused_nodes}

# The cells that DARTS found on CIFAR-10, second order (its Figures 4 and 5).
DARTS_NORMAL: Genotype = (
    (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
    (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
    (("sep_conv_3x3", 1), ("skip_connect", 0)),
    (("skip_connect", 0), ("dil_conv_3x3", 2)),
)
DARTS_REDUCTION: Genotype = (
    (("max_pool_3x3", 0), ("max_pool_3x3", 1)),
    (("skip_connect", 2), ("max_pool_3x3", 1)),
    (("max_pool_3x3", 0), ("skip_connect", 2)),
    (("skip_connect", 2), ("max_pool_3x3", 1)),
)


@dataclass(frozen=True)
class CellNetCfg:
    """A network of cells; by default that of DARTS for ImageNet. Lists become tuples.

    Args:
        normal: the nodes of the cells that keep the resolution, each ((operation, input), (operation, input)).
        reduction: the nodes of the two cells that halve the resolution. Their operations on inputs 0 and 1 have
            stride 2.
        width: channels w of a node in the first third of the network, an even number. Each reduction doubles it.
        depth: number of cells d, at least 3.
        concat: which nodes a cell concatenates to its output: ``all``, or ``loose``, those that are not an input of
            another node.
        stem: ``imagenet`` (three convolutions of stride 2) or ``cifar`` (one convolution of stride 1).

    Raises:
        ValueError: an unknown operation, an invalid input of a node, or a value outside these bounds.
    """

    normal: Any = DARTS_NORMAL
    reduction: Any = DARTS_REDUCTION
    width: int = 48
    depth: int = 14
    concat: str = "all"
    stem: str = "imagenet"

    def __post_init__(self) -> None:
        for name in ("normal", "reduction"):
            object.__setattr__(self, name, _genotype(name, getattr(self, name)))
        if check_int("width", self.width, minimum=2) % 2:
            raise ValueError(f"width must be even, not {self.width}")
        check_int("depth", self.depth, minimum=3)
        check_choice("concat", self.concat, CONCATS)
        check_choice("stem", self.stem, STEMS)

    @property
    def reductions(self) -> tuple[int, int]:
        """Indices of the two reduction cells."""
        return thirds(self.depth)

    def outputs(self, genotype: Genotype) -> tuple[int, ...]:
        """Nodes that a cell concatenates to its output, numbered as inputs are."""
        return CONCATS[self.concat](genotype)

    def cells(self) -> list["CellCfg"]:
        """The cells, from first to last."""
        stem = STEMS[self.stem]
        width = self.width
        older, newer = (width * multiple for multiple in stem.widths)
        older_reduction, reduction = stem.reductions
        cells = []
        for i in range(self.depth):
            reduces = i in self.reductions
            genotype = self.reduction if reduces else self.normal
            width *= 2 if reduces else 1
            outputs = self.outputs(genotype)
            cells.append(
                CellCfg(genotype, outputs, (older, newer), width, older_reduction < reduction, reduces, reduction)
            )
            older, newer = newer, width * len(outputs)
            older_reduction, reduction = reduction, reduction * (2 if reduces else 1)
        return cells


@dataclass(frozen=True)
class CellCfg:
    """A cell at its position in the network.

    Args:
        genotype: the nodes.
        outputs: the nodes that are concatenated, numbered as inputs are.
        in_widths: channels of the older and of the newer input.
        width: channels of each node.
        reduces_older_input: the sides of the older input are twice those of the newer input and are halved first.
        reduces: the cell halves the resolution.
        reduction: side of the image divided by the side of the newer input.
    """

    genotype: Genotype
    outputs: tuple[int, ...]
    in_widths: tuple[int, int]
    width: int
    reduces_older_input: bool
    reduces: bool
    reduction: int

    @property
    def out_width(self) -> int:
        """Channels of the output."""
        return self.width * len(self.outputs)


def _genotype(what: str, nodes: Any) -> Genotype:
    if not isinstance(nodes, (list, tuple)) or not nodes:
        raise ValueError(f"{what} must be a list of nodes ((operation, input), (operation, input)), not {nodes!r}")
    return tuple(_node(f"{what}, node {i}", node, inputs=i + 2) for i, node in enumerate(nodes))


def _node(what: str, node: Any, inputs: int) -> Node:
    try:
        (op1, input1), (op2, input2) = node
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be ((operation, input), (operation, input)), not {node!r}") from None
    for index in (input1, input2):
        if check_int(f"{what}: an input", index, minimum=0) >= inputs:
            raise ValueError(f"{what} has inputs 0 to {inputs - 1}, not {index}")
    for name in (op1, op2):
        check_choice(f"operation of {what}", name, OPS)
    return (op1, int(input1)), (op2, int(input2))


def _conv(conv: Conv, width: int, stride: int, **dd: Any) -> nn.Conv2d:
    return nn.Conv2d(
        width,
        width,
        conv.kernel,
        stride=(stride if conv.stride[0] else 1, stride if conv.stride[1] else 1),
        padding=(conv.kernel[0] // 2 * conv.dilation, conv.kernel[1] // 2 * conv.dilation),
        dilation=conv.dilation,
        groups=width if conv.depthwise else 1,
        bias=False,
        **dd,
    )


class Zeros(nn.Module):
    """(N, C, H, W) → zeros (N, C, H/stride, W/stride)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """ReLU; the concatenation of two 1×1 convolutions of stride 2, of which the second starts one pixel later; BN.

    (N, in_chs, H, W) → (N, out_chs, ⌈H/2⌉, ⌈W/2⌉).
    """

    def __init__(self, in_chs: int, out_chs: int, **dd: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=2, bias=False, **dd)
        self.conv2 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=2, bias=False, **dd)
        self.bn = nn.BatchNorm2d(out_chs, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(x)
        # The zeros at the end give both convolutions the same output size if a side is odd.
        return self.bn(torch.cat([self.conv1(x), self.conv2(F.pad(x, [-1, 1, -1, 1]))], dim=1))


def _operation(name: str, width: int, stride: int, **dd: Any) -> nn.Module:
    op = OPS[name]
    if isinstance(op, Convs):
        layers: list[nn.Module] = []
        for i, unit in enumerate(op.units):
            convs = [_conv(conv, width, stride if i == 0 else 1, **dd) for conv in unit]
            layers += [nn.ReLU(), *convs, nn.BatchNorm2d(width, **dd)]
        return nn.Sequential(*layers)
    if isinstance(op, Pool):
        window: dict[str, Any] = {"stride": stride, "padding": op.kernel // 2}
        if op.kind == "max":
            return nn.MaxPool2d(op.kernel, **window)
        return nn.AvgPool2d(op.kernel, count_include_pad=False, **window)
    if isinstance(op, Skip):
        return nn.Identity() if stride == 1 else FactorizedReduce(width, width, **dd)
    return Zeros(stride)


class CellNode(nn.Module):
    """A node: the sum of two operations, each on one of the earlier states."""

    def __init__(self, node: Node, width: int, reduces: bool, drop_path: float, **dd: Any) -> None:
        super().__init__()
        operations = []
        for name, index in node:
            operation = _operation(name, width, 2 if reduces and index < 2 else 1, **dd)
            if drop_path and not isinstance(operation, nn.Identity):
                operation = nn.Sequential(operation, DropPath(drop_path))
            operations.append(operation)
        self.op1, self.op2 = operations
        (_, self.input1), (_, self.input2) = node

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        """The inputs and earlier nodes of the cell, (N, width, h, w) each → (N, width, H/stride, W/stride)."""
        return self.op1(states[self.input1]) + self.op2(states[self.input2])


class Cell(nn.Module):
    """Layers that give both inputs the same shape, nodes, and the concatenation of some of the nodes.

    Args:
        cfg: the cell.
        drop_path: rate at which the outputs of operations are dropped, except those of identities.
    """

    def __init__(self, cfg: CellCfg, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        older, newer = cfg.in_widths
        make_fit = FactorizedReduce if cfg.reduces_older_input else _relu_conv_bn
        self.fit_older = make_fit(older, cfg.width, **dd)
        self.fit_newer = _relu_conv_bn(newer, cfg.width, **dd)
        self.nodes = nn.ModuleList(CellNode(node, cfg.width, cfg.reduces, drop_path, **dd) for node in cfg.genotype)
        self.outputs = list(cfg.outputs)

    def forward(self, older: torch.Tensor, newer: torch.Tensor) -> torch.Tensor:
        """(N, C1, H1, W1), (N, C2, H, W) → (N, out_width, H/stride, W/stride)."""
        states = [self.fit_older(older), self.fit_newer(newer)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat([states[i] for i in self.outputs], dim=1)


def _relu_conv_bn(in_chs: int, out_chs: int, **dd: Any) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(in_chs, out_chs, 1, bias=False, **dd), nn.BatchNorm2d(out_chs, **dd))


# One node in the graph of torch.fx, as in _staged.py; torch.fx.wrap holds only for calls from the module it is in.
torch.fx.wrap("check_reducible")


class CellStage(StageBase):
    """A sequence of cells. Its input and output are the outputs of the last two cells."""

    def forward(self, x: Pair) -> Pair:
        """(older, newer) → (older, newer)."""
        older, newer = x
        if self.stride > 1:
            check_reducible(newer, self.min_side)
        for cell in self.children():
            if self.grad_checkpointing and not torch.jit.is_scripting():
                older, newer = newer, checkpoint(cell, older, newer)
            else:
                older, newer = newer, cell(older, newer)
        return older, newer


class CifarStem(nn.Module):
    """3×3 convolution and BN, whose output is both inputs of the first cell."""

    def __init__(self, in_chans: int, width: int, **dd: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, **dd)
        self.bn = nn.BatchNorm2d(width, **dd)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → (N, width, H, W), twice."""
        x = self.bn(self.conv(x))
        return x, x


class ImageNetStem(nn.Module):
    """Three 3×3 convolutions of stride 2 with BN, and ReLU between them; it returns the outputs of the last two."""

    def __init__(self, in_chans: int, width: int, **dd: Any) -> None:
        super().__init__()
        halving: dict[str, Any] = {"stride": 2, "padding": 1, "bias": False, **dd}
        self.conv = nn.Conv2d(in_chans, width // 2, 3, **halving)
        self.bn = nn.BatchNorm2d(width // 2, **dd)
        self.conv2 = nn.Conv2d(width // 2, width, 3, **halving)
        self.bn2 = nn.BatchNorm2d(width, **dd)
        self.conv3 = nn.Conv2d(width, width, 3, **halving)
        self.bn3 = nn.BatchNorm2d(width, **dd)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → (N, width, H/4, W/4), (N, width, H/8, W/8)."""
        older = self.bn2(self.conv2(F.relu(self.bn(self.conv(x)))))
        return older, self.bn3(self.conv3(F.relu(older)))


class CellNet(StagedNet):
    """A network of cells; the arguments are those of `StagedNet`.

    ``output_stride`` can only be 32. ``drop_path_rate`` is the rate at which the outputs of operations are dropped, in
    all cells alike, as in DARTS.
    """

    def make_body(
        self, cfg: CellNetCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem and three stages of cells, of which the second and third begin with a reduction."""
        if output_stride not in (None, 32):
            raise ValueError(f"a network of cells has no dilation: output_stride must be 32, not {output_stride!r}")
        stem = STEMS[cfg.stem]
        make_stem = CifarStem if cfg.stem == "cifar" else ImageNetStem
        cells = cfg.cells()
        first, second = cfg.reductions
        stages, feature_info = [], []
        for i, stage in enumerate((cells[:first], cells[first:second], cells[second:])):
            blocks = [Cell(cell, drop_path_rate, **dd) for cell in stage]
            stages.append(CellStage(blocks, 1 + stage[0].reduces, stage[0].reduction))
            reduction = stem.reductions[1] * 2**i
            feature_info.append({"num_chs": stage[-1].out_width, "reduction": reduction, "module": f"s{i + 1}"})
        return Body(
            make_stem(in_chans, cfg.width * stem.widths[0], **dd),
            stages,
            nn.Identity(),
            feature_info,
            cells[-1].out_width,
        )

    def _feature_map(self, x: Any) -> torch.Tensor:
        return x[1] if isinstance(x, tuple) else x

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_features, H/reduction, W/reduction)."""
        # TorchScript cannot compile the loop of `StagedNet` here, where tensors become pairs and a tensor again.
        return self.s3(self.s2(self.s1(self.stem(x))))[1]  # type: ignore[operator]


def _create_nas_cell(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = CellNetCfg(**take_fields(CellNetCfg, kwargs))
    stem = STEMS[cfg.stem]
    add_size_overlay(kwargs, stem.resolution, (stem.reductions[1], 2, 2))
    # timm's default feature extractor would pass a stage only the last feature map, not the pair that it takes.
    feature_cfg = {"feature_cls": "getter"}
    return build(CellNet, variant, pretrained, feature_maps=3, feature_cfg=feature_cfg, model_cfg=cfg, **kwargs)


register(__name__, _create_nas_cell, {"nas_cell": ModelEntry("A network of cells from the fields of `CellNetCfg`.")})

"""Networks of cells: the structure that the NASNet, AmoebaNet, PNAS, ENAS and DARTS spaces share.

On Network Design Spaces, §5.1, Table 3. Cells are stacked as in DARTS (https://arxiv.org/abs/1806.09055, §3.1): the
inputs of each cell are the outputs of the two cells before it, and the cells at a third and at two thirds of the depth
halve the resolution and double the width. (§5.1 mentions three reduction cells; DARTS, which it follows, has two.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.layers import DropPath, get_act_layer, get_norm_layer
from timm.models import checkpoint
from torch import nn
from torch.nn import functional as F  # noqa: N812

from timm_regnet_ds.common.check import check_choice, check_int
from timm_regnet_ds.common.size_limit import MAX_WIDTH, check_blocks, check_elements

from ._build import ModelEntry, add_size_overlay, build, register, take_fields
from ._cell_ops import OPS, STEMS, Conv, Convs, Pool, Skip
from ._staged import Body, StageBase, StagedNet, check_reducible, dilated_strides, thirds

__all__ = ["CONCATS", "CellNet", "CellNetCfg", "Node", "all_nodes", "unused_nodes"]

# Variance of a convolution's output over that of its input, at the start of training. With it, features of an untrained
# network keep the scale of the images; with the 2 of other families, they grow to millions over 20 cells.
GAIN = 1.25

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
        if check_int("width", self.width, minimum=2, maximum=MAX_WIDTH) % 2:
            raise ValueError(f"width must be even, not {self.width}")
        nodes = max(len(self.normal), len(self.reduction))
        check_blocks("the network", check_int("depth", self.depth, minimum=3) * nodes)
        # Two operations a node, of two 1×1 convolutions each; a third of the cells each is w, 2w and 4w wide.
        check_elements("the network", self.depth * nodes * 4 * 7 * self.width**2)
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


class Layers(NamedTuple):
    """What makes the activations and normalizations of cells, and where their parameters are.

    Args:
        act: () → an activation.
        norm: number of channels → a normalization.
        dd: device and dtype of the convolutions.
    """

    act: Callable[[], nn.Module]
    norm: Callable[[int], nn.Module]
    dd: dict[str, Any]


def _conv(conv: Conv, width: int, stride: int, dilation: int, **dd: Any) -> nn.Conv2d:
    dilation *= conv.dilation
    return nn.Conv2d(
        width,
        width,
        conv.kernel,
        stride=(stride if conv.stride[0] else 1, stride if conv.stride[1] else 1),
        padding=(conv.kernel[0] // 2 * dilation, conv.kernel[1] // 2 * dilation),
        dilation=dilation,
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

    (N, in_chs, H, W) → (N, out_chs, ⌈H/2⌉, ⌈W/2⌉). With stride 1, in networks with dilation, the sides stay.
    """

    def __init__(self, in_chs: int, out_chs: int, layers: Layers, stride: int = 2) -> None:
        super().__init__()
        self.act = layers.act()
        self.conv1 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=stride, bias=False, **layers.dd)
        self.conv2 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=stride, bias=False, **layers.dd)
        self.bn = layers.norm(out_chs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(x)
        # The zeros at the end give both convolutions the same output size if a side is odd.
        return self.bn(torch.cat([self.conv1(x), self.conv2(F.pad(x, [-1, 1, -1, 1]))], dim=1))


def _operation(name: str, width: int, step: "Step", layers: Layers) -> nn.Module:
    """An operation of a cell, which may halve the resolution. Dilation does not change pooling."""
    stride = step.stride
    op = OPS[name]
    if isinstance(op, Convs):
        modules: list[nn.Module] = []
        for i, unit in enumerate(op.units):
            convs = [_conv(conv, width, stride if i == 0 else 1, step.dilation, **layers.dd) for conv in unit]
            modules += [layers.act(), *convs, layers.norm(width)]
        return nn.Sequential(*modules)
    if isinstance(op, Pool):
        if op.kind == "max":
            return nn.MaxPool2d(op.kernel, stride, op.kernel // 2)
        return nn.AvgPool2d(op.kernel, stride, op.kernel // 2, count_include_pad=False)
    if isinstance(op, Skip):
        return FactorizedReduce(width, width, layers, stride) if step.reduces else nn.Identity()
    return Zeros(stride)


class Step(NamedTuple):
    """How an operation moves over the feature map.

    Args:
        reduces: without dilation, its stride is 2.
        stride: its stride.
        dilation: by how much the dilation of its kernels grows.
    """

    reduces: bool
    stride: int = 1
    dilation: int = 1


class CellNode(nn.Module):
    """A node: the sum of two operations, each on one of the earlier states."""

    def __init__(self, node: Node, width: int, of_inputs: Step, drop_path: float, layers: Layers) -> None:
        super().__init__()
        of_nodes = Step(False, 1, of_inputs.dilation)
        operations = []
        for name, index in node:
            operation = _operation(name, width, of_inputs if index < 2 else of_nodes, layers)
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
        layers: activations and normalizations.
        step: how the operations on the inputs move.
        older_stride: stride of the layer that fits the older input, if it is larger than the newer one.
    """

    def __init__(self, cfg: CellCfg, drop_path: float, layers: Layers, step: Step, older_stride: int) -> None:
        super().__init__()
        older, newer = cfg.in_widths
        self.fit_older: nn.Module
        if cfg.reduces_older_input:
            self.fit_older = FactorizedReduce(older, cfg.width, layers, older_stride)
        else:
            self.fit_older = _relu_conv_bn(older, cfg.width, layers)
        self.fit_newer = _relu_conv_bn(newer, cfg.width, layers)
        self.nodes = nn.ModuleList(CellNode(node, cfg.width, step, drop_path, layers) for node in cfg.genotype)
        self.outputs = list(cfg.outputs)

    def forward(self, older: torch.Tensor, newer: torch.Tensor) -> torch.Tensor:
        """(N, C1, H1, W1), (N, C2, H, W) → (N, out_width, H/stride, W/stride)."""
        states = [self.fit_older(older), self.fit_newer(newer)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat([states[i] for i in self.outputs], dim=1)


def _relu_conv_bn(in_chs: int, out_chs: int, layers: Layers) -> nn.Module:
    conv = nn.Conv2d(in_chs, out_chs, 1, bias=False, **layers.dd)
    return nn.Sequential(layers.act(), conv, layers.norm(out_chs))


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

    def __init__(self, in_chans: int, width: int, layers: Layers) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, **layers.dd)
        self.bn = layers.norm(width)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → (N, width, H, W), twice."""
        x = self.bn(self.conv(x))
        return x, x


class ImageNetStem(nn.Module):
    """Three 3×3 convolutions of stride 2 with BN, and ReLU between them; it returns the outputs of the last two."""

    def __init__(self, in_chans: int, width: int, layers: Layers) -> None:
        super().__init__()
        halving: dict[str, Any] = {"stride": 2, "padding": 1, "bias": False, **layers.dd}
        self.act = layers.act()
        self.conv = nn.Conv2d(in_chans, width // 2, 3, **halving)
        self.bn = layers.norm(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width, 3, **halving)
        self.bn2 = layers.norm(width)
        self.conv3 = nn.Conv2d(width, width, 3, **halving)
        self.bn3 = layers.norm(width)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → (N, width, H/4, W/4), (N, width, H/8, W/8)."""
        older = self.bn2(self.conv2(self.act(self.bn(self.conv(x)))))
        return older, self.bn3(self.conv3(self.act(older)))


class CellNet(StagedNet):
    """A network of cells; the arguments are those of `StagedNet`.

    Strides beyond ``output_stride`` become dilation of convolutions. ``drop_path_rate`` is the rate
    at which the outputs of operations are dropped, in all cells alike, as in DARTS.
    """

    def make_body(
        self, cfg: CellNetCfg, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any
    ) -> Body:
        """Stem and three stages of cells, of which the second and third begin with a reduction."""
        stem = STEMS[cfg.stem]
        layers = self._cell_layers(dd)
        older_reduction, reduction = stem.reductions
        dilated = dilated_strides((1, 2, 2), reduction, output_stride)
        make_stem = CifarStem if cfg.stem == "cifar" else ImageNetStem
        cells = cfg.cells()
        first, second = cfg.reductions
        stages, feature_info = [], []
        for i, stage in enumerate((cells[:first], cells[first:second], cells[second:])):
            stride, first_dilation, dilation = dilated[i]
            before, blocks = reduction, []
            for j, cell in enumerate(stage):
                step = Step(cell.reduces, 1 if j else stride, dilation if j else first_dilation)
                blocks.append(Cell(cell, drop_path_rate, layers, step, reduction // older_reduction))
                older_reduction, reduction = reduction, reduction * step.stride
            stages.append(CellStage(blocks, stride, before))
            feature_info.append({"num_chs": stage[-1].out_width, "reduction": reduction, "module": f"s{i + 1}"})
        return Body(
            make_stem(in_chans, cfg.width * stem.widths[0], layers),
            stages,
            nn.Identity(),
            feature_info,
            cells[-1].out_width,
        )

    def _cell_layers(self, dd: dict[str, Any]) -> Layers:
        given = self.layers("relu")
        norm = get_norm_layer(given.get("norm_layer", "batchnorm2d"))
        return Layers(get_act_layer(given["act_layer"]), partial(norm, **dd), dd)

    def initialize(self, module: nn.Module) -> None:
        """Zero mean; variance GAIN/fan-in in convolutions, since cells add up outputs; 0.01² in the classifier."""
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=math.sqrt(GAIN / module.weight[0].numel()))
        elif isinstance(module, nn.Linear):
            super().initialize(module)

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

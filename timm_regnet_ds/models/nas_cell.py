"""Networks of cells: the one structure of the NASNet, AmoebaNet, PNAS, ENAS and DARTS spaces.

On Network Design Spaces, §5.1, Table 3. Cells are stacked as in DARTS (https://arxiv.org/abs/1806.09055, §3.1): each
takes the outputs of the two before it; those at a third and at two thirds of the depth halve the resolution and double
the width. (§5.1 speaks of three reduction cells; DARTS, which it follows, has two.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import DropPath
from timm.models import checkpoint
from torch import nn
from torch.nn import functional as F  # noqa: N812

from timm_regnet_ds._check import check_choice, check_float, check_int

from ._build import build, data_cfg, register
from ._cell_ops import OPS, STEMS, Conv, Convs, Pool, Skip
from ._staged import Blocks, StagedNet, check_reducible, classifier_head
from .anynet import take_fields

__all__ = ["CONCATS", "NasCell", "NasCfg", "Node", "loose_nodes"]

# A node adds the outputs of two operations: (operation, input), (operation, input). Inputs 0 and 1 are the outputs of
# the cell before the last one and of the last one; from 2 on, the cell's own nodes.
Node = tuple[tuple[str, int], tuple[str, int]]
Genotype = tuple[Node, ...]
Pair = tuple[torch.Tensor, torch.Tensor]


def loose_nodes(genotype: Genotype) -> tuple[int, ...]:
    """Nodes, numbered as inputs are, that no other node takes in."""
    used = {place for node in genotype for _, place in node}
    return tuple(place for place in all_nodes(genotype) if place not in used)


def all_nodes(genotype: Genotype) -> tuple[int, ...]:
    """Nodes, numbered as inputs are."""
    return tuple(range(2, len(genotype) + 2))


# Which nodes a cell concatenates: Table 3's 'A' and 'L'.
CONCATS = {"all": all_nodes, "loose": loose_nodes}

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
class NasCfg:
    """A network of cells. Without arguments, DARTS's for ImageNet. Lists become tuples.

    Args:
        normal: nodes of the cells that keep the resolution: ((operation, input), (operation, input)) each.
        reduction: nodes of the two cells that halve it; their operations on inputs 0 and 1 stride.
        width: channels w of a node in the first third of the network, even; doubled after each reduction.
        depth: number of cells d, at least 3.
        concat: which nodes make the output of a cell: ``all``, or ``loose``, those that no other node takes in.
        stem: ``imagenet`` (three convolutions of stride 2) or ``cifar`` (one of stride 1).

    Raises:
        ValueError: an unknown operation, an input that a node does not have, or a value outside these bounds.
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
        """Numbers of the reduction cells, from 0."""
        return self.depth // 3, 2 * self.depth // 3

    def outputs(self, genotype: Genotype) -> tuple[int, ...]:
        """Nodes whose concatenation is the output of a cell, numbered as inputs are."""
        return CONCATS[self.concat](genotype)

    def cells(self) -> list["CellCfg"]:
        """The cells, from first to last."""
        stem = STEMS[self.stem]
        width = self.width
        (before, last), (side_before, side) = (tuple(width * w for w in stem.widths), stem.reductions)
        cells = []
        for i in range(self.depth):
            reduces = i in self.reductions
            genotype = self.reduction if reduces else self.normal
            width *= 2 if reduces else 1
            outputs = self.outputs(genotype)
            cells.append(CellCfg(genotype, outputs, (before, last), width, side_before < side, reduces, side))
            before, last = last, width * len(outputs)
            side_before, side = side, side * (2 if reduces else 1)
        return cells


@dataclass(frozen=True)
class CellCfg:
    """One cell where it stands.

    Args:
        genotype: its nodes.
        outputs: which of them it concatenates, numbered as inputs are.
        in_widths: channels of its two inputs.
        width: channels of each node.
        halves_older: its older input is twice as large as the newer one and is halved first.
        reduces: it halves the resolution.
        reduction: side of the image over the side of its newer input.
    """

    genotype: Genotype
    outputs: tuple[int, ...]
    in_widths: tuple[int, int]
    width: int
    halves_older: bool
    reduces: bool
    reduction: int

    @property
    def out_width(self) -> int:
        """Channels of its output."""
        return self.width * len(self.outputs)


def _genotype(what: str, nodes: Any) -> Genotype:
    if not isinstance(nodes, (list, tuple)) or not nodes:
        raise ValueError(f"{what} must be a list of nodes ((operation, input), (operation, input)), not {nodes!r}")
    return tuple(_node(f"{what}, node {i}", node, inputs=i + 2) for i, node in enumerate(nodes))


def _node(what: str, node: Any, inputs: int) -> Node:
    try:
        (first, place_1), (second, place_2) = node
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be ((operation, input), (operation, input)), not {node!r}") from None
    for place in (place_1, place_2):
        if check_int(f"{what}: an input", place, minimum=0) >= inputs:
            raise ValueError(f"{what} has inputs 0 to {inputs - 1}, not {place}")
    for name in (first, second):
        check_choice(f"operation of {what}", name, OPS)
    return (first, int(place_1)), (second, int(place_2))


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
    """ReLU; two 1×1 convolutions of stride 2, the second a pixel further on, side by side; BN.

    (N, in, H, W) → (N, out, ⌈H/2⌉, ⌈W/2⌉).
    """

    def __init__(self, in_chs: int, out_chs: int, **dd: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=2, bias=False, **dd)
        self.conv2 = nn.Conv2d(in_chs, out_chs // 2, 1, stride=2, bias=False, **dd)
        self.bn = nn.BatchNorm2d(out_chs, **dd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(x)
        # Zeros behind, so that odd sides halve alike.
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
        around: dict[str, Any] = {"stride": stride, "padding": op.kernel // 2}
        if op.kind == "max":
            return nn.MaxPool2d(op.kernel, **around)
        return nn.AvgPool2d(op.kernel, count_include_pad=False, **around)
    if isinstance(op, Skip):
        return nn.Identity() if stride == 1 else FactorizedReduce(width, width, **dd)
    return Zeros(stride)


class Sum(nn.Module):
    """A node: two operations, each on one of the states before it, added."""

    def __init__(self, node: Node, width: int, reduces: bool, drop_path: float, **dd: Any) -> None:
        super().__init__()
        operations = []
        for name, place in node:
            operation = _operation(name, width, 2 if reduces and place < 2 else 1, **dd)
            if drop_path and not isinstance(operation, nn.Identity):
                operation = nn.Sequential(operation, DropPath(drop_path))
            operations.append(operation)
        self.op1, self.op2 = operations
        (_, self.input1), (_, self.input2) = node

    def forward(self, states: list[torch.Tensor]) -> torch.Tensor:
        """States, (N, width, h, w) each → (N, width, h, w)."""
        return self.op1(states[self.input1]) + self.op2(states[self.input2])


class Cell(nn.Module):
    """Two inputs brought to one shape, nodes, and the concatenation of some of them.

    Args:
        cfg: the cell.
        drop_path: rate at which the outputs of operations are dropped; the input itself never is.
    """

    def __init__(self, cfg: CellCfg, drop_path: float = 0.0, **dd: Any) -> None:
        super().__init__()
        older, newer = cfg.in_widths
        fit_older = FactorizedReduce if cfg.halves_older else _fit
        self.fit_older = fit_older(older, cfg.width, **dd)
        self.fit_newer = _fit(newer, cfg.width, **dd)
        self.nodes = nn.ModuleList(Sum(node, cfg.width, cfg.reduces, drop_path, **dd) for node in cfg.genotype)
        self.outputs = list(cfg.outputs)

    def forward(self, older: torch.Tensor, newer: torch.Tensor) -> torch.Tensor:
        """(N, C1, H1, W1), (N, C2, H, W) → (N, out_width, H/stride, W/stride)."""
        states = [self.fit_older(older), self.fit_newer(newer)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat([states[i] for i in self.outputs], dim=1)


def _fit(in_chs: int, out_chs: int, **dd: Any) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(in_chs, out_chs, 1, bias=False, **dd), nn.BatchNorm2d(out_chs, **dd))


# To torch.fx one node, as in _staged.py: it wraps by the module that calls.
torch.fx.wrap("check_reducible")


class CellStage(Blocks):
    """Cells one after the other; what flows are the outputs of the last two."""

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
    """3×3 convolution, BN; its output is both inputs of the first cell."""

    def __init__(self, in_chans: int, width: int, **dd: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, padding=1, bias=False, **dd)
        self.bn = nn.BatchNorm2d(width, **dd)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → twice (N, width, H, W)."""
        x = self.bn(self.conv(x))
        return x, x


class ImageNetStem(nn.Module):
    """Three 3×3 convolutions of stride 2, each with BN, ReLU between; the outputs of the last two."""

    def __init__(self, in_chans: int, width: int, **dd: Any) -> None:
        super().__init__()
        around: dict[str, Any] = {"stride": 2, "padding": 1, "bias": False, **dd}
        self.conv = nn.Conv2d(in_chans, width // 2, 3, **around)
        self.bn = nn.BatchNorm2d(width // 2, **dd)
        self.conv2 = nn.Conv2d(width // 2, width, 3, **around)
        self.bn2 = nn.BatchNorm2d(width, **dd)
        self.conv3 = nn.Conv2d(width, width, 3, **around)
        self.bn3 = nn.BatchNorm2d(width, **dd)

    def forward(self, x: torch.Tensor) -> Pair:
        """(N, in_chans, H, W) → (N, width, H/4, W/4), (N, width, H/8, W/8)."""
        older = self.bn2(self.conv2(F.relu(self.bn(self.conv(x)))))
        return older, self.bn3(self.conv3(F.relu(older)))


class NasCell(StagedNet):
    """A network of cells, (N, in_chans, H, W) → (N, num_classes).

    Args:
        cfg: the network.
        num_classes: outputs of the classifier; 0 for none.
        in_chans: channels of the images.
        global_pool: timm's name of a pooling; '' for none.
        drop_rate: dropout before the classifier.
        drop_path_rate: rate at which the outputs of operations are dropped, in all cells alike, as in DARTS.
        device, dtype: of the parameters.

    Raises:
        ValueError: a value that is not allowed, or an image too small for the reductions.
    """

    def __init__(
        self,
        cfg: NasCfg,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_float("drop_path_rate", drop_path_rate, minimum=0, maximum=1)
        dd = {"device": device, "dtype": dtype}
        stem = STEMS[cfg.stem]
        make_stem = CifarStem if cfg.stem == "cifar" else ImageNetStem
        parts = _parts(cfg)
        stages = [
            CellStage([Cell(c, drop_path_rate, **dd) for c in part], 1 + part[0].reduces, part[0].reduction)
            for part in parts
        ]
        num_features = parts[-1][-1].out_width
        super().__init__(
            make_stem(in_chans, cfg.width * stem.widths[0], **dd),
            stages,
            nn.Identity(),
            classifier_head(num_features, num_classes, global_pool, drop_rate, **dd),
            feature_info=[
                {"num_chs": part[-1].out_width, "reduction": stem.reductions[1] * 2**i, "module": f"s{i + 1}"}
                for i, part in enumerate(parts)
            ],
            num_features=num_features,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_rate=drop_rate,
        )
        self.cfg = cfg
        self.s1, self.s2, self.s3 = stages

    def _map(self, x: Any) -> torch.Tensor:
        return x[1] if isinstance(x, tuple) else x

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_features, H/reduction, W/reduction)."""
        return self.s3(self.s2(self.s1(self.stem(x))))[1]


def _parts(cfg: NasCfg) -> list[Sequence[CellCfg]]:
    """The cells of the three parts of the network; the second and third begin with a reduction."""
    cells = cfg.cells()
    first, second = cfg.reductions
    return [cells[:first], cells[first:second], cells[second:]]


def _nas_cell(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    cfg = NasCfg(**take_fields(NasCfg, kwargs))
    if cfg.stem == "cifar" and isinstance(kwargs.get("pretrained_cfg"), (str, type(None))):
        size = {"input_size": (3, 32, 32), "pool_size": (8, 8)}
        kwargs["pretrained_cfg_overlay"] = size | (kwargs.get("pretrained_cfg_overlay") or {})
    # A stage takes in more than the last map, which timm's default way to features would hand it.
    return build(
        NasCell, variant, pretrained, feature_maps=3, feature_cfg={"feature_cls": "getter"}, model_cfg=cfg, **kwargs
    )


register(__name__, _nas_cell, {"nas_cell": data_cfg()}, {"nas_cell": "A network of cells, from `NasCfg`'s fields."})

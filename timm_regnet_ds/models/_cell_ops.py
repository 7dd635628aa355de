"""The operations of cells as data, from which both their modules and their complexity follow, without torch.

The names are those of DARTS's genotypes. The five spaces of On Network Design Spaces, Table 3, take their operations
from five papers; each is defined here as its paper defines it, except that separable convolutions are those of DARTS.
"""

from dataclasses import dataclass

__all__ = ["OPS", "STEMS", "Conv", "Op", "Pool", "Skip", "StemCfg", "Zero"]


@dataclass(frozen=True)
class Conv:
    """A convolution that keeps the width.

    Args:
        kernel: height and width.
        stride: along which of (height, width) this convolution applies the operation's stride.
        depthwise: one channel per group; otherwise a single group.
        dilation: dilation of the kernel.
    """

    kernel: tuple[int, int]
    stride: tuple[bool, bool] = (False, False)
    depthwise: bool = False
    dilation: int = 1


@dataclass(frozen=True)
class Convs:
    """A sequence of units; each is a ReLU, convolutions and BN."""

    units: tuple[tuple[Conv, ...], ...]


@dataclass(frozen=True)
class Pool:
    """Pooling (``avg`` or ``max``) over a square; the mean leaves out the padding."""

    kind: str
    kernel: int


@dataclass(frozen=True)
class Skip:
    """The input itself. With a stride: ReLU and two 1×1 convolutions, each with half of the output channels, and BN."""


@dataclass(frozen=True)
class Zero:
    """Zeros, whatever the input is."""


Op = Convs | Pool | Skip | Zero

POINTWISE = Conv((1, 1))


def _single(kernel: int, dilation: int = 1) -> Convs:
    """One convolution."""
    return Convs(((Conv((kernel, kernel), (True, True), dilation=dilation),),))


def _split(kernel: int) -> Convs:
    """A 1×k and a k×1 convolution."""
    return Convs(((Conv((1, kernel), (False, True)), Conv((kernel, 1), (True, False))),))


def _separable(kernel: int, dilation: int = 1, times: int = 2) -> Convs:
    """A depthwise and a 1×1 convolution, ``times`` times; the first depthwise one applies the stride."""
    strides = [(True, True), *[(False, False)] * (times - 1)]
    return Convs(
        tuple((Conv((kernel, kernel), stride, depthwise=True, dilation=dilation), POINTWISE) for stride in strides)
    )


OPS: dict[str, Op] = {
    "none": Zero(),
    "skip_connect": Skip(),
    "avg_pool_3x3": Pool("avg", 3),
    "max_pool_3x3": Pool("max", 3),
    "max_pool_5x5": Pool("max", 5),
    "max_pool_7x7": Pool("max", 7),
    "conv_1x1": _single(1),
    "conv_3x3": _single(3),
    "conv_3x1_1x3": _split(3),
    "conv_7x1_1x7": _split(7),
    "sep_conv_3x3": _separable(3),
    "sep_conv_5x5": _separable(5),
    "sep_conv_7x7": _separable(7),
    "dil_conv_3x3": _separable(3, dilation=2, times=1),
    "dil_conv_5x5": _separable(5, dilation=2, times=1),
    "dil_sep_conv_3x3": _separable(3, dilation=2),
}


@dataclass(frozen=True)
class StemCfg:
    """The two inputs of the first cell, which the stem computes. Each pair is of the older and the newer input.

    Args:
        widths: channels as multiples of the network's width.
        reductions: side of the image divided by the side of the input.
        resolution: default side of the images.
    """

    widths: tuple[int, int]
    reductions: tuple[int, int]
    resolution: int


STEMS = {"imagenet": StemCfg((1, 1), (4, 8), 224), "cifar": StemCfg((3, 3), (1, 1), 32)}

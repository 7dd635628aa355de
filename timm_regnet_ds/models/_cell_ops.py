"""Operations of cells, as data from which both their modules and their complexity follow. No torch here.

Their names are those of DARTS's genotypes. What they are in the five spaces of On Network Design Spaces, Table 3, is
what the five papers say, with the separable ones as in DARTS.
"""

from dataclasses import dataclass

__all__ = ["OPS", "STEMS", "Conv", "Op", "Pool", "Skip", "StemCfg", "Zero"]


@dataclass(frozen=True)
class Conv:
    """A convolution that keeps the width.

    Args:
        kernel: height and width.
        stride: whether it strides along height and width where the operation does.
        depthwise: one channel per group, otherwise a single group.
        dilation: of the kernel.
    """

    kernel: tuple[int, int]
    stride: tuple[bool, bool] = (False, False)
    depthwise: bool = False
    dilation: int = 1


@dataclass(frozen=True)
class Convs:
    """Units one after the other: each is ReLU, convolutions, BN."""

    units: tuple[tuple[Conv, ...], ...]


@dataclass(frozen=True)
class Pool:
    """``avg`` or ``max`` over a square; padding does not count into the mean."""

    kind: str
    kernel: int


@dataclass(frozen=True)
class Skip:
    """The input itself; where the operation strides, ReLU and two 1×1 convolutions of half the width side by side."""


@dataclass(frozen=True)
class Zero:
    """Nothing: zeros."""


Op = Convs | Pool | Skip | Zero

POINTWISE = Conv((1, 1))


def _one(kernel: int, dilation: int = 1) -> Convs:
    return Convs(((Conv((kernel, kernel), (True, True), dilation=dilation),),))


def _split(kernel: int) -> Convs:
    """1×k, then k×1."""
    return Convs(((Conv((1, kernel), (False, True)), Conv((kernel, 1), (True, False))),))


def _separable(kernel: int, dilation: int = 1, times: int = 2) -> Convs:
    """Depthwise, then 1×1, ``times`` over; the first strides."""
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
    "conv_1x1": _one(1),
    "conv_3x3": _one(3),
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
    """What the first two cells take in: widths and reductions are of the older and of the newer of their inputs.

    Args:
        widths: as multiples of the network's width.
        reductions: side of the image over the side of the input.
        resolution: side of the images that it is meant for.
    """

    widths: tuple[int, int]
    reductions: tuple[int, int]
    resolution: int


STEMS = {"imagenet": StemCfg((1, 1), (4, 8), 224), "cifar": StemCfg((3, 3), (1, 1), 32)}

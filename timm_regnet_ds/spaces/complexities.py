"""Complexity of many networks at once, added up operation by operation without building one.

Fast and Accurate Model Scaling, §3 (Eqs. 1 to 3). The sums equal `timm_regnet_ds.measure` of the models built, to the
integer.
"""

from typing import Any, NamedTuple

import numpy as np

from ._types import Array, Ints

__all__ = ["Complexities", "ComplexitySums"]

Number = Any  # an integer, or an integer array of shape (n,)


class Complexities(NamedTuple):
    """Complexity of n models for one image, int64 of shape (n,) each."""

    flops: Ints
    params: Ints
    acts: Ints

    def __repr__(self) -> str:
        return f"Complexities of {len(self.flops):,} models"

    def take(self, indices: Array) -> "Complexities":
        """The complexities of the models at ``indices``, integers of shape (m,)."""
        return Complexities(*(array[indices] for array in self))


class ComplexitySums:
    """Running sums of flops, params and acts of n networks.

    Every argument of its methods is an integer, or an integer array of shape (n,).
    """

    def __init__(self, n: int) -> None:
        self.flops, self.params, self.acts = (np.zeros(n, dtype=np.int64) for _ in range(3))

    def complexities(self) -> Complexities:
        """The sums so far."""
        return Complexities(self.flops, self.params, self.acts)

    def add(self, flops: Number, params: Number, acts: Number) -> None:
        """Add an operation whose complexity is known."""
        self.flops += flops
        self.params += params
        self.acts += acts

    def conv(self, kernel: int, group_width: Number, outputs: Number, side: Number, *, times: Number = 1) -> None:
        """Add ``times`` convolutions, each followed by BatchNorm, which has two parameters per channel.

        Args:
            kernel: side of the kernel.
            group_width: input channels per group.
            outputs: output channels.
            side: side of the output's feature map.
            times: how many such convolutions there are.
        """
        outputs = outputs * times
        weights = kernel**2 * group_width * outputs
        acts = outputs * side**2
        self.add(kernel**2 * group_width * acts, weights + 2 * outputs, acts)

    def linear(self, inputs: Number, outputs: Number, *, times: Number = 1) -> None:
        """Add ``times`` linear layers with bias, or 1×1 convolutions with bias on a 1×1 feature map."""
        outputs = outputs * times
        weights = inputs * outputs
        self.add(weights, weights + outputs, outputs)

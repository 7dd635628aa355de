"""RegNet's quantized linear function (Designing Network Design Spaces, Eqs. 2 to 4). It needs NumPy, and not torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTUM", "quantized_linear_exponents", "quantized_linear_widths"]

# Widths are multiples of this.
QUANTUM = 8


def quantized_linear_exponents(depth: int, w0: Any, wa: Any, wm: Any) -> NDArray[np.float64]:
    """Exponent ⌊s_j⌉ of each block j < depth, where w0 + wa·j = w0 · wm^s_j (Eqs. 2 and 3).

    §3.3 makes a stage of the blocks with the same exponent: d_i = Σ 1[⌊s_j⌉ = i]. An exponent that no block has is an
    empty stage.

    Args:
        depth: number of blocks d.
        w0, wa, wm: width of the first block, slope (at least 0) and ratio of neighbouring widths (above 1), numbers or
            arrays of one shape.

    Returns:
        Exponents, which do not descend, of shape (depth, \\*shape of the parameters). Halves are rounded to even.
    """
    blocks = np.arange(depth).reshape(-1, *[1] * np.ndim(w0))
    return np.rint(np.log((w0 + wa * blocks) / w0) / np.log(wm))


def quantized_linear_widths(depth: int, w0: Any, wa: Any, wm: Any, quantum: int = QUANTUM) -> NDArray[np.int64]:
    """Width of each block j < depth: w0 · wm^round(s_j), where w0 + wa·j = w0 · wm^s_j (Eqs. 2 to 4).

    Args:
        depth: number of blocks d.
        w0, wa, wm: width of the first block, slope (at least 0) and ratio of neighbouring widths (above 1), numbers or
            arrays of one shape.
        quantum: widths are rounded to multiples of it. Halves are rounded to even, here and in the exponents.

    Returns:
        Widths of shape (depth, \\*shape of the parameters).
    """
    exponents = quantized_linear_exponents(depth, w0, wa, wm)
    return np.rint(w0 * wm**exponents / quantum).astype(np.int64) * quantum

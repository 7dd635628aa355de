"""The search that found the factors of the named models; the tests repeat it."""

import math
from collections.abc import Callable

__all__ = ["nearest_factor"]


def nearest_factor(flops_at: Callable[[float], float], target: float) -> float:
    """Return the factor of three significant digits whose flops come nearest to ``target``; of several, the smallest.

    The scaling paper's own factors have three digits. Rounding makes ``flops_at`` uneven, so all factors around the
    first one that reaches the target are compared.

    Args:
        flops_at: returns the flops of the model scaled by a factor, proportional to the factor within a factor of two.
        target: the wanted flops.
    """
    guess = target / flops_at(1.0)
    low, high = _rank(guess / 2), _rank(guess * 2)
    while low < high:
        middle = (low + high) // 2
        if flops_at(_factor(middle)) < target:
            low = middle + 1
        else:
            high = middle
    near = [_factor(rank) for rank in range(low - 20, low + 21)]
    return min(near, key=lambda factor: abs(flops_at(factor) - target))


# The factors of three significant digits in order, 900 to a decade: rank 0 is 1.00, rank 1 is 1.01.
def _factor(rank: int) -> float:
    decade, step = divmod(rank, 900)
    return float(f"{100 + step}e{decade - 2}")


def _rank(factor: float) -> int:
    decade = math.floor(math.log10(factor))
    return decade * 900 + round(factor / 10 ** (decade - 2)) - 100

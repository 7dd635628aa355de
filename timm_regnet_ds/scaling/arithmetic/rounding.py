"""Rounding of scaled dimensions to integers, with which all printed numbers of the scaling paper are met."""

__all__ = ["nearest_multiple", "round_depth", "round_group_width", "round_resolution", "round_width"]


def round_depth(depth: float) -> int:
    """Round to the nearest integer, halves to even, at least 1."""
    return max(1, round(depth))


def round_width(width: float) -> int:
    """Round to the nearest multiple of 8, at least 8."""
    return nearest_multiple(width, 8)


def round_group_width(group_width: float) -> int:
    """Round to 1, 2, 4 or a multiple of 8."""
    group_width = round(group_width)
    if group_width <= 2:
        return max(1, group_width)
    return 4 if group_width <= 5 else nearest_multiple(group_width, 8)


def round_resolution(resolution: float) -> int:
    """Round to the nearest multiple of 4, at least 4."""
    return nearest_multiple(resolution, 4)


def nearest_multiple(value: float, multiple: int) -> int:
    """Round to the nearest multiple of ``multiple``, at least ``multiple``."""
    return max(multiple, round(value / multiple) * multiple)

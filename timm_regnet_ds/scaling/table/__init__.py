"""What scales of each of timm's model classes, and of this project's: a row for each."""

from . import (
    byobnet,
    columnar,
    efficientnets,
    gathering,
    hybrids,
    in_code,
    mobile,
    own,
    pyramids,
    regnet,
    residual,
    sequential,
)

__all__ = [
    "byobnet",
    "columnar",
    "efficientnets",
    "gathering",
    "hybrids",
    "in_code",
    "mobile",
    "own",
    "pyramids",
    "regnet",
    "residual",
    "sequential",
]

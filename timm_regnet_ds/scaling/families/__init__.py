"""Which arguments of timm's model classes and of this package's scale: one `ScalingSpec` per class."""

from . import (
    byobnet,
    dense_aggregation,
    efficientnet,
    fixed,
    hierarchical_transformers,
    hybrids,
    isotropic_transformers,
    mobile,
    plain,
    regnet,
    residual,
    this_package,
)

__all__ = [
    "byobnet",
    "dense_aggregation",
    "efficientnet",
    "fixed",
    "hierarchical_transformers",
    "hybrids",
    "isotropic_transformers",
    "mobile",
    "plain",
    "regnet",
    "residual",
    "this_package",
]

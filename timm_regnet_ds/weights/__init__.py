"""What a scaled model inherits from its base: weights with which it computes what the base computes."""

from .align import align
from .inherit import inherit
from .inherited import Inherited

__all__ = ["Inherited", "align", "inherit"]

"""Design spaces as data: sample, count, build, and the complexity of many configurations at once."""

from timm_regnet_ds._check import lookup

from .nas import NAS, NasSpace
from .space import Membership, Sample, Space

__all__ = ["SPACES", "Membership", "NasSpace", "Sample", "Space", "get_space"]

SPACES: dict[str, Space] = {**NAS}


def get_space(name: str) -> Space:
    """A design space by its name.

    Raises:
        ValueError: another name; the message lists them.
    """
    space: Space = lookup("space", name, SPACES)
    return space

"""Design spaces as data: sample, count, build, and the complexity of many configurations at once."""

from timm_regnet_ds._check import check_choice

from .anynet import ANYNETS, AnyNetSpace, Sized
from .arrays import AnyNets, Frame
from .channels import CHANNELS, ChannelSpace, PiecewiseLinear
from .nas import NAS, NasSpace
from .regnet import REGNETS, RegNetSpace
from .space import Complexities, Configs, Membership, Sample, Space
from .values import Values, steps

__all__ = [
    "SPACES",
    "AnyNetSpace",
    "AnyNets",
    "ChannelSpace",
    "Complexities",
    "Configs",
    "Frame",
    "Membership",
    "NasSpace",
    "PiecewiseLinear",
    "RegNetSpace",
    "Sample",
    "Sized",
    "Space",
    "Values",
    "get_space",
    "steps",
]

SPACES: dict[str, Space] = {**ANYNETS, **REGNETS, **CHANNELS, **NAS}


def get_space(name: str) -> Space:
    """A design space by its name.

    Raises:
        ValueError: another name; the message lists them.
    """
    space: Space = check_choice("space", name, SPACES)
    return space

"""Design spaces as data: sample, count, build, and the complexity of many configurations at once."""

from timm_regnet_ds.common.check import check_choice

from .anynet import ANYNET_SPACES, AnyNetSpace
from .anynet_batch import AnyNetBatch
from .channels import CHANNEL_SPACES, ChannelSpace, PiecewiseLinear
from .complexities import Complexities
from .frame import Frame
from .framed_space import ConfigAtResolution
from .nas import NAS_SPACES, NasSpace
from .regnet import REGNET_SPACES, RegNetSpace
from .space import ConfigBatch, Membership, Sample, Space
from .values import Values, steps

__all__ = [
    "SPACES",
    "AnyNetBatch",
    "AnyNetSpace",
    "ChannelSpace",
    "Complexities",
    "ConfigAtResolution",
    "ConfigBatch",
    "Frame",
    "Membership",
    "NasSpace",
    "PiecewiseLinear",
    "RegNetSpace",
    "Sample",
    "Space",
    "Values",
    "get_space",
    "steps",
]

SPACES: dict[str, Space] = {**ANYNET_SPACES, **REGNET_SPACES, **CHANNEL_SPACES, **NAS_SPACES}


def get_space(name: str) -> Space:
    """Look a design space up by its name.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    space: Space = check_choice("space", name, SPACES)
    return space

"""The papers' networks as timm models. Importing this registers them."""

from . import rexnet, rexnet_lite, rexnet_plain
from ._registry import list_models
from .anynet import AnyNet, AnyNetCfg
from .channelnet import ChannelNet, ChannelNetCfg
from .nas_cell import CellNet, CellNetCfg
from .regnet import RegNetCfg, quantized_linear

__all__ = [
    "AnyNet",
    "AnyNetCfg",
    "CellNet",
    "CellNetCfg",
    "ChannelNet",
    "ChannelNetCfg",
    "RegNetCfg",
    "list_models",
    "quantized_linear",
    "rexnet",
    "rexnet_lite",
    "rexnet_plain",
]

"""The papers' networks as timm models. Importing this registers them."""

from . import rexnet, rexnet_lite, rexnet_plain
from .anynet import AnyNet, AnyNetCfg
from .regnet import RegNetCfg, quantized_linear

__all__ = ["AnyNet", "AnyNetCfg", "RegNetCfg", "quantized_linear", "rexnet", "rexnet_lite", "rexnet_plain"]

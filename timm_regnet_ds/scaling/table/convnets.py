"""Convolutional networks."""

from ..axes import AXES, Axes
from ..rules import Depth, Width

AXES |= {
    "resnet.ResNet": Axes(depth=(Depth("layers"),), width=(Width("channels"),)),
    "convnext.ConvNeXt": Axes(depth=(Depth("depths"),), width=(Width("dims"),), multiple=32),
}

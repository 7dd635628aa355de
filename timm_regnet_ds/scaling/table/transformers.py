"""Vision transformers."""

from ..axes import AXES, Axes
from ..rules import Depth, Heads

AXES |= {
    "vision_transformer.VisionTransformer": Axes(
        depth=(Depth("depth"),), width=(Heads("num_heads", "embed_dim"),), multiple=lambda args: args["patch_size"]
    ),
    "swin_transformer.SwinTransformer": Axes(
        depth=(Depth("depths", multiple=2),), width=(Heads("num_heads", "embed_dim"),), multiple=32
    ),
}

"""The error of a scaled model that is given images of another size than its own."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["explain_image_size"]


def explain_image_size(model: nn.Module) -> None:
    """Let a model of a fixed image size say how to build it for another one.

    ``train.py --img-size`` sets the size of the images only. The patch embeddings of timm's models refuse them then
    with "Input height doesn't match model"; this check comes before and names the argument that is missing.
    """
    for module in model.modules():
        if getattr(module, "strict_img_size", False) and getattr(module, "img_size", None) is not None:
            module.register_forward_pre_hook(_check_size)


# TorchScript compiles this function with the module, so it has the types that TorchScript needs; torch.fx traces it, so
# that it cannot branch on a size.
def _check_size(self: Any, inputs: tuple[Tensor]) -> None:
    size = self.img_size
    if size is not None:
        height, width = inputs[0].shape[-2], inputs[0].shape[-1]
        message = (
            f"images of {height}x{width} for a model of {size[0]}x{size[1]}: the model needs their size too, "
            f"--img-size {height} --model-kwargs img_size={height} in timm's scripts, img_size={height} in Python"
        )
        torch._assert(height == size[0], message)
        torch._assert(width == size[1], message)

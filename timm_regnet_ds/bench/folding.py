"""BatchNorm folded into the convolutions before it, for inference."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["first_tensor", "fold_batch_norms"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

# By how much the outputs may change, as a share of their largest.
_CLOSE = 1e-3


@torch.no_grad()
def fold_batch_norms(model: nn.Module, image: Tensor) -> int:
    """Fold, in place, each BatchNorm that takes the output of a convolution, and return how many were folded.

    Args:
        model: in evaluation mode, in float32.
        image: a batch that it takes; what the model does with it says which convolution a BatchNorm follows.

    Raises:
        ValueError: the folded model gives other outputs, since a convolution's output is used elsewhere too.
    """
    before = first_tensor(model(image))
    pairs = _pairs(model, image)
    for conv, norm in pairs:
        # ConvNormAct's norm holds its activation; what is left of the norm is that.
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    folded = {norm: nn.Sequential(*_rest(norm)) for _, norm in pairs}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, folded[child])
    after = first_tensor(model(image))
    off = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
    if not off <= _CLOSE:
        raise ValueError(f"{type(model).__name__} with its BatchNorm folded gives other outputs, off by {off:.1%}")
    return len(pairs)


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[Any, Any]]:
    """Convolutions and the BatchNorms that take their outputs, where each runs once."""
    made: dict[int, tuple[Any, Tensor]] = {}
    pairs: list[tuple[Any, Any]] = []
    runs: dict[nn.Module, int] = {}

    def convolved(module: nn.Module, args: Any, output: Tensor) -> None:
        runs[module] = runs.get(module, 0) + 1
        made[id(output)] = (module, output)  # held, so that no other tensor gets its id

    def normalized(module: nn.Module, args: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        if id(args[0]) in made:
            pairs.append((made[id(args[0])][0], module))

    hooks = []
    for module in model.modules():
        if isinstance(module, _CONVS):
            hooks.append(module.register_forward_hook(convolved))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(normalized))
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1]


def _rest(norm: nn.Module) -> list[nn.Module]:
    """What timm's norms do after normalizing."""
    return [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]


def first_tensor(output: Any) -> Tensor:
    """Of what a model returns."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output

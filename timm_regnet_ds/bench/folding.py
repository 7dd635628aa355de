"""BatchNorm folded into the convolutions before it, for inference."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["first_tensor", "fold_batch_norms"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

# How much the outputs may change, as a fraction of the largest output.
_TOLERANCE = 1e-3


@torch.no_grad()
def fold_batch_norms(model: nn.Module, image: Tensor) -> int:
    """Fold in place each BatchNorm whose input is the output of a convolution; return how many were folded.

    Args:
        model: a model in evaluation mode, in float32.
        image: a batch of images. The model is run on it to see which convolution each BatchNorm follows.

    Raises:
        ValueError: the outputs of the folded model differ, because a convolution's output is also used elsewhere.
    """
    before = first_tensor(model(image))
    pairs = _pairs(model, image)
    for conv, norm in pairs:
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    folded = {norm: nn.Sequential(*_drop_and_act(norm)) for _, norm in pairs}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, folded[child])
    after = first_tensor(model(image))
    off = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
    if not off <= _TOLERANCE:
        raise ValueError(f"{type(model).__name__} with folded BatchNorm has other outputs, off by {off:.1%}")
    return len(pairs)


def _pairs(model: nn.Module, image: Tensor) -> list[tuple[Any, Any]]:
    """Pairs of a convolution and the BatchNorm that takes its output, if each of the two runs once."""
    outputs: dict[int, tuple[Any, Tensor]] = {}
    pairs: list[tuple[Any, Any]] = []
    runs: dict[nn.Module, int] = {}

    def after_conv(module: nn.Module, args: Any, output: Tensor) -> None:
        runs[module] = runs.get(module, 0) + 1
        outputs[id(output)] = (module, output)  # kept alive, so that no other tensor gets the same id

    def before_norm(module: nn.Module, args: Any) -> None:
        runs[module] = runs.get(module, 0) + 1
        if id(args[0]) in outputs:
            pairs.append((outputs[id(args[0])][0], module))

    hooks = []
    for module in model.modules():
        if isinstance(module, _CONVS):
            hooks.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1]


def _drop_and_act(norm: nn.Module) -> list[nn.Module]:
    """The dropout and the activation that timm's ``BatchNormAct2d`` applies after normalizing."""
    return [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]


def first_tensor(output: Any) -> Tensor:
    """The first tensor of a model's output, which may be a nested sequence."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output

"""What the families written here share: a stem, stages, a last convolution and a head, as a timm model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import ClassifierHead
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import nn

__all__ = ["Blocks", "Stage", "StagedNet", "classifier_head", "dilate", "stages_of"]


class Blocks(nn.Module):
    """``b1``, ``b2``, …: blocks of which only the first may reduce the resolution.

    Args:
        blocks: the blocks.
        stride: of the first.
        reduction: side of the image over the side of what comes in.
    """

    def __init__(self, blocks: Sequence[nn.Module], stride: int = 1, reduction: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.min_side = reduction + 1
        self.grad_checkpointing = False
        for i, block in enumerate(blocks, 1):
            self.add_module(f"b{i}", block)


class Stage(Blocks):
    """Blocks one after the other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        if self.stride > 1:
            check_reducible(x, self.min_side)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.children(), x)
        for block in self.children():
            x = block(x)
        return x


def check_reducible(x: torch.Tensor, min_side: int) -> None:
    """Raise a ValueError where a stride has nothing left to reduce; ``min_side`` of the image avoids it."""
    if min(x.shape[-2], x.shape[-1]) < 2:
        raise ValueError(f"the image is too small for the strides: its sides must be at least {min_side}")


# torch.fx cannot follow a comparison of sizes: to it the check is one node.
torch.fx.wrap("check_reducible")


def dilate(strides: Sequence[int], stem_stride: int, output_stride: int | None) -> list[tuple[int, int, int]]:
    """(stride, dilation of the first block, dilation of the others) of each stage.

    Args:
        strides: nominal stride of each stage.
        stem_stride: stride before them.
        output_stride: strides beyond it become dilation; ``None`` for none. 32, timm's default, is always allowed.

    Raises:
        ValueError: an output stride that the network does not pass through.
    """
    reductions = [stem_stride * math.prod(strides[:i]) for i in range(len(strides) + 1)]
    if output_stride is not None and output_stride not in (*reductions, 32):
        allowed = sorted({*reductions, 32})
        raise ValueError(f"output_stride {output_stride!r} is not possible here; allowed: {allowed}")
    reduction, dilation, dilated = stem_stride, 1, []
    for stride in strides:
        first_dilation = dilation
        if output_stride is not None and reduction >= output_stride:
            dilation *= stride
            stride = 1
        reduction *= stride
        dilated.append((stride, first_dilation, dilation))
    return dilated


def stages_of(
    strides: Sequence[int],
    widths: Sequence[int],
    block: Callable[[int, int, int], nn.Module],
    output_stride: int,
    stem_stride: int = 2,
) -> tuple[list[Stage], list[dict[str, Any]]]:
    """Stages from the strides of single blocks, each begun by a block that reduces, and their feature info.

    Args:
        strides: nominal stride of each block.
        widths: output channels of each block.
        block: makes block i of a stride and a dilation.
        output_stride: strides beyond it become dilation.
        stem_stride: stride before the first block.
    """
    starts = [i for i, stride in enumerate(strides) if stride > 1 or i == 0]
    dilated = dilate([strides[i] for i in starts], stem_stride, output_stride)
    stages, feature_info, reduction = [], [], stem_stride
    for start, end, (stride, first_dilation, dilation) in zip(
        starts, [*starts[1:], len(strides)], dilated, strict=True
    ):
        blocks = [block(start, stride, first_dilation), *(block(i, 1, dilation) for i in range(start + 1, end))]
        stages.append(Stage(blocks, stride, reduction))
        reduction *= stride
        feature_info.append({"num_chs": widths[end - 1], "reduction": reduction, "module": f"s{len(stages)}"})
    return stages, feature_info


def classifier_head(num_features: int, num_classes: int, pool_type: str, drop_rate: float, **dd: Any) -> ClassifierHead:
    """timm's head; without pooling its classifier is a 1×1 convolution, of every place of the map."""
    return ClassifierHead(num_features, num_classes, pool_type, drop_rate, use_conv=not pool_type, **dd)


class StagedNet(nn.Module):
    """A network whose children are ``stem``, ``s1``, ``s2``, …, ``final_conv`` and ``head``, with timm's contract.

    Args:
        stem: (N, in_chans, H, W) → (N, stem_width, H/stem_stride, W/stem_stride).
        stages: what follows, one after the other.
        final_conv: what follows the last stage and gives no feature map of its own.
        head: pooling and classifier.
        feature_info: timm's description of the feature maps: of the last stages, and of the stem where there is one
            more than there are stages.
        num_features: channels of the last feature map, after ``final_conv``.
        num_classes, in_chans, drop_rate: as in timm.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[Blocks],
        final_conv: nn.Module,
        head: nn.Module,
        *,
        feature_info: list[dict[str, Any]],
        num_features: int,
        num_classes: int,
        in_chans: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = num_features
        self.feature_info = feature_info
        self.num_maps = len(feature_info)
        # Place of the first feature map among the children.
        self.first_map = len(stages) + 1 - len(feature_info)

        self.stem = stem
        for i, stage in enumerate(stages, 1):
            self.add_module(f"s{i}", stage)
        self.final_conv = final_conv
        self.head = head
        self.head_hidden_size = self._head_width()
        for module in self.modules():
            _init_weights(module)

    def _head_width(self) -> int:
        head: Any = self.head
        return int(self.num_features * head.global_pool.feat_mult())

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that group the parameters by depth, for layer decay."""
        return {"stem": r"^stem", "blocks": r"^s(\d+)" if coarse else r"^s(\d+)\.b(\d+)"}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the stages' activations in the backward pass instead of keeping them."""
        for module in self.children():
            if isinstance(module, Blocks):
                module.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer, ``nn.Identity`` where there is none."""
        head: Any = self.head
        classifier: nn.Module = head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling where ``global_pool`` is not ``None``."""
        stem: Any = self.stem
        head: Any = self.head
        weight = stem.conv.weight
        pool_type = head.global_pool.pool_type if global_pool is None else global_pool
        # `ClassifierHead.reset` keeps neither device nor dtype before timm 1.0.29.
        head = classifier_head(
            self.num_features, num_classes, pool_type, self.drop_rate, device=weight.device, dtype=weight.dtype
        )
        self.head = head.train(self.training)
        self.num_classes = num_classes
        self.head_hidden_size = self._head_width()

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """The final features and the feature maps that ``feature_info`` lists.

        Args:
            x: images, (N, C, H, W).
            indices: which maps; the last n if an int, all if ``None``.
            norm: has no effect: every map is already normalized.
            stop_early: compute nothing beyond the last map asked for, unless that is the last of all.
            output_fmt: ``NCHW``.
            intermediates_only: leave the final features out.

        Raises:
            ValueError: another ``output_fmt``, or an image too small for the strides.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt}")
        take, last = feature_take_indices(self.num_maps, indices)
        whole = not stop_early or last == self.num_maps - 1
        intermediates = []
        for i, (name, module) in enumerate(self.named_children()):
            if name != "head" and (whole or i <= last + self.first_map):
                x = module(x)
            if i - self.first_map in take:
                intermediates.append(self._map(x))
        if intermediates_only:
            return intermediates
        return self._map(x), intermediates

    def _map(self, x: Any) -> torch.Tensor:
        """The feature map in what flows from child to child."""
        return x

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the feature maps ``indices`` do not need; return them as absolute indices.

        Args:
            indices: the last n maps if an int, otherwise which.
            prune_norm: remove ``final_conv`` too.
            prune_head: remove ``final_conv`` and the classifier.
        """
        take, last = feature_take_indices(self.num_maps, indices)
        stages = [name for name, module in self.named_children() if isinstance(module, Blocks)]
        unneeded = stages[last + self.first_map :]
        for name in unneeded:
            setattr(self, name, nn.Identity().train(self.training))
        has_final = not isinstance(self.final_conv, nn.Identity)
        if unneeded or prune_head or (prune_norm and has_final):
            self.final_conv = nn.Identity().train(self.training)
            self.num_features = self.feature_info[last]["num_chs"]
            # The head was sized for other features.
            StagedNet.reset_classifier(self, 0, "")
        return take

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_features, H/reduction, W/reduction)."""
        for name, module in self.named_children():
            if name != "head":
                x = module(x)
        return x

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """(N, num_features, h, w) → (N, num_classes), or with ``pre_logits`` (N, head_hidden_size)."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _init_weights(module: nn.Module) -> None:
    """The papers' initialization: normal, of variance 2/fan-out in convolutions and narrow in the classifier."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)

"""What ReXNet (plain) and ReXNet-lite share: stem, blocks in a row, head, and timm's contract over them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from timm.layers import ConvNormAct, SelectAdaptivePool2d
from timm.models import checkpoint, checkpoint_seq
from timm.models._features import feature_take_indices
from torch import nn

__all__ = ["Head", "Placement", "SequentialNet", "check_output_stride", "check_pool", "place"]

_OUTPUT_STRIDES = (8, 16, 32)
_PLAIN_POOLS = ("avg", "max", "avgmax", "catavgmax")
_POOLS = ("", *_PLAIN_POOLS, "fast", *(f"fast{pool}" for pool in _PLAIN_POOLS))


def check_output_stride(output_stride: int) -> None:
    """Raise ``ValueError`` unless ``output_stride`` is 8, 16 or 32."""
    if output_stride not in _OUTPUT_STRIDES:
        raise ValueError(f"output_stride must be one of {_OUTPUT_STRIDES}, not {output_stride!r}")


def check_pool(global_pool: str) -> None:
    """Raise ``ValueError`` unless timm has a pooling named ``global_pool``; '' is none."""
    if global_pool not in _POOLS:
        raise ValueError(f"global_pool must be one of {_POOLS}, not {global_pool!r}")


class Placement(NamedTuple):
    """How a block stands in a network of limited output stride."""

    stride: int
    dilation: int
    reduction: int  # input side over the side of the block's output
    ends_stage: bool  # the last block at its nominal resolution


def place(strides: Sequence[int], output_stride: int = 32, stem_stride: int = 2) -> list[Placement]:
    """Turn the strides beyond ``output_stride`` into dilation of the blocks that follow them.

    Args:
        strides: nominal stride of each block.
        output_stride: 8, 16 or 32.
        stem_stride: stride before the first block.

    Raises:
        ValueError: another output stride.
    """
    check_output_stride(output_stride)
    placements = []
    reduction, dilation = stem_stride, 1
    for stride, following in zip(strides, [*strides[1:], 2], strict=True):
        current = dilation
        if stride > 1 and reduction >= output_stride:
            dilation *= stride
            stride = 1
        reduction *= stride
        placements.append(Placement(stride, current, reduction, following > 1))
    return placements


class Head(nn.Module):
    """Pooling, hidden layer if asked for (1×1 convolution with bias, BatchNorm, ReLU6), dropout, classifier.

    (N, in_features, H, W) → (N, num_classes), or (N, num_classes, H, W) without pooling. ``num_classes=0``
    leaves the classifier out.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        pool_type: str = "avg",
        drop_rate: float = 0.0,
        hidden_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_pool(pool_type)
        dd = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.hidden_size = hidden_size
        self.global_pool = SelectAdaptivePool2d(pool_type=pool_type)
        self.hidden: nn.Module = nn.Identity()
        if hidden_size:
            pooled = in_features * self.global_pool.feat_mult()
            # A convolution rather than a linear layer, so that it serves with and without pooling.
            self.hidden = ConvNormAct(pooled, hidden_size, 1, bias=True, act_layer="relu6", **dd)
        self.flatten: nn.Module = nn.Identity()
        self.drop = nn.Dropout(drop_rate)
        self.fc: nn.Module = nn.Identity()
        self.num_features = in_features  # of the pre-logits; set by reset
        self.reset(num_classes, **dd)

    def reset(self, num_classes: int, pool_type: str | None = None, device: Any = None, dtype: Any = None) -> None:
        """Replace the classifier, and the pooling unless ``pool_type`` is None. The hidden layer stays.

        Raises:
            ValueError: unknown pooling, or one of another width than the hidden layer takes.
        """
        if pool_type is not None:
            check_pool(pool_type)
            pool = SelectAdaptivePool2d(pool_type=pool_type)
            if self.hidden_size and pool.feat_mult() != self.global_pool.feat_mult():
                raise ValueError(
                    f"global_pool={pool_type!r} gives {self.in_features * pool.feat_mult()} channels, the hidden "
                    f"layer takes {self.hidden.in_channels}; give it when the model is built"
                )
            self.global_pool = pool.train(self.training)
        pooled = not self.global_pool.is_identity()
        self.num_features = self.hidden_size or self.in_features * self.global_pool.feat_mult()
        self.flatten = (nn.Flatten(1) if pooled else nn.Identity()).train(self.training)
        fc: nn.Module = nn.Identity()
        if num_classes > 0:
            dd = {"device": device, "dtype": dtype}
            if pooled:
                fc = nn.Linear(self.num_features, num_classes, **dd)
            else:
                fc = nn.Conv2d(self.num_features, num_classes, 1, **dd)
            _init_weights(fc)
        self.fc = fc.train(self.training)

    def forward(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = self.global_pool(x)
        x = self.hidden(x)
        x = self.flatten(x)
        x = self.drop(x)
        return x if pre_logits else self.fc(x)


class SequentialNet(nn.Module):
    """A stem, blocks in sequence and a head, with timm's contract over them.

    Feature maps are the outputs of the blocks that end a stage (``Placement.ends_stage``).
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Sequence[nn.Module],
        widths: Sequence[int],
        placements: Sequence[Placement],
        *,
        final: nn.Module | None = None,
        num_features: int,
        hidden_size: int = 0,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        """
        Args:
            stem: (N, in_chans, H, W) → (N, ·, H/2, W/2).
            blocks: one module per entry of ``placements``.
            widths: output channels of each block.
            placements: from ``place``.
            final: what follows the last block and gives no feature map of its own.
            num_features: output channels of ``final``, or of the last block where there is none.
            hidden_size: width of the head's hidden layer, 0 for none.
            in_chans: channels of the image.
            num_classes: width of the classifier, 0 for none.
            global_pool: timm's name of the pooling, '' for none.
            drop_rate: dropout before the classifier.
            device: of the parameters.
            dtype: of the parameters.

        Raises:
            ValueError: unknown pooling.
        """
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.stem = stem
        self.features = nn.Sequential(*blocks, *([final] if final is not None else []))
        self.stage_ends = [i for i, placed in enumerate(placements) if placed.ends_stage]
        self.feature_info = [
            {"num_chs": widths[i], "reduction": placements[i].reduction, "module": f"features.{i}"}
            for i in self.stage_ends
        ]
        self.num_features = num_features
        self.head = Head(num_features, num_classes, global_pool, drop_rate, hidden_size, device, dtype)
        self.head_hidden_size = self.head.num_features
        for module in self.modules():
            _init_weights(module)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Patterns of timm's parameter groups: the stem, each block; the head is what remains."""
        return {"stem": r"^stem", "blocks": r"^features\.(\d+)"}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping what it computed."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The classifier, ``nn.Identity`` where there is none."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New classifier of ``num_classes`` (0: none), and new pooling unless ``global_pool`` is None.

        Raises:
            ValueError: unknown pooling, or one of another width than the hidden layer takes.
        """
        weight = next(self.stem.parameters())
        self.head.reset(num_classes, global_pool, device=weight.device, dtype=weight.dtype)
        self.num_classes = num_classes
        self.head_hidden_size = self.head.num_features

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Final features and feature maps.

        Args:
            x: (N, in_chans, H, W).
            indices: which feature maps: the last n (int), those numbered (list), all (None).
            norm: nothing here; part of timm's contract.
            stop_early: leave out the blocks after the last map asked for.
            output_fmt: 'NCHW' only.
            intermediates_only: return the feature maps alone.

        Returns:
            The maps, each (N, C, H/reduction, W/reduction) as in ``feature_info``; before them, unless
            ``intermediates_only``, the output of the last block that ran.
        """
        assert output_fmt in ("NCHW",), "output_fmt must be NCHW"
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        take_blocks = [self.stage_ends[i] for i in take_indices]
        last = self.stage_ends[max_index]

        x = self.stem(x)
        # What follows the last map belongs to the final features. TorchScript cannot slice modules.
        if torch.jit.is_scripting() or not stop_early or last == self.stage_ends[-1]:
            features = self.features
        else:
            features = self.features[: last + 1]
        intermediates = []
        for i, block in enumerate(features):
            x = block(x) if torch.jit.is_scripting() or not self.grad_checkpointing else checkpoint(block, x)
            if i in take_blocks:
                intermediates.append(x)
        if intermediates_only:
            return intermediates
        return x, intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the feature maps ``indices`` do not need.

        Args:
            indices: the last n (int), or those numbered (list).
            prune_norm: also remove what follows the last feature map.
            prune_head: also remove that and the head.

        Returns:
            Numbers of the maps kept.
        """
        take_indices, max_index = feature_take_indices(len(self.stage_ends), indices)
        last = self.stage_ends[max_index]
        cut = last + 1 < len(self.features) and (prune_norm or prune_head or last < self.stage_ends[-1])
        if cut:
            del self.features[last + 1 :]
            self.num_features = self.feature_info[max_index]["num_chs"]
        if cut or prune_head:
            # The head was made for the features that are gone.
            self.head = Head(self.num_features, 0, "", self.drop_rate).train(self.training)
            self.num_classes = 0
            self.head_hidden_size = self.num_features
        return take_indices

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """(N, in_chans, H, W) → (N, num_features, H/32, W/32)."""
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.features, x)
        return self.features(x)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """(N, num_features, H, W) → (N, num_classes); (N, head_hidden_size) with ``pre_logits``."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def _init_weights(module: nn.Module) -> None:
    # Variance 2/fan-out, the fan-out of a grouped convolution being that of one group.
    if isinstance(module, nn.Conv2d):
        fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)

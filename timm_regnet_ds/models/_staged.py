"""The network that most families here are: a stem, stages, a last convolution and a head, as a timm model.

A family subclasses `StagedNet` and implements ``make_body``; timm's contract (constructor arguments, classifier,
feature maps, checkpointing, pruning) is written here once.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from timm.layers import ClassifierHead, get_act_layer, get_norm_act_layer
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from torch import nn

from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.size_limit import MAX_WIDTH

__all__ = [
    "Body",
    "Stage",
    "StageBase",
    "StagedNet",
    "check_layer",
    "check_reducible",
    "classifier_head",
    "dilated_strides",
    "make_stages",
    "thirds",
]


class StageBase(nn.Module):
    """Blocks ``b1``, ``b2``, …, of which only the first may reduce the resolution.

    Args:
        blocks: the blocks.
        stride: stride of the first block.
        reduction: side of the images divided by the side of the stage's input.
    """

    def __init__(self, blocks: Sequence[nn.Module], stride: int = 1, reduction: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.min_side = reduction + 1
        self.grad_checkpointing = False
        for i, block in enumerate(blocks, 1):
            self.add_module(f"b{i}", block)


class Stage(StageBase):
    """A sequence of blocks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C_in, H, W) → (N, C_out, H/stride, W/stride)."""
        if self.stride > 1:
            check_reducible(x, self.min_side)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.children(), x)
        for block in self.children():
            x = block(x)
        return x


def check_layer(what: str, name: Any, get: Callable[[Any], Any]) -> None:
    """Raise a ValueError for the name of a layer that timm does not have.

    Args:
        what: how the error calls the layer.
        name: timm's name, or a class.
        get: timm's function that finds the layer.
    """
    try:
        exists = (isinstance(name, str) or callable(name)) and get(name) is not None
    except (KeyError, AssertionError):
        exists = False
    if not exists:
        raise ValueError(f"timm has no {what} {name!r}")


def check_reducible(x: torch.Tensor, min_side: int) -> None:
    """Raise a ValueError for a feature map whose side is 1: a stride cannot reduce it further.

    Args:
        x: (N, C, H, W).
        min_side: smallest side of the images that avoids the error.
    """
    if min(x.shape[-2], x.shape[-1]) < 2:
        raise ValueError(f"the image is too small for the strides: its sides must be at least {min_side}")


# torch.fx cannot trace a comparison of sizes, so the whole check becomes one node of its graph.
torch.fx.wrap("check_reducible")


def dilated_strides(strides: Sequence[int], stem_stride: int, output_stride: int | None) -> list[tuple[int, int, int]]:
    """(stride, dilation of the first block, dilation of the other blocks) of each stage.

    Args:
        strides: stride of each stage before dilation.
        stem_stride: stride of the stem.
        output_stride: strides beyond this reduction become dilation; ``None``: no dilation. 32, timm's default, is
            always allowed.

    Raises:
        ValueError: a reduction that no stage of the network has.
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


def make_stages(
    strides: Sequence[int],
    widths: Sequence[int],
    make_block: Callable[[int, int, int], nn.Module],
    output_stride: int | None,
    stem_stride: int = 2,
) -> tuple[list[StageBase], list[dict[str, Any]]]:
    """Stages and their ``feature_info``, from one stride and one width per block.

    Each block with a stride begins a new stage.

    Args:
        strides: stride of each block before dilation.
        widths: output channels of each block.
        make_block: makes block i, counted from 0, with a stride and a dilation.
        output_stride: strides beyond this reduction become dilation; ``None``: no dilation.
        stem_stride: stride of the stem.
    """
    starts = [i for i, stride in enumerate(strides) if stride > 1 or i == 0]
    dilated = dilated_strides([strides[i] for i in starts], stem_stride, output_stride)
    stages: list[StageBase] = []
    feature_info, reduction = [], stem_stride
    for start, end, (stride, first_dilation, dilation) in zip(
        starts, [*starts[1:], len(strides)], dilated, strict=True
    ):
        first = make_block(start, stride, first_dilation)
        stages.append(Stage([first, *(make_block(i, 1, dilation) for i in range(start + 1, end))], stride, reduction))
        reduction *= stride
        feature_info.append({"num_chs": widths[end - 1], "reduction": reduction, "module": f"s{len(stages)}"})
    return stages, feature_info


def thirds(depth: int) -> tuple[int, int]:
    """Indices of the blocks or cells at a third and at two thirds of the depth."""
    return depth // 3, 2 * depth // 3


def classifier_head(num_features: int, num_classes: int, pool_type: str, drop_rate: float, **dd: Any) -> ClassifierHead:
    """timm's head. Without pooling, its classifier is a 1×1 convolution applied at every position of the map."""
    return ClassifierHead(num_features, num_classes, pool_type, drop_rate, use_conv=not pool_type, **dd)


class Body(NamedTuple):
    """A network without its head.

    Args:
        stem: (N, in_chans, H, W) → (N, stem_width, H/stem_stride, W/stem_stride).
        stages: they follow the stem, one after the other.
        final_conv: follows the last stage; its output is not a feature map of ``feature_info``.
        feature_info: timm's description of the feature maps: the output of each stage, before it optionally that of
            the stem.
        num_features: channels after ``final_conv``.
    """

    stem: nn.Module
    stages: Sequence[StageBase]
    final_conv: nn.Module
    feature_info: list[dict[str, Any]]
    num_features: int


class StagedNet(nn.Module):
    """A timm model with children ``stem``, ``s1``, ``s2``, …, ``final_conv`` and ``head``.

    (N, in_chans, H, W) → (N, num_classes).

    Args:
        cfg: the network.
        num_classes: outputs of the classifier; 0: no classifier.
        in_chans: channels of the images.
        global_pool: timm's name of a pooling; '': no pooling.
        output_stride: largest reduction; strides beyond it become dilation. ``None``: the network's own.
        drop_rate: dropout before the classifier. ``None``: the family's default.
        drop_path_rate: stochastic depth; each family says how the rate depends on the block.
        act_layer, norm_layer: timm's name of a layer, or a class, in place of the family's activations and
            normalizations. ``None``: the family's own.
        device, dtype: of the parameters.

    Raises:
        ValueError: a value that the network does not allow, or in ``forward`` an image too small for the strides.
    """

    default_drop_rate = 0.0

    def __init__(
        self,
        cfg: Any,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        output_stride: int | None = None,
        drop_rate: float | None = None,
        drop_path_rate: float = 0.0,
        act_layer: Any = None,
        norm_layer: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        check_float("drop_path_rate", drop_path_rate, minimum=0, maximum=1)
        check_int("num_classes", num_classes, minimum=0, maximum=MAX_WIDTH)
        check_int("in_chans", in_chans, maximum=MAX_WIDTH)
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        if act_layer is not None:
            check_layer("act_layer", act_layer, get_act_layer)
        if norm_layer is not None:
            check_layer("norm_layer", norm_layer, get_norm_act_layer)
        self._act_layer, self._norm_layer = act_layer, norm_layer
        body = self.make_body(cfg, in_chans, output_stride, drop_path_rate, **dd)
        self.cfg = cfg
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = self.default_drop_rate if drop_rate is None else drop_rate
        self.num_features = body.num_features
        self.feature_info = body.feature_info
        self.num_maps = len(body.feature_info)
        # Index of the child whose output is the first feature map: 0 is the stem.
        self.first_feature_child = len(body.stages) + 1 - self.num_maps

        self.stem = body.stem
        for i, stage in enumerate(body.stages, 1):
            self.add_module(f"s{i}", stage)
        self.final_conv = body.final_conv
        self.head = self.make_head(cfg, body.num_features, num_classes, global_pool, **dd)
        self.head_hidden_size = self._head_width()
        for module in self.modules():
            self.initialize(module)

    def layers(self, act_layer: str) -> dict[str, Any]:
        """``act_layer`` and ``norm_layer`` for timm's layers: the caller's, or else the family's activation and BN."""
        norm = {} if self._norm_layer is None else {"norm_layer": self._norm_layer}
        return {"act_layer": act_layer if self._act_layer is None else get_act_layer(self._act_layer), **norm}

    def initialize(self, module: nn.Module) -> None:
        """The papers' initialization: zero mean; variance 2/fan-out in convolutions, 0.01² in the classifier."""
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        else:
            return
        if module.bias is not None:
            nn.init.zeros_(module.bias)

    def make_body(self, cfg: Any, in_chans: int, output_stride: int | None, drop_path_rate: float, **dd: Any) -> Body:
        """The stem, stages and last convolution of a config; ``dd`` are the device and dtype."""
        raise NotImplementedError

    def make_head(self, cfg: Any, num_features: int, num_classes: int, global_pool: str, **dd: Any) -> nn.Module:
        """The pooling and classifier of a config."""
        return classifier_head(num_features, num_classes, global_pool, self.drop_rate, **dd)

    def _head_width(self) -> int:
        head: Any = self.head
        return int(self.num_features * head.global_pool.feat_mult())

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Regular expressions that group the parameters by depth, for layer decay."""
        return {"stem": r"^stem", "blocks": r"^s(\d+)" if coarse else r"^s(\d+)\.b(\d+)"}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the activations of the stages in the backward pass instead of storing them."""
        for module in self.children():
            if isinstance(module, StageBase):
                module.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The last linear layer, or ``nn.Identity`` if the model has no classifier."""
        head: Any = self.head
        classifier: nn.Module = head.fc
        return classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling if ``global_pool`` is not ``None``."""
        stem: Any = self.stem
        head: Any = self.head
        weight = stem.conv.weight
        pool_type = head.global_pool.pool_type if global_pool is None else global_pool
        # Before timm 1.0.29, `ClassifierHead.reset` keeps neither device nor dtype.
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
            indices: which maps; an int n: the last n; ``None``: all.
            norm: no effect, since every map is already normalized.
            stop_early: run no layer after the last map of ``indices``, unless that is the last map of the network.
            output_fmt: ``NCHW``.
            intermediates_only: do not return the final features.

        Raises:
            ValueError: another ``output_fmt``, or an image too small for the strides.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt}")
        take, last = feature_take_indices(self.num_maps, indices)
        run_all = not stop_early or last == self.num_maps - 1
        intermediates = []
        for i, (name, module) in enumerate(self.named_children()):
            if name != "head" and (run_all or i <= last + self.first_feature_child):
                x = module(x)
            if i - self.first_feature_child in take:
                intermediates.append(self._feature_map(x))
        if intermediates_only:
            return intermediates
        return self._feature_map(x), intermediates

    def _feature_map(self, x: Any) -> torch.Tensor:
        """The feature map in what one child passes to the next."""
        return x

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the layers that the feature maps ``indices`` do not need; return the indices of these maps.

        Args:
            indices: which maps; an int n: the last n.
            prune_norm: remove ``final_conv`` too.
            prune_head: remove ``final_conv`` and the classifier.
        """
        take, last = feature_take_indices(self.num_maps, indices)
        stages = [name for name, module in self.named_children() if isinstance(module, StageBase)]
        unneeded = stages[last + self.first_feature_child :]
        for name in unneeded:
            setattr(self, name, nn.Identity().train(self.training))
        has_final = not isinstance(self.final_conv, nn.Identity)
        if unneeded or prune_head or (prune_norm and has_final):
            self.final_conv = nn.Identity().train(self.training)
            self.num_features = self.feature_info[last]["num_chs"]
            # The old head takes another number of channels.
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
        """(N, in_chans, H, W) → (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

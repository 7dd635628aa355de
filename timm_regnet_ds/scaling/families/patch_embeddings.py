"""Patch embeddings made of convolutions, which timm's entrypoints pass to vision transformers as finished modules."""

from dataclasses import dataclass, replace
from functools import partial
from statistics import geometric_mean
from typing import Any

from timm.layers import HybridEmbed, StdConv2dSame
from timm.models import FeatureListNet, create_model
from timm.models.resnetv2 import ResNetV2, create_resnetv2_stem
from timm.models.vision_transformer_hybrid import ConvStem
from timm.models.vitamin import MbConvStages, VitCfg
from torch import nn

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .rules import Args, Depth
from .wrappers import WRAPPERS, Wrapper

__all__ = ["Convolutions", "convolutions_depths", "convolutions_width", "deeper_convolutions", "wider_convolutions"]


@dataclass(frozen=True)
class Convolutions:
    """A patch embedding made of convolutions.

    timm's entrypoints pass the finished module; this describes it, so that it can be rebuilt with other depths and
    widths.

    Attributes:
        kind: class of the module with the convolutions.
        layers: numbers of blocks of the stages.
        widths: channels of the stem and of each stage, except the last stage if no projection follows it.
        stride: product of all strides.
        proj: whether a projection to the width of the transformer follows.
        name: registered name of the ResNet, if the embedding is a timm ResNet's feature map.
    """

    kind: type[nn.Module]
    layers: tuple[int, ...]
    widths: tuple[int, ...]
    stride: int
    proj: bool
    name: str = ""

    @classmethod
    def of(cls, args: Args) -> "Convolutions | None":
        """Describe the embedding of a vision transformer; None if it is not made of convolutions of a known kind."""
        embed = args["embed_layer"]
        if isinstance(embed, cls):
            return embed
        if not isinstance(embed, partial) or "backbone" not in embed.keywords:
            return None
        net: Any = embed.keywords["backbone"]
        made = partial(cls, type(net), proj=embed.keywords.get("proj", True))
        if isinstance(net, ResNetV2):
            *_, last = infos = net.feature_info
            return made(tuple(len(s.blocks) for s in net.stages), tuple(i["num_chs"] for i in infos), last["reduction"])
        if isinstance(net, FeatureListNet):
            stages = [stage for name, stage in net.items() if name.startswith("layer")]
            widths = (net["conv1"][0].out_channels, *(stage[0].conv1.out_channels for stage in stages))
            name = net.pretrained_cfg["architecture"]
            return made(tuple(map(len, stages)), widths, net.feature_info.reduction()[-1], name=name)
        if isinstance(net, MbConvStages):
            return made(tuple(map(len, net.stages)), (net.stem.out_chs, *(s[0].out_chs for s in net.stages)), 16)
        if isinstance(net, ConvStem):
            return made((), tuple(layer.conv.out_channels for layer in [*net][:-1]), 16)
        stem = getattr(net, "conv", None)  # of create_resnetv2_stem
        return made((), (stem.out_channels,), 4) if isinstance(stem, StdConv2dSame) else None

    def __call__(
        self, *, in_chans: int, embed_dim: int, device: Any = None, dtype: Any = None, **kwargs: Any
    ) -> nn.Module:
        dd = {"device": device, "dtype": dtype}
        stem, *widths = self.widths
        resnet = {"stem_type": "same", "preact": False, "conv_layer": partial(StdConv2dSame, eps=1e-8), **dd}
        net: nn.Module
        if self.kind is ResNetV2:
            net = ResNetV2(self.layers, widths, 0, in_chans, "", stem_chs=stem, **resnet)
        elif self.kind is FeatureListNet:
            sizes = {"layers": self.layers, "channels": widths, "stem_width": stem}
            net = create_model(
                self.name, features_only=True, out_indices=[len(widths)], in_chans=in_chans, **sizes, **dd
            )
        elif self.kind is MbConvStages:
            net = MbConvStages(VitCfg((*widths, embed_dim), (*self.layers, 1), stem), in_chans=in_chans, **dd)
        elif self.kind is ConvStem:
            sizes = {"kernel_size": (4, 2, 2), "stride": (4, 2, 2), "padding": 0, "act_layer": nn.GELU}
            net = ConvStem(in_chans, channels=(stem, *widths, embed_dim), **sizes, **dd)
        else:
            net = create_resnetv2_stem(in_chans, stem, **resnet)
        return HybridEmbed(net, proj=self.proj, in_chans=in_chans, embed_dim=embed_dim, **kwargs, **dd)


WRAPPERS["convolutions"] = Wrapper(Convolutions, Convolutions.of)


def deeper_convolutions(args: Args, by: Multipliers) -> Args:
    """Scale the depths of the embedding's stages."""
    found = Convolutions.of(args)
    if by.depth == 1 or not found:
        return args
    return {**args, "embed_layer": replace(found, layers=Depth("layers").scale({"layers": found.layers}, by)["layers"])}


def wider_convolutions(args: Args, by: Multipliers) -> Args:
    """Scale the widths of the embedding's stem and stages."""
    found = Convolutions.of(args)
    if by.width == 1 or not found:
        return args
    # GroupNorm has 32 groups, also inside bottlenecks, which have a quarter of the width.
    stem, stage = (32, 128) if found.kind in (ResNetV2, nn.Sequential) else (8, 8)
    widths = [nearest_multiple(w * by.width, stage if i else stem) for i, w in enumerate(found.widths)]
    return {**args, "embed_layer": replace(found, widths=tuple(widths))}


def convolutions_depths(args: Args) -> list[float]:
    """Return the numbers of blocks of the embedding's stages."""
    return list(getattr(Convolutions.of(args), "layers", ()))


def convolutions_width(args: Args) -> list[float]:
    """Return one width, so that it counts as much as the transformer's; none for a stem alone, which has few flops."""
    found = Convolutions.of(args)
    return [geometric_mean(found.widths)] if found and found.layers else []

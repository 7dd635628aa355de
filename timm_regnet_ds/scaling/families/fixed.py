"""Networks whose structure is hard-coded, with few or no arguments to scale."""

from .rules import Width
from .specs import SPECS, ScalingSpec

_HARD_CODED = {"depth": "its blocks are hard-coded in its class", "width": "its channels are hard-coded in its class"}

SPECS |= {
    "inception_v3.InceptionV3": ScalingSpec(why_fixed=_HARD_CODED),
    "inception_v4.InceptionV4": ScalingSpec(why_fixed=_HARD_CODED),
    "inception_resnet_v2.InceptionResnetV2": ScalingSpec(why_fixed=_HARD_CODED),
    "xception.Xception": ScalingSpec(why_fixed=_HARD_CODED),
    "nasnet.NASNetALarge": ScalingSpec(
        width=(Width("num_features", 8 * 24), Width("stem_size")), why_fixed=_HARD_CODED
    ),
    "pnasnet.PNASNet5Large": ScalingSpec(why_fixed=_HARD_CODED),
}

"""Networks that have their structure in code."""

from .axes import AXES, Axes
from .rules import Width

_IN_CODE = {"depth": "its class has its blocks in code", "width": "its class has its channels in code"}

AXES |= {
    "inception_v3.InceptionV3": Axes(missing=_IN_CODE),
    "inception_v4.InceptionV4": Axes(missing=_IN_CODE),
    "inception_resnet_v2.InceptionResnetV2": Axes(missing=_IN_CODE),
    "xception.Xception": Axes(missing=_IN_CODE),
    "nasnet.NASNetALarge": Axes(width=(Width("num_features", 8 * 24), Width("stem_size")), missing=_IN_CODE),
    "pnasnet.PNASNet5Large": Axes(missing=_IN_CODE),
}

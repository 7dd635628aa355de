"""Times as the papers print them, in milliseconds on their devices."""

from typing import Any, NamedTuple

__all__ = ["BUILT_FROM", "INFERENCE_V100", "REXNET", "REXNET_LITE", "TRAINING_V100", "RexnetTimes"]

_IMAGES = 1_281_167  # in ImageNet's training set
_GPUS = 8


def _epoch(minutes: float) -> float:
    """Milliseconds per image on one GPU, from the minutes of an epoch on eight."""
    return minutes * 60e3 * _GPUS / _IMAGES


# Fast and Accurate Model Scaling, Tables 5, 6 and 8: minutes of a training epoch on eight V100 with the largest batch,
# here as milliseconds per image on one.
TRAINING_V100 = {
    name: _epoch(minutes)
    for name, minutes in {
        "efficientnet_b0": 2.8,
        "efficientnet_b1": 4.6,
        "efficientnet_b2": 5.9,
        "efficientnet_b3": 9.5,
        "efficientnet_b4": 19.2,
        "efficientnet_b5": 40.8,
        "efficientnet_b0_dWr_4gf": 11.1,
        "efficientnet_b0_dWr_16gf": 25.8,
        "regnety_500mf": 2.3,
        "regnety_500mf_dWr_4gf": 7.2,
        "regnety_500mf_dWr_16gf": 17.8,
        "regnetz_500mf": 3.1,
        "regnetz_500mf_dWr_4gf": 10.5,
        "regnetz_500mf_dWr_16gf": 29.4,
        "regnetz_4gf": 11.7,
        "regnetz_4gf_dWr_16gf": 33.2,
        "resnet50": 3.5,
        "resnext50_32x4d": 5.8,
    }.items()
}

# Designing Network Design Spaces, Figures 11 and 12, Tables 3 and 4: milliseconds for 64 images on a V100,
# here per image.
INFERENCE_V100 = {
    name: milliseconds / 64
    for name, milliseconds in {
        "regnetx_200mf": 10,
        "regnetx_400mf": 15,
        "regnetx_600mf": 17,
        "regnetx_800mf": 21,
        "regnetx_1_6gf": 33,
        "regnetx_3_2gf": 57,
        "regnetx_4gf": 69,
        "regnetx_6_4gf": 92,
        "regnetx_8gf": 94,
        "regnetx_12gf": 137,
        "regnetx_16gf": 168,
        "regnetx_32gf": 318,
        "regnety_200mf": 11,
        "regnety_400mf": 19,
        "regnety_600mf": 19,
        "regnety_800mf": 22,
        "regnety_1_6gf": 39,
        "regnety_3_2gf": 67,
        "regnety_4gf": 68,
        "regnety_6_4gf": 104,
        "regnety_8gf": 113,
        "regnety_12gf": 150,
        "regnety_16gf": 189,
        "regnety_32gf": 319,
        "resnet50": 53,
        "resnet101": 90,
        "resnet152": 130,
        "resnext50_32x4d": 78,
        "resnext101_32x4d": 137,
        "resnext152_32x4d": 197,
        "efficientnet_b0": 34,
        "efficientnet_b1": 52,
        "efficientnet_b2": 68,
        "efficientnet_b3": 114,
        "efficientnet_b4": 240,
        "efficientnet_b5": 504,
    }.items()
}

# Models without a name in timm: the name and the arguments with which ``timm.create_model`` builds them.
BUILT_FROM: dict[str, tuple[str, dict[str, Any]]] = {
    "resnext152_32x4d": ("resnext101_32x4d", {"layers": [3, 8, 36, 3]})
}


class RexnetTimes(NamedTuple):
    """Milliseconds for one image on a Xeon E5-2630, and for 64 images on a V100 in float32 and in float16."""

    cpu: float
    gpu: float
    gpu_fp16: float | None = None


# Rethinking Channel Dimensions for Efficient Model Design, Tables 5 and A1.
REXNET = {
    "rexnet_plain": RexnetTimes(22, 10),
    "rexnet_090": RexnetTimes(46, 20),
    "rexnet_100": RexnetTimes(47, 21),
    "rexnet_110": RexnetTimes(51, 24),
    "rexnet_120": RexnetTimes(53, 26),
    "rexnet_130": RexnetTimes(55, 28),
    "rexnet_140": RexnetTimes(57, 30),
    "rexnet_150": RexnetTimes(59, 31),
    "rexnet_200": RexnetTimes(69, 40),
    "rexnet_220": RexnetTimes(73, 46),
    "rexnet_300": RexnetTimes(96, 61),
    "efficientnet_b0": RexnetTimes(47, 23),
    "efficientnet_b1": RexnetTimes(70, 37),
    "efficientnet_b2": RexnetTimes(77, 48),
    "efficientnet_b3": RexnetTimes(100, 78),
}

# The same, Table A2.
REXNET_LITE = {
    "rexnet_lite_100": RexnetTimes(31, 22, 14),
    "rexnet_lite_130": RexnetTimes(36, 28, 18),
    "rexnet_lite_150": RexnetTimes(39, 33, 20),
    "rexnet_lite_200": RexnetTimes(49, 46, 26),
    "efficientnet_lite0": RexnetTimes(30, 21, 15),
    "efficientnet_lite1": RexnetTimes(44, 32, 22),
    "efficientnet_lite2": RexnetTimes(48, 41, 29),
    "efficientnet_lite3": RexnetTimes(60, 58, 42),
}

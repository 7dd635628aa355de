"""The cheapest architecture of each of timm's model classes, from docs/coverage.csv."""

import csv
from pathlib import Path
from typing import Any

import timm

import timm_regnet_ds as trd


def _images(side: int) -> dict[str, Any]:
    return {"pretrained_cfg_overlay": {"input_size": (3, side, side)}}


# Arguments that make these quick to run and small in memory; the others run on images of half their side.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 3, "img_size": 112, "embed_dim": 192, "num_heads": 3},
    "cait_xxs24_224": {"depth": 8, "img_size": 112},
    "davit_tiny": {"depths": (1, 1, 2, 1), "embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8), **_images(96)},
    "deepseek_vit_412m": {"depth": 4, "img_size": 84, "embed_dim": 512, "num_heads": 8},
    "deepseek_vit_412m_enc": {"depth": 4, "img_size": 84, "embed_dim": 512, "num_heads": 8},
    "efficientformer_l1": {"depths": (1, 1, 2, 2), "embed_dims": (24, 48, 112, 224)},
    "efficientvit_l1": {"widths": (8, 16, 32, 64, 128), "depths": (1, 1, 1, 2, 2), "head_widths": (256, 256)}
    | _images(96),
    "gemma4_vit_167m": {"depth": 4, "img_size": 96, "embed_dim": 256, "num_heads": 4},
    "gemma4_vit_167m_enc": {"depth": 4, "img_size": 96, "embed_dim": 256, "num_heads": 4},
    "hiera_tiny_224": {"embed_dim": 48, "stages": (1, 1, 2, 1)},
    "hieradet_small": _images(192),
    "levit_256d": {"img_size": 112, "embed_dim": (64, 96, 128), "depth": (2, 2, 2)},
    "mobilenetv5_base": {"channel_multiplier": 0.125, **_images(128)},
    "mobilenetv5_300m_enc": {"channel_multiplier": 0.125, **_images(128)},
    "naflexvit_base_patch16_gap": {"depth": 4, "embed_dim": 256, "num_heads": 4, **_images(64)},
    "nasnetalarge": _images(96),
    "pnasnet5large": _images(96),
    "qwen3_vit_88m": {"depth": 4, "img_size": 64, "embed_dim": 384, "num_heads": 6},
    "qwen3_vit_88m_enc": {"depth": 4, "img_size": 64, "embed_dim": 384, "num_heads": 6},
    "rdnet_tiny": {"num_init_features": 32, "growth_rates": (16, 26, 32, 32, 32, 32, 56), **_images(96)},
    "samvit_base_patch16_224": {"depth": 4, "embed_dim": 384, "num_heads": 6, "global_attn_indexes": [1, 3]},
    "sequencer2d_s": {"img_size": 112, "layers": (1, 1, 2, 1), "embed_dims": (48, 96, 96, 96)}
    | {"hidden_sizes": (12, 24, 24, 24)},
    "swin_tiny_patch4_window7_224": {"img_size": 112, "embed_dim": 64, "depths": (1, 1, 2, 1)}
    | {"num_heads": (2, 4, 8, 16)},
    "swinv2_cr_tiny_224": {"embed_dim": 64, "depths": (1, 1, 2, 1), "num_heads": (2, 4, 8, 16)},
    "swinv2_tiny_window8_256": {"img_size": 128, "embed_dim": 64, "depths": (1, 1, 2, 1), "num_heads": (2, 4, 8, 16)},
    "tnt_s_legacy_patch16_224": {"img_size": 112, "depth": 4, "embed_dim": 192, "num_heads_outer": 3},
    "tresnet_m": {"layers": [1, 1, 2, 1], "width_factor": 0.5, **_images(96)},
    "twins_svt_small": {"embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8), "depths": (2, 2, 2, 2)},
    "vgg11": {"mlp_ratio": 0.125, **_images(64)},
}

# These refuse half of their images' side, or are then too coarse to scale by 2.
_WHOLE_SIDE = {"efficientformerv2_s0", "gcvit_xxtiny", "mixer_s32_224", "test_coatnet"}

# Scaled by 2 it has maps of 24 channels, 24 by 24, which timm's own test takes for those of the other memory format.
MISTAKEN = "test_mambaout"

COVERAGE = Path(__file__).parent.parent / "docs" / "coverage.csv"


def rows() -> list[dict[str, str]]:
    """All rows of the table of what scales."""
    with COVERAGE.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cheapest() -> dict[str, str]:
    """Class → architecture that this timm has."""
    found: dict[str, dict[str, str]] = {}
    for row in rows():
        if row["architecture"] == MISTAKEN:
            continue
        best = found.get(row["class"])
        if timm.is_model(row["architecture"]) and (best is None or int(row["flops"]) < int(best["flops"])):
            found[row["class"]] = row
    return {name: row["architecture"] for name, row in sorted(found.items())}


def base_args(architecture: str) -> dict[str, Any]:
    """Arguments with which an architecture is quick to run."""
    if architecture in _ARGUMENTS:
        return _ARGUMENTS[architecture]
    if architecture in _WHOLE_SIDE:
        return {}
    cfg = timm.get_pretrained_cfg(architecture)
    side = cfg.input_size[1] // 2
    return {"img_size": side} if cfg.fixed_input_size else _images(max(side // 32 * 32, 96))


def scaled(architecture: str) -> trd.ScaledModel:
    """The architecture scaled by 2 with dWr, or with r if it has no depth or width to scale."""
    row = next(row for row in rows() if row["architecture"] == architecture)
    strategy = "dWr" if row["d"] == row["w"] == "1" else "r"
    return trd.scale(architecture, 2, strategy=strategy, base_args=base_args(architecture))

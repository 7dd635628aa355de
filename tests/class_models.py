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
    "beit_base_patch16_224": {"depth": 4, "img_size": 112, "embed_dim": 384, "num_heads": 6},
    "deepseek_vit_412m": {"depth": 4, "img_size": 84, "embed_dim": 512, "num_heads": 8},
    "deepseek_vit_412m_enc": {"depth": 4, "img_size": 84, "embed_dim": 512, "num_heads": 8},
    "gemma4_vit_167m": {"depth": 4, "img_size": 96, "embed_dim": 256, "num_heads": 4},
    "gemma4_vit_167m_enc": {"depth": 4, "img_size": 96, "embed_dim": 256, "num_heads": 4},
    "hieradet_small": _images(192),
    "mobilenetv5_base": {"channel_multiplier": 0.25, **_images(128)},
    "mobilenetv5_300m_enc": {"channel_multiplier": 0.25, **_images(128)},
    "naflexvit_base_patch16_gap": {"depth": 4, **_images(64)},
    "nasnetalarge": _images(96),
    "pnasnet5large": _images(96),
    "qwen3_vit_88m": {"depth": 4, "img_size": 64, "embed_dim": 384, "num_heads": 6},
    "qwen3_vit_88m_enc": {"depth": 4, "img_size": 64, "embed_dim": 384, "num_heads": 6},
    "samvit_base_patch16_224": {"depth": 4, "embed_dim": 384, "num_heads": 6, "global_attn_indexes": [1, 3]},
    "vgg11": {"mlp_ratio": 0.125, **_images(64)},
}

# These refuse half of their images' side, or are then too coarse to scale by 2.
_WHOLE_SIDE = {
    *("efficientformer_l1", "efficientformerv2_s0", "gcvit_xxtiny", "hiera_tiny_224", "mixer_s32_224"),
    "swinv2_cr_tiny_224",
    *("test_coatnet", "twins_svt_small"),
}

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

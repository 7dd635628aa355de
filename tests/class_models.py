"""The cheapest architecture of each of timm's model classes, from docs/coverage.csv."""

import csv
from pathlib import Path
from typing import Any

import timm

import timm_regnet_ds as trd


def _images(side: int) -> dict[str, Any]:
    return {"pretrained_cfg_overlay": {"input_size": (3, side, side)}}


# Arguments that make the largest of them quick to run.
SMALLER: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 4},
    "deepseek_vit_412m": {"depth": 4, "img_size": 84},
    "deepseek_vit_412m_enc": {"depth": 4, "img_size": 84},
    "gemma4_vit_167m": {"depth": 4, "img_size": 96},
    "gemma4_vit_167m_enc": {"depth": 4, "img_size": 96},
    "mobilenetv5_base": _images(128),
    "mobilenetv5_300m_enc": _images(128),
    "naflexvit_base_patch16_gap": _images(64),
    "qwen3_vit_88m": {"depth": 4, "img_size": 64},
    "qwen3_vit_88m_enc": {"depth": 4, "img_size": 64},
    "samvit_base_patch16_224": {"depth": 4, "global_attn_indexes": [1, 3]},
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


def scaled_by_2(architecture: str) -> trd.ScaledModel:
    """By dWr, or by what a model without depth or width allows."""
    row = next(row for row in rows() if row["architecture"] == architecture)
    strategy = "dWr" if row["d"] == row["w"] == "1" else "r"
    return trd.scale(architecture, 2, strategy=strategy, base_args=SMALLER.get(architecture))

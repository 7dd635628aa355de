"""The demo's parts at small size."""

import torch
from PIL import Image

from timm_regnet_ds.cli.demo import draw_strategies, measure_strategies, save_and_reload, train_on_digits

CPU = torch.device("cpu")


def test_strategies_are_measured_and_drawn(tmp_path):
    rows = measure_strategies(CPU, targets=("1gf",))
    assert [row.model for row in rows] == [
        "regnetz_500mf",
        *(f"regnetz_500mf_{s}_1gf" for s in ("w", "dw", "dwr", "dWr")),
    ]
    assert all(row.milliseconds > 0 for row in rows)
    acts = {row.strategy: row.complexity.acts for row in rows}
    # Fast and Accurate Model Scaling, Table 4: at equal flops, dwr has the most activations and w the fewest.
    assert acts["w"] < acts["dWr"] < acts["dwr"]
    picture = draw_strategies(rows, tmp_path / "strategies.png", CPU)
    assert Image.open(picture).size == (1200, 504)


def test_a_small_regnet_learns_digits_and_survives_saving(tmp_path):
    model, accuracy = train_on_digits(CPU, epochs=3)
    assert accuracy > 0.5
    assert save_and_reload(model, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").exists()

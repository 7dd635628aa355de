"""The demo at small size: fewer models, fewer epochs."""

import re

import pytest
import torch
from PIL import Image

from timm_regnet_ds.cli import demo


@pytest.mark.usefixtures("one_worker")
def test_the_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(demo, "TARGETS", ("1gf",))
    monkeypatch.setattr(demo, "EPOCHS", 2)
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    demo.demo("output")
    assert torch.get_num_threads() == threads

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.startswith("regnetz_500mf")]
    acts, milliseconds = ({row[0]: float(row[column]) for row in rows} for column in (4, 5))
    assert list(acts) == ["regnetz_500mf", *(f"regnetz_500mf_{s}_1gf" for s in ("w", "dw", "dwr", "dWr"))]
    # Fast and Accurate Model Scaling, Table 4: at equal flops, dwr has the most activations and w the fewest.
    assert acts["regnetz_500mf_w_1gf"] < acts["regnetz_500mf_dWr_1gf"] < acts["regnetz_500mf_dwr_1gf"]
    assert min(milliseconds.values()) > 0
    assert Image.open("output/strategies.png").size == (1200, 504)
    (accuracy,) = re.findall(r"^Accuracy [^:]*: ([\d.]+)%", "\n".join(lines), re.MULTILINE)
    assert float(accuracy) > 50
    assert lines[-1].endswith("logits equal")
    assert (tmp_path / "output" / "regnetx-digits" / "model.safetensors").exists()

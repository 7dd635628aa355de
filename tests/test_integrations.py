"""docs/integrations.md: each block of Python runs, if the package that it is about is installed."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parent.parent / "docs" / "integrations.md").read_text(encoding="utf-8")
BLOCKS = {
    title: re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for title, text in re.findall(r"^## (.*?)$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(code):
    session: dict[str, object] = {}
    exec(code, session)
    return session


def shapes(maps):
    return [tuple(x.shape) for x in maps]


def test_every_block_has_a_test():
    assert {title: len(blocks) for title, blocks in BLOCKS.items() if blocks} == {
        "torchvision's detectors": 2,
        "segmentation_models_pytorch": 1,
        "Lightning": 1,
        "transformers": 1,
        "Quantisation (PT2E)": 1,
    }


def test_torchvisions_faster_rcnn():
    pytest.importorskip("torchvision")
    session = run(BLOCKS["torchvision's detectors"][0])
    assert session["boxes"].ndim == 2
    assert session["boxes"].shape[1] == 4
    assert session["backbone"].body.feature_info.reduction()[-1] > session["backbone"].body.feature_info.reduction()[0]


def test_an_ssdlite_head():
    outputs = run(BLOCKS["torchvision's detectors"][1])["outputs"]
    assert shapes(outputs) == [(1, 42, 6, 6), (1, 42, 3, 3)]


def test_encoders_of_segmentation_models_pytorch():
    smp = pytest.importorskip("segmentation_models_pytorch")
    session = run(BLOCKS["segmentation_models_pytorch"][0])
    assert shapes(session["masks"]) == [(1, 2, 64, 64)] * 5
    # What the page says that it does not take.
    for name, arguments, message in (
        ("scaled", {"base": "resnet10t", "factor": 2.0, "strategy": "dw"}, "scaled needs base="),
        ("regnet", {"depth": 4, "w0": 16, "wa": 12.0, "wm": 2.0}, "multiple values for keyword argument 'depth'"),
        ("channelnet", {}, "3 feature maps"),
        ("nas_cell", {}, "Unsupported model downsampling pattern"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            smp.Unet(f"tu-{name}", encoder_weights=None, **arguments)


@pytest.mark.filterwarnings("ignore")
def test_lightning():
    pytest.importorskip("lightning")
    session = run(BLOCKS["Lightning"][0])
    assert session["trainer"].global_step == 4
    one, other = (session[name].model.state_dict() for name in ("classifier", "again"))
    assert one.keys() == other.keys()
    assert all(bool((one[key] == other[key]).all()) for key in one)


@pytest.mark.filterwarnings("ignore")
def test_backbones_of_transformers():
    pytest.importorskip("transformers")
    session = run(BLOCKS["transformers"][0])
    assert shapes(session["maps"]) == [(1, 40, 8, 8), (1, 104, 4, 4), (1, 256, 2, 2)]
    assert session["untrained"].channels == [64, 128, 256, 512]
    weights, saved = (session[name] for name in ("backbone", "saved"))
    assert (weights.state_dict()["_backbone.stem.conv.weight"] == saved.stem.conv.weight).all()


@pytest.mark.filterwarnings("ignore")
def test_quantisation():
    if not any(importlib.util.find_spec(name) for name in ("torchao", "torch.ao.quantization.quantize_pt2e")):
        pytest.skip("neither torchao is installed nor has this torch the same modules")
    session = run(BLOCKS["Quantisation (PT2E)"][0])
    assert 0 < float(session["error"]) < 0.3
    operators = [str(node.target) for node in session["quantized"].graph.nodes]
    layers = [m for m in session["model"].modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert sum("dequantize_per_channel" in name for name in operators) == len(layers)

"""The commands ``grow`` and ``shrink``, from checkpoints of timm to models that timm loads."""

import argparse
import json

import pytest
import safetensors.torch
import timm
import torch
from timm.models import save_for_hf

from timm_regnet_ds.cli import main
from timm_regnet_ds.training.checkpoints import model_of, read_checkpoint

BASE = "test_resnet"
ARGS = {"num_classes": 4}


class Planted:
    """An object that no checkpoint has to hold."""


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return timm.create_model(BASE, **ARGS).eval()


@pytest.fixture(scope="module")
def checkpoints(base, tmp_path_factory):
    """A folder of save_for_hf, a checkpoint of train.py, bare weights, and files that are none of these."""
    at = tmp_path_factory.mktemp("checkpoints")
    save_for_hf(base, str(at / "folder"), model_args=ARGS, safe_serialization=True)
    state = base.state_dict()
    averaged = {key: value * 2 if value.is_floating_point() else value for key, value in state.items()}
    options = argparse.Namespace(model=BASE, **ARGS, in_chans=None, img_size=None, gp=None, model_kwargs={}, lr=0.1)
    trained = {"epoch": 3, "arch": BASE, "args": options, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(trained | {"state_dict_ema": averaged}, at / "last.pth.tar")
    torch.save(state, at / "bare.pth")
    safetensors.torch.save_file(state, at / "bare.safetensors")
    torch.save({"state_dict": state, "extra": Planted()}, at / "objects.pth")
    torch.save({"epoch": 1}, at / "empty.pth")
    (at / "broken.pth").write_bytes(b"no checkpoint")
    (at / "broken.safetensors").write_bytes(b"no checkpoint")
    return at


def outputs(model, size=160):
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(x)


def test_grow_a_folder(base, checkpoints, tmp_path, capsys):
    out = tmp_path / "big"
    arguments = ["--factor", "4", "--strategy", "dw", "--inherit-exactly", "--exact", "--output", str(out)]
    assert main(["grow", str(checkpoints / "folder"), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    labels = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert labels == ["base", "scaled", "weights", "parameters", "written", "load"]
    assert lines[2].split()[1] == "exact"
    model = timm.create_model(f"local-dir:{out}", pretrained=True)
    assert sum(p.numel() for p in model.parameters()) > 2 * sum(p.numel() for p in base.parameters())
    assert torch.allclose(outputs(model), outputs(base), atol=1e-4)


@pytest.mark.parametrize("ema", [False, True])
def test_grow_a_checkpoint_of_train_py(base, checkpoints, tmp_path, capsys, ema):
    out = tmp_path / "big.safetensors"
    options = ["--factor", "2", "--strategy", "d", "--output", str(out), *([] if ema else ["--no-ema"])]
    assert main(["grow", str(checkpoints / "last.pth.tar"), *options]) == 0
    assert ("last.pth.tar, moving average: " in capsys.readouterr().out) == ema
    found = read_checkpoint(out)
    assert found.model == "scaled"
    assert model_of(found).num_classes == 4
    name, weight = next((key, p) for key, p in base.named_parameters() if p.ndim == 4)
    assert torch.equal(found.state[name], weight * (2 if ema else 1))


def test_grow_what_has_been_grown(checkpoints, tmp_path, capsys):
    first, second = str(tmp_path / "big.safetensors"), str(tmp_path / "bigger")
    bare = [
        "grow",
        str(checkpoints / "bare.pth"),
        "--model",
        BASE,
        "--model-kwargs",
        "num_classes=4",
        "--factor",
        "2",
        "--strategy",
        "d",
    ]
    assert main([*bare, "--output", first]) == 0
    assert main(["grow", first, "--factor", "2", "--strategy", "d", "--num-classes", "7", "--output", second]) == 0
    assert timm.create_model(f"local-dir:{second}", pretrained=True).num_classes == 7
    assert capsys.readouterr().out.count("exact") == 2


def test_shrink(checkpoints, tmp_path, capsys):
    out = tmp_path / "small"
    assert main(["shrink", str(checkpoints / "folder"), "--factor", "0.5", "--output", str(out)]) == 0
    printed = capsys.readouterr()
    assert "not exact" in printed.out
    assert "left out" in printed.out
    assert not printed.err
    assert all(len(line) <= 80 for line in printed.out.splitlines() if str(tmp_path) not in line)
    assert json.loads((out / "config.json").read_text())["num_classes"] == 4
    assert outputs(timm.create_model(f"local-dir:{out}", pretrained=True)).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grow", "none.pth", "--factor", "2"], "no checkpoint"),
        (["grow", "bare.pth", "--factor", "2"], "does not say which model it holds: --model NAME"),
        (["grow", "bare.safetensors", "--factor", "2", "--model", "test_resnett"], "did you mean 'test_resnet'"),
        (["grow", "folder", "--factor", "2", "--model-kwargs", "depth"], "takes KEY=VALUE"),
        (["grow", "folder", "--factor", "2", "--model-kwargs", "depth=1"], "cannot be built with these arguments"),
        (["grow", "folder", "--factor", "0.5"], "see 'shrink'"),
        (
            ["grow", "folder", "--factor", "2", "--num-classes", "-1"],
            "--num-classes must be a whole number of at least 0",
        ),
        (["shrink", "folder", "--to", "900gf"], "see 'grow'"),
        (["grow", "folder"], "a factor or a target is needed"),
        (["grow", "objects.pth", "--factor", "2"], "more than tensors and plain values"),
        (["grow", "empty.pth", "--factor", "2"], "holds no state dict"),
        (["grow", "broken.pth", "--factor", "2"], "not a complete checkpoint"),
        (["grow", "broken.safetensors", "--factor", "2"], "not a complete safetensors file"),
    ],
)
def test_wrong_input_is_one_line(checkpoints, tmp_path, capsys, arguments, message):
    command, name, *options = arguments
    out = tmp_path / "out"
    assert main([command, str(checkpoints / name), *options, "--output", str(out)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error
    assert not out.exists()


def test_nothing_is_overwritten(checkpoints, tmp_path, capsys):
    assert main(["grow", str(checkpoints / "folder"), "--factor", "2", "--output", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err

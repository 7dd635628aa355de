"""``timm-regnet-ds push`` and ``pull`` through huggingface_hub's client; models for timm alone and for transformers."""

import argparse
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml
from full_disk import files_of_at_most
from hub_server import Hub
from safetensors.torch import save_file

from timm_regnet_ds.cli import main
from timm_regnet_ds.latency.cards import card
from timm_regnet_ds.training.checkpoints import model_of, read_checkpoint
from timm_regnet_ds.training.hub import save_for_hub
from timm_regnet_ds.training.recipes import recipe_path
from timm_regnet_ds.training.stock import stock_model

SCALED = {"base": "test_resnet", "factor": 2.0, "strategy": "dw"}
KWARGS = ["--model-kwargs", "num_classes=3"]
STATED = ["--dataset", "fashion_mnist", "--accuracy", "91% top-1", "--command", "python validate.py images"]


def trained(name, seed=0, **args):
    """A model whose weights and statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **args)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def logits(model):
    with torch.no_grad():
        return model(images())


class Evil:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints, and the models that they hold."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = trained("scaled", **SCALED, num_classes=4)
    options = argparse.Namespace(
        **yaml.safe_load(recipe_path("small_images").read_text(encoding="utf-8"))
        | {"model": "scaled", "model_kwargs": SCALED, "num_classes": 4, "img_size": 64, "input_size": None}
    )
    content = {"epoch": 3, "arch": "scaled", "state_dict": model.state_dict(), "args": options, "optimizer": {}}
    torch.save(content, folder / "last.pth.tar")
    evil = {"state_dict": model.state_dict(), "arch": "scaled", "args": options, "hook": Evil(folder / "executed")}
    torch.save(evil, folder / "evil.pth.tar")
    regnet = trained("regnetx_200mf", seed=1, num_classes=3)
    save_file(regnet.state_dict(), folder / "regnet.safetensors")
    return folder, model, regnet


# Each step is a command, or faults for the server. `time.sleep` does nothing: the client waits between its retries.
COMMANDS = """
import contextlib, io, json, os, sys, time, urllib.request
time.sleep = lambda seconds: None
import torch
import timm_regnet_ds as trd
from timm_regnet_ds.cli import main

def run(step):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(step)
        except BaseException as error:
            code = repr(error)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

def tell(path, **values):
    data = json.dumps(values).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["HF_ENDPOINT"] + path, data)).read()

answers = []
for step in json.loads(sys.argv[1]):
    if isinstance(step, dict):
        tell("/faults", **step)
    else:
        answers.append(run(step))
images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    loaded = {repo: trd.pull_from_hub(f"user/{repo}").eval()(images).tolist() for repo in ("plain", "stock", "regnet")}
tell("/stop")
offline = [run(step) for step in json.loads(sys.argv[2])]
print(json.dumps([answers, loaded, offline]))
"""

FLIPPED = "user/plain/model.safetensors"


@pytest.fixture(scope="module")
def shared(files, tmp_path_factory):
    """The server, what each command printed, and the logits of what was pulled."""
    folder, *_ = files
    last, evil, regnet = (str(folder / name) for name in ("last.pth.tar", "evil.pth.tar", "regnet.safetensors"))
    steps = {
        "push": ["push", last, "user/plain", *STATED],
        "stock": ["push", last, "user/stock", "--stock"],
        "regnet": [
            "push",
            regnet,
            "user/regnet",
            "--model",
            "regnetx_200mf",
            "--model-kwargs",
            "num_classes=3",
            "--stock",
        ],
        "evil": ["push", evil, "user/evil"],
        "flip": {"flips": {FLIPPED: 1}},
        "flipped": ["pull", "user/plain"],
        "again": ["pull", "user/plain", "--output", str(folder / "pulled")],
        "missing": ["pull", "user/nothing"],
        "hide": {"hidden": ["user/regnet/README.md"]},
        "bare": ["pull", "user/regnet", "--output", str(folder / "bare")],
        "cut": {"upload_cuts": 99, "uploads": {}},
        "interrupted": ["push", last, "user/cut"],
        "uncut": {"upload_cuts": 0},
        "completed": ["push", last, "user/cut"],
    }
    offline = {
        "cached": ["pull", "user/plain", "--output", str(folder / "cached")],
        "cached in part": ["pull", "user/stock", "--output", str(folder / "in_part")],
        "not cached": ["pull", "user/cut"],
        "offline push": ["push", last, "user/plain"],
    }
    home = tmp_path_factory.mktemp("home")
    with Hub() as hub:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TIMM_", "TORCH_"))}
        command = [sys.executable, "-c", COMMANDS, json.dumps(list(steps.values())), json.dumps(list(offline.values()))]
        done = subprocess.run(
            command, env=env | hub.environment(home), cwd=home, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        answers, loaded, without_network = json.loads(done.stdout.splitlines()[-1])
        ran = [*(name for name, step in steps.items() if isinstance(step, list)), *offline]
        yield hub, dict(zip(ran, answers + without_network, strict=True)), loaded


def test_the_pulled_models_are_the_pushed_ones(shared, files):
    _, answers, loaded = shared
    _, model, regnet = files
    for repo, pushed in (("plain", model), ("stock", model), ("regnet", regnet)):
        torch.testing.assert_close(torch.tensor(loaded[repo]), logits(pushed), rtol=1e-4, atol=1e-4)
    assert [answers[step]["code"] for step in ("push", "stock", "regnet", "again", "completed")] == [0] * 5


def config_and_card(hub, repo):
    repo_files = hub.repos[f"user/{repo}"].files
    return json.loads(repo_files["config.json"]), repo_files["README.md"].decode()


def test_what_a_card_says_and_in_which_order(shared):
    hub, *_ = shared
    config, card = config_and_card(hub, "plain")
    assert sorted(set(hub.repos["user/plain"].files)) == ["README.md", "config.json", "model.safetensors"]
    head, text = card.split("---\n")[1:]
    assert yaml.safe_load(head) == {
        "library_name": "timm",
        "license": "apache-2.0",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "transformers"],
        "datasets": ["fashion_mnist"],
        "metrics": ["accuracy"],
    }
    said = [
        *("`test_resnet` scaled by dw, factor 2", "Changed: ", "## Install", "pip install timm timm-regnet-ds"),
        *(
            'create_model("hf-hub:user/plain"',
            "| scaled | ",
            "Latency: not measured",
            "- Recipe: `small_images` with img_size=64",
        ),
        *("- Dataset: fashion_mnist", "- Accuracy: 91% top-1, measured with `python validate.py images`"),
        *("## License\n\napache-2.0", "@inproceedings{Dollar2021"),
    ]
    positions = [text.find(part) for part in said]
    assert -1 not in positions, said[positions.index(-1)]
    assert positions == sorted(positions)
    assert "http" not in text
    assert config["architecture"] == "scaled"
    assert config["num_classes"] == 4
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert "num_classes" not in config["model_args"]


STOCK = {
    "stock": ("test_resnet", "scaled by dw, factor 2"),
    "regnet": ("regnetx_002", "regnetx_200mf: RegNetCfg"),
}


@pytest.mark.parametrize("repo", STOCK)
def test_a_stock_model_has_timms_name(repo, shared):
    config, card = config_and_card(shared[0], repo)
    architecture, origin = STOCK[repo]
    assert config["architecture"] == architecture
    assert "tag" not in config["pretrained_cfg"]
    assert "pip install timm\n" in card
    assert f"It is saved as timm's `{architecture}`" in card
    assert origin in card


# Loads models from folders where this package is not installed.
TIMM_ALONE = """
import json, sys
import torch
import timm
assert not timm.is_model("scaled") and "timm_regnet_ds" not in sys.modules
images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    models = [timm.create_model(f"local-dir:{folder}", pretrained=True).eval() for folder in sys.argv[1:]]
    print(json.dumps([model(images).tolist() for model in models]))
"""


def test_a_stock_model_needs_timm_alone(shared, files, tmp_path):
    folders = [written(shared[0], repo, tmp_path) for repo in STOCK]
    env = os.environ | {"TIMM_REGNET_DS_AUTOLOAD": "0"}
    done = subprocess.run([sys.executable, "-c", TIMM_ALONE, *folders], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for loaded, pushed in zip(json.loads(done.stdout), files[1:], strict=True):
        torch.testing.assert_close(torch.tensor(loaded), logits(pushed), rtol=1e-4, atol=1e-4)


def written(hub, repo, folder):
    """The folder to which the files of a repository are written."""
    folder = folder / repo
    folder.mkdir()
    for name, content in hub.repos[f"user/{repo}"].files.items():
        (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("evil", "evil.pth.tar holds more than tensors and plain values ("),
        ("flipped", "user/plain: model.safetensors has another checksum than the Hub's; it was removed, load it again"),
        ("missing", "user/nothing was not loaded: the Hub has no such repository"),
        ("interrupted", "user/cut was not pushed: the connection broke off ("),
        ("not cached", "user/cut was not loaded: the Hub cannot be reached, and the file is not in the cache"),
        ("offline push", "user/plain was not pushed: the connection broke off ("),
    ],
)
def test_each_fault_is_one_line(step, line, shared, files):
    answer = shared[1][step]
    assert answer["code"] == 2, answer
    assert line in answer["err"]
    assert answer["err"].startswith("timm-regnet-ds: ")
    assert answer["err"].count("\n") == 1
    assert not (files[0] / "executed").exists()


@pytest.mark.parametrize(("step", "folder"), [("again", "pulled"), ("cached", "cached")])
def test_pulled_files_are_written(step, folder, shared, files):
    hub, answers, _ = shared
    assert (answers[step]["code"], answers[step]["err"]) == (0, "")
    pulled = contents(files[0] / folder)
    assert sorted(map(str, pulled)) == ["README.md", "config.json", "model.safetensors"]
    assert pulled[Path("README.md")] == hub.repos["user/plain"].files["README.md"]
    model = timm.create_model(f"local-dir:{files[0] / folder}", pretrained=True).eval()
    torch.testing.assert_close(logits(model), logits(files[1]), rtol=1e-4, atol=1e-4)


def test_a_card_is_written_where_there_is_none(shared, files):
    _, answers, _ = shared
    for step, folder, name in (("bare", "bare", "regnet"), ("cached in part", "in_part", "stock")):
        assert answers[step]["code"] == 0, answers[step]
        assert f'create_model("hf-hub:user/{name}"' in (files[0] / folder / "README.md").read_text(encoding="utf-8")
    assert answers["bare"]["err"] == ""
    assert answers["cached in part"]["err"] == (
        "timm-regnet-ds: user/stock: README.md is not in the cache, and the Hub cannot be reached\n"
    )


def test_trust_reads_what_is_refused_without(files):
    folder, model, _ = files
    with pytest.raises(ValueError, match=r"--trust \(trust=True\)"):
        read_checkpoint(folder / "evil.pth.tar")
    checkpoint = read_checkpoint(folder / "evil.pth.tar", trust=True)
    torch.testing.assert_close(logits(model_of(checkpoint).eval()), logits(model), rtol=1e-4, atol=1e-4)
    (folder / "executed").unlink(missing_ok=True)


def test_a_checkpoint_of_a_model_that_inherited(files):
    """Only its own weights are loaded, not those of the base."""
    folder, model, _ = files
    checkpoint = read_checkpoint(folder / "last.pth.tar")
    options = {**checkpoint.options, "model_kwargs": {**SCALED, "inherit": True, "exact": True}}
    found = model_of(replace(checkpoint, options=options))
    torch.testing.assert_close(logits(found.eval()), logits(model), rtol=1e-4, atol=1e-4)


def test_a_checkpoint_of_another_model(files, monkeypatch):
    folder, *_ = files
    few = ["regnetx_200mf", "regnetx_400mf", "regnety_200mf", "resnet10t", "anynet"]
    monkeypatch.setattr("timm_regnet_ds.training.checkpoints.list_models", lambda: few)
    checkpoint = read_checkpoint(folder / "regnet.safetensors")
    with pytest.raises(ValueError, match="does not say which model"):
        model_of(checkpoint)
    with pytest.raises(ValueError, match=r"is not regnety_200mf: \d+ keys differ: .* is \(.*nearest.* regnetx_200mf$"):
        model_of(checkpoint, "regnety_200mf")
    with pytest.raises(ValueError, match="timm has no model 'regnetx_200m'; did you mean"):
        model_of(checkpoint, "regnetx_200m")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: pickle.dumps([1])])
@pytest.mark.parametrize("name", ["last.pth.tar", "regnet.safetensors"])
def test_a_damaged_checkpoint(name, damage, files, tmp_path):
    (tmp_path / name).write_bytes(damage((files[0] / name).read_bytes()))
    with pytest.raises(ValueError, match=r"is not a complete|holds a list"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("regnetz_500mf", {}, "it is a network of this package"),
        ("regnetx_200mf", {"depth": 5}, "with depth=: that makes it another network"),
        ("scaled", {"base": "regnetx_200mf", "factor": 2, "strategy": "w"}, "is a model of this package"),
        ("scaled", {"base": "mobilenetv3_small_050", "factor": 2, "strategy": "w"}, "timm alone cannot build"),
    ],
)
def test_what_timm_alone_cannot_build(name, args, reason):
    with pytest.raises(ValueError, match=reason):
        stock_model(timm.create_model(name, **args))


def test_a_card_states_the_time_on_a_known_gpu(tmp_path, capsys):
    model = timm.create_model("test_resnet", num_classes=3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    push = ["push", str(tmp_path / "model.safetensors"), "user/model", "--model", "test_resnet", *KWARGS]
    push += ["--output", str(tmp_path / "out")]
    several = str(replace(card("rtx4090"), batch_size=None).save(tmp_path / "several.json"))
    for options, batch in (
        (["--on", "rtx4090"], 64),
        (["--on", "rtx4090", "--batch-size", "8"], 8),
        (["--on", several, "--batch-size", "2"], 2),
    ):
        assert main([*push, *options]) == 0
        text = (tmp_path / "out" / "README.md").read_text()
        stated = rf"^Latency: [\d.]+ ms, predicted for NVIDIA GeForce RTX 4090, .*, batch {batch} \(off by .*\)\.$"
        assert re.search(stated, text, re.MULTILINE)
    for options, message in (
        (["--on", several], "several batch sizes: pass batch_size"),
        (["--batch-size", "8"], "--batch-size goes with --on, without --latency"),
    ):
        capsys.readouterr()
        assert main([*push, *options]) == 2
        assert message in capsys.readouterr().err


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a model, which commands read and write."""
    folder = tmp_path_factory.mktemp("saved")
    save_for_hub(trained("test_resnet", num_classes=2), folder / "model")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["grow", "model", "--factor", "2", "--strategy", "d", "--output", "grown"],
        ["grow", "model", "--factor", "2", "--strategy", "d", "--output", "grown.safetensors"],
        ["push", "model", "user/model", "--output", "model"],
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_a_full_disk_loses_nothing(command, saved, monkeypatch, capsys):
    monkeypatch.chdir(saved)
    before = contents(saved)
    with files_of_at_most(100_000):
        assert main(command) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"timm-regnet-ds: \S+ was not written: .*File too large.*\n", error)
    assert contents(saved) == before
    assert [path.name for path in saved.iterdir()] == ["model"]


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("repo", ["plain", "stock"])
def test_transformers_loads_it(repo, shared, files, tmp_path):
    from PIL import Image
    from transformers import AutoModelForImageClassification, pipeline

    folder = written(shared[0], repo, tmp_path)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(model(images()).logits.detach(), logits(files[1]), rtol=1e-4, atol=1e-4)

    answer = pipeline("image-classification", model=folder)(Image.new("RGB", (64, 64), (9, 99, 200)))
    assert len(answer) == 4

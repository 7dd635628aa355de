"""examples/train_ddp.py: two gloo processes train each family, and a killed run goes on to the same result."""

import csv
from pathlib import Path

import pytest
from ddp_ranks import run_steps
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"

FAMILIES = {
    "regnet": ["regnet", "depth=3", "w0=8", "wa=8.0", "wm=2.0", "block=y", "stem=cifar"],
    "regnetz": ["regnet", "depth=3", "w0=8", "wa=8.0", "wm=2.0", "group_width=4", "block=z", "stem=cifar"],
    "anynet": ["anynet", "depths=[1,1]", "widths=[8,16]", "block=basic", "stem=cifar"],
    "rexnet": ["rexnet", "width_mult=0.3", "depth_mult=0.4"],
    "rexnet_lite": ["scaled", "base=rexnet_lite_100", "factor=0.3", "strategy=d"],
    "rexnet_plain": ["scaled", "base=rexnet_plain", "factor=0.3", "strategy=d"],
    "efficientnet": ["scaled", "base=efficientnet_b0", "factor=0.3", "strategy=d"],
    "channelnet": ["channelnet"],
    "nas_cell": ["nas_cell", "depth=3", "width=8"],
    "scaled": ["scaled", "base=resnet10t", "to=40mf", "strategy=w"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, worker):
    """The folder of each run's output."""
    root = tmp_path_factory.mktemp("ddp")
    for split, count in (("train", 24), ("validation", 8)):
        for label in (0, 1):
            folder = root / "images" / split / str(label)
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (16, 16), (i * 5, 250 * label, 90)).save(folder / f"{i}.png")

    def job(run, model, epochs):
        name, *kwargs = model
        return [
            *(str(root / "images"), "--model", name, "--model-kwargs", *kwargs, "--num-classes", "2"),
            *("--img-size", "32", "--batch-size", "12", "--epochs", str(epochs), "--device", "cpu"),
            *("--output", str(root / run)),
        ]

    whole, killed = (job(run, FAMILIES["regnet"], 6) for run in ("whole", "killed"))
    steps = [
        {"jobs": [*(job(family, model, 1) for family, model in FAMILIES.items()), whole]},
        {"jobs": [killed], "kill_after": 2, "summary": str(root / "killed" / "summary.csv")},
        {"jobs": [killed]},
    ]
    worker.call(run_steps, EXAMPLES, steps)
    return root


def rows(folder):
    with open(folder / "summary.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_trains_in_two_processes(family, runs):
    (row,) = rows(runs / family)
    assert float(row["train_loss"]) > 0
    assert 0 <= float(row["eval_top1"]) <= 100
    assert (runs / family / "last.pth.tar").exists()


def test_a_killed_run_ends_as_one_that_was_not(runs):
    whole, killed = rows(runs / "whole"), rows(runs / "killed")
    assert killed[-1]["epoch"] == "5"
    assert len(killed) in (5, 6)  # it may be killed between the checkpoint of an epoch and its row
    assert float(killed[-1]["eval_top1"]) == pytest.approx(float(whole[-1]["eval_top1"]), abs=7)  # one image of 16
    assert float(killed[-1]["train_loss"]) == pytest.approx(float(whole[-1]["train_loss"]), abs=0.05)

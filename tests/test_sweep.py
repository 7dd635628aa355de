"""Sweeps: plans, datasets, training of tiny models, and resuming after kills at any time."""

import gzip
import json
import math
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import timm_regnet_ds as trd
from timm_regnet_ds import spaces
from timm_regnet_ds.models import AnyNetCfg, RegNetCfg
from timm_regnet_ds.populations.rows import population_file
from timm_regnet_ds.populations.sweep import Outcome, Plan, load_plan, measure_sharing, sweep
from timm_regnet_ds.populations.sweep.data import InMemoryData, open_data
from timm_regnet_ds.populations.sweep.jobs import SweepJob
from timm_regnet_ds.populations.sweep.tasks import finished_keys, properties, tasks_of
from timm_regnet_ds.populations.sweep.train import make_trainer
from timm_regnet_ds.spaces.nas import NasSpace

CPU = torch.device("cpu")

STUDY = Path(__file__).parents[1] / "benchmarks" / "results" / "fashion-mnist"

TINY = NasSpace("tiny", ("skip_connect", "sep_conv_3x3"), nodes=2, concat="loose", widths=(8,), depths=(3,))


@pytest.fixture
def plan(tmp_path):
    return Plan(("enas",), tmp_path / "rows.jsonl", "digits", models=4, resolution=8, epochs=1, device="cpu")


def write(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def test_a_plan_is_read_with_the_papers_settings(tmp_path):
    text = "spaces: [enas, darts]\noutput: rows.jsonl\ndataset: digits\nflops: [null, 100mf]\nweight_decay: 5e-4\n"
    plan = load_plan(write(tmp_path, text))
    assert plan == Plan(("enas", "darts"), tmp_path / "rows.jsonl", "digits", flops=(None, "100mf"), weight_decay=5e-4)
    assert (plan.epochs, plan.batch_size, plan.learning_rate, plan.momentum) == (10, 128, 0.05, 0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learningrate: 1", "unknown key 'learningrate'; did you mean 'learning_rate'?"),
        ("epochs: 0", "epochs must be a whole number of at least 1, not 0"),
        ("learning_rate: fast", "learning_rate must be a finite number above 0"),
        ("flops: 3mf", r"flops must be a pair \(low, high\)"),
        ("executor: slrm", "unknown executor 'slrm'; did you mean 'slurm'"),
        ("spaces: [enas, enas]", "spaces has a name twice"),
        ("spaces: []", "spaces must be a list of names"),
        ("dataset: 3", "dataset must be a name, not 3"),
        ("optimizer: 3", "optimizer must be a name, not 3"),
        ("output: 3", "output must be a path, not 3"),
        ("download: 3", "download must be true or false, not 3"),
        ("num_classes: 0", "num_classes must be a whole number of at least 1, not 0"),
        ("change: 3", "change must be a mapping, not 3"),
        ("seed: [", "is not valid YAML"),
    ],
)
def test_what_is_wrong_in_a_plan_is_named(tmp_path, text, message):
    lines = {"spaces": "spaces: [enas]", "output": "output: rows.jsonl", "dataset": "dataset: digits"}
    lines[text.split(":")[0]] = text
    with pytest.raises(ValueError, match=message):
        load_plan(write(tmp_path, "\n".join(lines.values())))


def test_a_plan_without_a_key_that_it_needs(tmp_path):
    with pytest.raises(ValueError, match="has no 'dataset'"):
        load_plan(write(tmp_path, "spaces: [enas]\noutput: rows.jsonl"))
    with pytest.raises(ValueError, match="must be a mapping"):
        load_plan(write(tmp_path, "- enas"))


def test_an_unknown_space_and_limits_without_models(plan):
    with pytest.raises(ValueError, match="unknown space 'ensa'; did you mean 'enas'"):
        sweep(replace(plan, spaces=("ensa",)))


def test_a_plan_changes_its_spaces(plan):
    plan = replace(plan, spaces=("anynetx_a",), resolution=32, change={"frame": {"stem": "cifar"}})
    assert plan.space("anynetx_a").frame.stem == "cifar"
    task = tasks_of(plan)[0]
    config = plan.space(task.space).from_json(task.config)
    assert trd.measure(plan.space(task.space).build(config)).flops == task.flops
    with pytest.raises(ValueError, match="unknown field of anynetx_a's frame 'stm'; did you mean 'stem'"):
        sweep(replace(plan, change={"frame": {"stm": "cifar"}}))


@pytest.mark.parametrize("name", ["anynetx_a", "regnety", "resnext_b", "rexnet_5", "darts"])
def test_what_is_counted_is_what_is_trained(plan, name):
    plan = replace(plan, spaces=(name,), models=2, resolution=48)
    for task in tasks_of(plan):
        space = plan.space(name)
        model = space.build(space.from_json(task.config), num_classes=10, in_chans=1)
        assert trd.measure(model, (1, 48, 48)).flops == task.flops


def test_lists_in_a_plan_are_values(plan):
    plan = replace(plan, spaces=("resnext_a", "darts"), change={"depths": [1, 2], "nodes": 2})
    assert {depth for config in plan.space("resnext_a").sample(20) for depth in config.depths} == {1, 2}
    assert plan.space("darts").nodes == 2


@pytest.mark.parametrize("change", [{"resolution": 32}, {"frame": {"num_classes": 3}}])
def test_what_follows_from_the_data_is_not_changed(plan, change):
    with pytest.raises(ValueError, match="it follows from the plan's resolution and dataset"):
        tasks_of(replace(plan, spaces=("anynetx_a",), change=change))


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def test_fashion_mnist_is_read_from_its_files(tmp_path, plan):
    plan = replace(plan, dataset="fashion-mnist", data_dir=tmp_path, resolution=28, batch_size=3)
    with pytest.raises(FileNotFoundError, match="has no train-images-idx3-ubyte"):
        open_data(plan, CPU)
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(256, size=(7, 28, 28), dtype=np.uint8)}
    images["t10k"] = rng.integers(256, size=(5, 28, 28), dtype=np.uint8)
    for part, array in images.items():
        labels = np.arange(len(array), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(array)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    data = open_data(plan, CPU)
    assert (data.num_classes, data.in_chans, data.updates_per_epoch) == (7, 1, 2)
    ((found, labels),) = data.validation_batches()
    assert labels.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(found, torch.tensor(images["t10k"] / 127.5 - 1, dtype=torch.float32)[:, None])
    assert [len(batch) for batch, _ in data.training_batches(torch.Generator())] == [3, 3]


def test_fashion_mnist_is_downloaded_if_its_files_are_missing(tmp_path, plan, monkeypatch):
    asked = []
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.download", lambda self: asked.append(self.root))
    with pytest.raises(RuntimeError, match="Dataset not found"):
        open_data(replace(plan, dataset="fashion-mnist", data_dir=tmp_path, download=True), CPU)
    assert asked == [tmp_path]


def test_a_file_that_is_not_an_idx_file_is_named(tmp_path, plan):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"not an IDX file")
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.* is not an IDX file of Fashion-MNIST"):
        open_data(replace(plan, dataset="fashion-mnist", data_dir=tmp_path), CPU)


def test_a_dataset_by_timms_name(tmp_path, plan):
    rng = np.random.default_rng(0)
    for split, n in (("train", 6), ("validation", 3)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(n):
                image = Image.fromarray(rng.integers(256, size=(20, 24, 3), dtype=np.uint8))
                image.save(tmp_path / split / label / f"{i}.png")
    plan = replace(plan, dataset="folder", data_dir=tmp_path, resolution=16, batch_size=4, workers=0)
    with pytest.raises(ValueError, match="dataset 'folder' needs num_classes"):
        open_data(plan, CPU)
    data = open_data(replace(plan, num_classes=2), CPU)
    generator = torch.Generator().manual_seed(1)
    first, second = (list(data.training_batches(generator)) for _ in range(2))
    assert data.updates_per_epoch == len(first) == 3
    assert {tuple(images.shape) for images, _ in first} == {(4, 3, 16, 16)}
    assert not torch.equal(first[0][0], second[0][0])
    assert sorted(torch.cat([labels for _, labels in data.validation_batches()]).tolist()) == [0] * 3 + [1] * 3


def test_augmented_images_are_shifted_and_mirrored():
    image = torch.arange(1, 257, dtype=torch.uint8).reshape(1, 1, 16, 16)
    batch = image.expand(64, 1, 16, 16)
    data = InMemoryData(batch, torch.zeros(64), batch, torch.zeros(64), 64, True, 1)
    padded = nn.functional.pad(image, [2] * 4)
    possible = {padded[..., i : i + 16, j : j + 16].numpy().tobytes() for i in range(5) for j in range(5)}
    mirrored = {padded[..., i : i + 16, j : j + 16].flip(3).numpy().tobytes() for i in range(5) for j in range(5)}
    ((images, _),) = data.training_batches(torch.Generator())
    found = {((x + 1) * 127.5).round().byte().numpy().tobytes() for x in images}
    assert found <= possible | mirrored
    assert found & possible
    assert found & mirrored
    assert len(found) > 20


def test_digits_are_learnt_and_the_same_task_gives_the_same_error(plan, monkeypatch):
    monkeypatch.setitem(spaces.SPACES, "tiny", TINY)
    plan = replace(plan, spaces=("tiny",), epochs=2, batch_size=32)
    train = make_trainer(plan)
    task = max(tasks_of(plan), key=lambda task: task.flops)
    outcome = train(task)
    assert outcome.failure is None
    assert outcome.error < 40  # by chance, 90
    assert train(task).error == outcome.error


def test_a_model_that_diverges_is_a_row_with_its_reason(plan, monkeypatch):
    monkeypatch.setitem(spaces.SPACES, "tiny", TINY)
    plan = replace(plan, spaces=("tiny",), learning_rate=1e30, models=1)
    SweepJob(plan, tuple(tasks_of(plan)))()
    (row,) = plan.rows.read()
    assert row["error"] is None
    assert row["failure"] == "the loss was not finite in epoch 1"


@pytest.mark.parametrize(
    ("exception", "reason"),
    [
        (ValueError("no such thing\nat all"), "ValueError: no such thing"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "out of memory: CUDA out of memory"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_model_that_cannot_be_trained_is_a_row_with_its_reason(plan, monkeypatch, exception, reason):
    def build(*args, **kwargs):
        raise exception

    monkeypatch.setattr(type(spaces.get_space("enas")), "build", build)
    SweepJob(plan, tuple(tasks_of(plan)))()
    rows = plan.rows.read()
    assert len(rows) == 4
    assert all(row["error"] is None and row["failure"].startswith(reason) for row in rows)


def test_a_row_has_what_a_report_needs(plan):
    task = tasks_of(plan)[2]
    SweepJob(plan, (task,), stub)()
    (row,) = plan.rows.read()
    config = spaces.get_space("enas").from_json(row["config"])
    assert list(spaces.get_space("enas").sample(4))[2] == config
    assert row["properties"] == {"width": config.width, "depth": config.depth}
    assert (row["flops"], row["params"], row["acts"]) == (task.flops, task.params, task.acts)
    assert (row["space"], row["seed"], row["index"], row["epochs"], row["dataset"]) == ("enas", 0, 2, 1, "digits")


def test_properties_of_stages():
    cfg = RegNetCfg(13, 24, 36.44, 2.49, 8)
    found = properties(cfg)
    assert found["widths"] == [24, 56, 152, 368]
    assert (found["depths"], found["depth"], found["wa"], found["group_width"]) == ([1, 1, 4, 7], 13, 36.44, 8)
    assert properties(spaces.ConfigAtResolution(cfg, 96)) == found | {"resolution": 96}
    stages = properties(AnyNetCfg((1, 2), (8, 16), group_widths=4))
    assert (stages["bottle_ratio"], stages["group_width"]) == (1.0, 4)
    assert (stages["depth"], stages["widths"], stages["bottle_ratios"]) == (3, [8, 16], [1.0, 1.0])


def stub(plan):
    """A trainer that takes a few milliseconds and writes the index of each model that it starts to a file."""

    def train(task):
        with open(plan.folder / "begun.txt", "a") as file:
            file.write(f"{task.index}\n")
        time.sleep(0.003)
        return Outcome(float(task.index), None, 0.003)

    return train


def models_begun(plan):
    path = plan.folder / "begun.txt"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def begun(plan):
    return Counter((plan.folder / "begun.txt").read_text().split())


def workers(plan, tasks, processes):
    """Run several processes that share the same tasks, in a process group of their own that can be killed."""
    os.setpgid(0, 0)
    plan.folder.mkdir(exist_ok=True)
    children = [
        multiprocessing.get_context("fork").Process(target=SweepJob(plan, tasks, stub)) for _ in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()


def test_killed_at_any_instant_no_model_is_lost_or_trained_twice(plan):
    plan = replace(plan, models=120)
    tasks = tuple(tasks_of(plan))
    rng = random.Random(0)
    kills = 0
    for _ in range(12):
        group = multiprocessing.get_context("fork").Process(target=workers, args=(plan, tasks, 2))
        wanted = models_begun(plan) + rng.randint(1, 8)
        group.start()
        while models_begun(plan) < wanted and group.is_alive():
            time.sleep(0.001)
        group.join(rng.uniform(0, 0.005))
        if group.is_alive():
            os.killpg(group.pid, signal.SIGKILL)
            kills += 1
        group.join()
    assert kills
    for _ in range(1000):  # A killed process may hold the lock of its model for a moment longer.
        SweepJob(plan, tasks, stub)()
        if len(finished_keys(plan, tasks)) == 120:
            break
        time.sleep(0.01)
    rows = [row["index"] for row in plan.rows.read()]
    assert sorted(rows) == list(range(120))
    # Each kill interrupts at most one model of each of the two workers, and only these are started again.
    again = sum(begun(plan).values()) - 120
    assert again <= 2 * kills


def test_workers_side_by_side_share_the_models(plan):
    plan = replace(plan, models=60)
    tasks = tuple(tasks_of(plan))
    group = multiprocessing.get_context("fork").Process(target=workers, args=(plan, tasks, 4))
    group.start()
    group.join()
    assert len(plan.rows.read()) == 60
    assert set(begun(plan).values()) == {1}


@pytest.mark.usefixtures("jobs_are_forks")
def test_a_sweep_by_submitit_resumes_after_a_kill(plan):
    plan = replace(plan, models=40, chunk=40, together=2)

    def whole():
        os.setpgid(0, 0)
        sweep(plan, stub_by_value(), progress=False)

    first = multiprocessing.get_context("fork").Process(target=whole)
    first.start()
    while first.is_alive() and len(plan.rows.read_if_exists()) < 3:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.join()
    before = len(plan.rows.read_if_exists())
    assert before >= 3
    rows = sweep(plan, stub_by_value(), progress=False)
    assert [row["index"] for row in rows] == list(range(40))
    assert len(plan.rows.read()) == 40
    assert sweep(plan, None) == rows


def stub_by_value():
    """A stub for processes that cannot import this file: submitit pickles nested functions by value."""

    def prepare(plan):
        def train(task):
            time.sleep(0.03)
            return Outcome(float(task.index), None, 0.03)

        return train

    return prepare


def deadly():
    """A trainer that ends its process when it is given model 1."""

    def prepare(plan):
        def train(task):
            if task.index == 1:
                os._exit(9)
            return Outcome(1.0, None, 0.0)

        return train

    return prepare


@pytest.mark.usefixtures("jobs_are_forks")
def test_a_model_that_kills_its_process_is_given_up(plan, monkeypatch):
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # how long it waits for a dead job's result
    rows = sweep(plan, deadly(), progress=False)
    assert [row["failure"] for row in rows] == [None, "its process died, 2 times", None, None]


def test_a_job_that_fails_otherwise_ends_the_sweep(plan, tmp_path):
    plan = replace(plan, dataset="fashion-mnist", data_dir=tmp_path)
    with pytest.raises(RuntimeError, match="has no train-images-idx3-ubyte"):
        sweep(plan, progress=False)
    assert plan.rows.read_if_exists() == []


def test_rows_of_another_plan_are_refused(plan):
    SweepJob(plan, tuple(tasks_of(plan)), stub)()
    with pytest.raises(ValueError, match="enas number 0 with epochs 1, the plan 2: it is the file of another plan"):
        sweep(replace(plan, epochs=2), stub)
    with pytest.raises(ValueError, match="with batch_size 128, the plan 64"):
        sweep(replace(plan, batch_size=64), stub)
    with pytest.raises(ValueError, match="with config"):
        sweep(replace(plan, flops=(max(task.flops for task in tasks_of(plan)), None)), stub)


def test_a_row_of_an_older_version_lacks_settings_that_had_their_defaults(plan):
    tasks = tuple(tasks_of(plan))
    SweepJob(plan, tasks, stub)()
    rows = [json.loads(line) for line in plan.output.read_text().splitlines()]
    for row in rows:
        del row["scheduler"], row["batch_size"]
    plan.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(finished_keys(plan, tasks)) == 4
    with pytest.raises(ValueError, match="with batch_size 128, the plan 64"):
        finished_keys(replace(plan, batch_size=64), tasks)


def test_networks_of_the_committed_study_have_their_complexity():
    """Version 0.1.0 drew them, with other distributions; what they are and cost stays."""
    plan = load_plan(STUDY / "plan.yaml")
    rows = {row["space"]: row for row in population_file(STUDY / "rows.jsonl").read()}
    assert set(rows) == set(plan.spaces)
    for name, row in rows.items():
        space = plan.space(name)
        counted = trd.measure(space.build(space.from_json(row["config"]), num_classes=10, in_chans=1))
        assert (counted.flops, counted.params, counted.acts) == (row["flops"], row["params"], row["acts"])


def test_an_incomplete_row_is_written_again(plan):
    tasks = tuple(tasks_of(plan))
    SweepJob(plan, tasks, stub)()
    whole = plan.output.read_bytes()
    plan.output.write_bytes(whole[:-20])
    assert len(finished_keys(plan, tasks)) == 3
    SweepJob(plan, tasks, stub)()
    assert sorted(json.loads(line)["index"] for line in plan.output.read_text().splitlines()) == [0, 1, 2, 3]
    assert math.isclose(sum(row["error"] for row in plan.rows.read()), 6.0)


def test_sharing_a_device_is_measured_against_one_by_one(plan, monkeypatch):
    # Forked processes need not import torch again, nor what reads the dataset.
    open_data(plan, CPU)
    monkeypatch.setattr(
        "timm_regnet_ds.populations.sweep.sharing.get_context", lambda _: multiprocessing.get_context("fork")
    )
    plan = replace(plan, spaces=("enas",), together=2, batch_size=8, flops=(None, "15mf"))
    found = measure_sharing(plan, seconds=0.1)
    assert found.models == 2
    assert found.one_by_one > 0
    assert found.together > 0
    assert not plan.output.exists()


def test_sharing_a_device_by_turns_gains_nothing(plan, monkeypatch):
    """Two models of 1000 and 100 images per second; together, each has the device for half of the time."""
    rates = {1: [1000.0, 100.0], 2: [500.0, 50.0]}
    monkeypatch.setattr("timm_regnet_ds.populations.sweep.sharing._throughputs", lambda plan, *_: rates[plan.together])
    found = measure_sharing(replace(plan, together=2))
    assert found.together == found.one_by_one == 550
    assert "(1.00 times as many)" in str(found)

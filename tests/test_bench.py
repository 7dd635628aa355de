"""Measuring one model: what is measured is what was asked for, and what cannot be is said in a line."""

import copy
import gc
import itertools
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from bench_models import QUICK, TINY, die_beyond_3, shapes_do_not_match, take_8_mebibytes
from torch import nn

import timm_regnet_ds as trd
from timm_regnet_ds.bench import Measurement, Setting, bench
from timm_regnet_ds.bench.batches import fits_in_child, fits_in_process, largest_batch, largest_batch_on_cuda
from timm_regnet_ds.bench.folding import fold_batch_norms
from timm_regnet_ds.bench.sampling import time_until_precise
from timm_regnet_ds.bench.timing import median_interval
from timm_regnet_ds.bench.worker import Worker
from timm_regnet_ds.bench.workload import Workload, prepare_model

STEPS = ["forward", "backward", "optimizer"]

pytestmark = pytest.mark.usefixtures("one_worker")


def quick(**settings):
    return bench("anynet", model_args=TINY, **{**QUICK, **settings})


def test_a_measurement_says_what_was_measured():
    m = quick()
    c = trd.measure(timm.create_model("anynet", **TINY), 32)
    assert (m.complexity.flops, m.complexity.params, m.complexity.acts) == (c.flops, c.params, c.acts)
    assert m.setting.input_size == (3, 32, 32)
    t = m.timing
    assert 0 < t.low <= t.median <= t.high
    assert t.p10 <= t.median <= t.p90 <= t.p99
    assert t.repetitions >= 3
    assert m.images_per_second == pytest.approx(2 / t.median * 1e3)
    assert m.ops_per_second == pytest.approx(2 * c.flops * m.images_per_second)
    assert m.bytes_per_second == pytest.approx(4 * (c.params + 2 * 2 * c.acts) / t.median * 1e3)
    assert 0 < m.compute_utilization < 1
    assert m.environment["torch"] == torch.__version__
    assert all(len(line) <= 100 for line in str(m).splitlines())


def test_the_steps_of_training_add_up():
    m = quick(mode="train")
    assert list(m.steps) == ["forward", "backward", "optimizer"]
    assert sum(step.mean for step in m.steps.values()) == pytest.approx(m.timing.mean)
    assert all(step.median > 0 for step in m.steps.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "bf16"},
        {"dtype": "amp"},
        {"dtype": "amp", "mode": "train"},
        {"dtype": "fp16"},
        {"channels_last": True},
        {"fold_bn": True},
        {"mode": "train", "grad_checkpointing": True, "optimizer": "adamw"},
        {"input_size": (3, 40, 24)},
    ],
    ids=str,
)
def test_every_setting_of_the_cpu_runs(settings):
    m = quick(**settings)
    assert m.timing.median > 0
    assert all(getattr(m.setting, name) == value for name, value in settings.items())


@pytest.mark.parametrize(
    ("settings", "holds"),
    [
        ({"dtype": "bf16"}, lambda model, load: {p.dtype for p in model.parameters()} == {torch.bfloat16}),
        ({"dtype": "amp"}, lambda model, load: {p.dtype for p in model.parameters()} == {torch.float32}),
        (
            {"channels_last": True},
            lambda model, load: load.image.is_contiguous(memory_format=torch.channels_last),
        ),
        ({"fold_bn": True}, lambda model, load: not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())),
        ({"mode": "train"}, lambda model, load: model.training and list(load.steps) == STEPS),
        ({"mode": "train", "grad_checkpointing": True}, lambda model, load: model.s1.grad_checkpointing),
        (
            {"mode": "train", "optimizer": "adamw"},
            lambda model, load: isinstance(load.optimizer, torch.optim.AdamW),
        ),
    ],
)
def test_a_setting_changes_what_runs(settings, holds):
    setting = Setting(**{**QUICK, **settings})
    model = prepare_model(timm.create_model("anynet", **TINY), setting, (3, 32, 32))
    workload = Workload(model, setting, (3, 32, 32), 2)
    workload.run()
    assert holds(model, workload)


def test_autocast_runs_in_lower_precision():
    setting = Setting(**{**QUICK, "dtype": "amp"})
    seen = []
    model = prepare_model(timm.create_model("anynet", **TINY), setting, (3, 32, 32))
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    Workload(model, setting, (3, 32, 32), 2).run()
    assert seen == [torch.bfloat16]


def test_images_take_turns():
    setting = Setting(**QUICK)
    workload = Workload(
        prepare_model(timm.create_model("anynet", **TINY), setting, (3, 32, 32)), setting, (3, 32, 32), 2
    )
    seen = []
    for _ in range(8):
        workload.load_next_batch()
        seen.append(workload.image.clone())
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[4])


def test_compiled():
    m = quick(compile="default", seconds=5)
    assert m.setting.compile == "default"
    assert m.timing.median > 0


def test_a_module_stays_as_it_is():
    model = timm.create_model("anynet", **TINY).train()
    before = copy.deepcopy(model.state_dict())
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    m = bench(model, **{**QUICK, "mode": "train"})
    assert m.model == "AnyNet"
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_measurement_survives_its_row():
    m = quick(mode="train")
    assert Measurement.from_row(m.to_row()) == m


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:7"}, "no device 'cuda:7' on this machine"),
        ({"device": "gpu"}, "no device 'gpu' on this machine"),
        ({"device": "meta"}, "no device 'meta' on this machine"),
        ({"mode": "training"}, "unknown mode 'training'; did you mean 'train'"),
        ({"dtype": "float32"}, "unknown dtype 'float32'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"precision": 0}, "precision must be a finite number above 0"),
        ({"compile": "fast"}, "unknown compile mode 'fast'"),
        ({"dtype": "tf32"}, "needs a CUDA device"),
        ({"cuda_graphs": True}, "needs a CUDA device"),
        ({"fold_bn": True, "mode": "train"}, "fold_bn is for mode 'inference'"),
        ({"grad_checkpointing": True}, "grad_checkpointing is for mode 'train'"),
        ({"input_size": 2}, "anynet.* image"),
        ({"input_size": (3, 0, 3)}, "input_size must be"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        quick(**{"device": "cpu", **settings})


def test_wrong_models_are_named():
    with pytest.raises(ValueError, match="timm has no model 'resnet5'; did you mean 'resnet50'"):
        bench("resnet5", **QUICK)
    with pytest.raises(ValueError, match=r"vgg11 fails in train .*no gradient checkpointing"):
        bench("vgg11", **{**QUICK, "mode": "train", "grad_checkpointing": True, "input_size": 32, "batch_size": 1})
    with pytest.raises(ValueError, match="model_args go with a model's name"):
        bench(nn.Flatten(), model_args={"a": 1}, **QUICK)
    with pytest.raises(TypeError, match="device_name"):
        bench("anynet", device_name="cpu")


class Failing(nn.Module):
    """Counts well and then fails."""

    def forward(self, x):
        if not x.is_meta:
            raise RuntimeError("a kernel of mine\nis broken")
        return x


def test_a_model_that_fails_to_run_says_so_in_a_line():
    with pytest.raises(RuntimeError, match=r"^Failing fails in inference with fp32 on cpu: a kernel of mine$"):
        bench(Failing(), **{**QUICK, "input_size": (3, 8, 8)})


# Folding of BatchNorm


@pytest.mark.parametrize("name", ["regnety_002", "resnet18", "efficientnet_b0", "mobilenetv3_small_050", "densenet121"])
def test_folding_leaves_the_outputs(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    image = torch.randn(2, 3, 64, 64)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    with torch.no_grad():
        before = model(image)
        folded = fold_batch_norms(model, image)
        after = model(image)
    left = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert 0 < folded == norms - left
    assert name == "densenet121" or left == 0
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


class Twice(nn.Module):
    """Uses what its convolution gives besides normalizing it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_mean += 1

    def forward(self, x):
        x = self.conv(x)
        return self.norm(x) + x


def test_folding_refuses_what_it_would_change():
    with pytest.raises(ValueError, match=r"Twice with folded BatchNorm has other outputs"):
        fold_batch_norms(Twice().eval(), torch.randn(1, 3, 4, 4))


# The largest batch


@pytest.mark.parametrize("limit", [1, 2, 3, 64, 100, 1023])
def test_the_largest_batch_is_found_by_bisection(limit):
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= limit

    assert largest_batch(fits, "cpu") == limit
    assert len(tried) <= 2 * np.log2(limit) + 3


def test_a_batch_that_never_fits_is_an_error():
    with pytest.raises(RuntimeError, match="not even a batch of one image fits into the memory of cpu"):
        largest_batch(lambda batch: False, "cpu")


def test_a_model_that_refuses_one_image_is_tried_with_two():
    def fits(batch):
        if batch == 1:
            raise ValueError("Expected more than 1 value per channel when training")
        return batch <= 5

    assert largest_batch(fits, "cpu") == 5
    with pytest.raises(RuntimeError, match="not even a batch of two images fits into the memory of cpu"):
        largest_batch(lambda batch: fits(batch) and batch > 5, "cpu")


def test_out_of_memory_leaves_no_tensor_behind():
    held = []

    def attempt(batch):
        tensor = torch.ones(batch)
        held.append(weakref.ref(tensor))
        if batch > 2:
            raise torch.OutOfMemoryError(f"CUDA out of memory with {batch}")
        return 0.0

    assert [fits_in_process(attempt, "cpu", 60, batch) for batch in (1, 2, 3)] == [True, True, False]
    assert all(tensor() is None for tensor in held)


def test_a_batch_that_takes_too_long_does_not_fit():
    assert [fits_in_process(lambda batch: 61, "cpu", 60, batch) for batch in (1, 2)] == [True, False]


def test_other_failures_are_not_taken_for_want_of_memory():
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fits_in_process(shapes_do_not_match, "cpu", 60, 1)
    with Worker() as worker, pytest.raises(RuntimeError, match="shapes do not match"):
        fits_in_child(worker, shapes_do_not_match, 2**30, 60, 1)


@pytest.mark.parametrize(("mebibytes", "expected"), [(100, 12), (300, 37)])
def test_on_the_cpu_the_largest_batch_is_judged_by_the_memory_of_its_own_process(mebibytes, expected):
    with Worker() as worker:
        batch = largest_batch(partial(fits_in_child, worker, take_8_mebibytes, mebibytes * 2**20, 60), "cpu")
    assert expected - 1 <= batch <= expected


def test_a_batch_whose_process_dies_does_not_fit():
    with Worker() as worker:
        assert largest_batch(partial(fits_in_child, worker, die_beyond_3, 2**30, 60), "cpu") == 3


def test_the_largest_batch_is_one_that_trains_twice(monkeypatch):
    """The optimizer allocates its state in the first step, so the second needs the most."""
    runs = []
    monkeypatch.setattr("timm_regnet_ds.bench.batches.MAX_BATCH_SIZE", 2)
    monkeypatch.setattr(Workload, "run", lambda self: runs.append(len(self.images[0])))
    setting = Setting(**{**QUICK, "batch_size": "max", "mode": "train"})
    assert largest_batch_on_cuda(timm.create_model("anynet", **TINY), setting, (3, 32, 32)) == 2
    assert runs == [1, 1, 2, 2]


@pytest.mark.parametrize("model", ["anynet", timm.create_model("anynet", **TINY)], ids=["name", "module"])
def test_max_measures_the_batch_that_it_found(model, monkeypatch):
    monkeypatch.setattr("timm_regnet_ds.bench.batches.MAX_BATCH_SIZE", 4)
    args = TINY if isinstance(model, str) else None
    m = bench(model, model_args=args, **{**QUICK, "batch_size": "max", "seconds": 20})
    assert m.setting.batch_size == 4


def test_max_on_the_cpu_needs_a_module_that_other_processes_can_load():
    class Local(nn.Identity):
        pass

    with pytest.raises(ValueError, match=r"Local cannot be sent to them .*: give a number"):
        bench(Local(), **{**QUICK, "batch_size": "max", "input_size": (3, 8, 8)})


# Repetitions


def test_the_interval_covers_the_median_as_often_as_it_says():
    chance = np.random.default_rng(0)
    covered = [low <= 1 <= high for low, high in (median_interval(chance.lognormal(0, 1, 60)) for _ in range(500))]
    assert 0.93 <= np.mean(covered) <= 0.99


def test_the_interval_widens_where_neighbours_are_alike():
    chance = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        drift = np.empty(200)
        drift[0] = chance.normal()
        for i in range(1, 200):
            drift[i] = 0.8 * drift[i - 1] + 0.6 * chance.normal()
        low, high = median_interval(drift)
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.88


def test_repetitions_end_when_the_interval_is_narrow_or_time_is_up(monkeypatch):
    clock = itertools.count(step=0.001)
    monkeypatch.setattr("timm_regnet_ds.bench.sampling.time", SimpleNamespace(monotonic=lambda: next(clock)))
    chance = np.random.default_rng(0)
    steady = time_until_precise(lambda: [1 + 0.01 * chance.random()], ["step"], precision=0.01, seconds=60)
    assert steady.precision_met
    assert steady.warm_up_steady
    assert len(steady.times) < 50
    wild = time_until_precise(lambda: [chance.lognormal(0, 2)], ["step"], precision=1e-6, seconds=0.2)
    assert not wild.precision_met
    assert len(wild.times) > 12


def test_warm_up_lasts_until_the_time_has_settled():
    times = iter([100.0, 90.0, 80.0, 70.0, 60.0, 50.0, 45.0, 40.0, 35.0, 30.0] + [1.0] * 10_000)
    found = time_until_precise(lambda: [next(times)], ["step"], precision=0.01, seconds=60)
    assert found.warm_up_steady
    assert found.warm_up == 20
    assert set(map(tuple, found.times)) == {(1.0,)}


# On a GPU


@pytest.mark.cuda
@pytest.mark.parametrize(
    "settings",
    [
        {},
        *({"dtype": dtype} for dtype in ("tf32", "bf16", "fp16", "amp")),
        {"mode": "train"},
        {"mode": "train", "dtype": "amp", "channels_last": True},
        {"cuda_graphs": True},
        {"mode": "train", "cuda_graphs": True},
        {"fold_bn": True, "cuda_graphs": True, "dtype": "fp16"},
        {"mode": "train", "grad_checkpointing": True},
        {"compile": "reduce-overhead"},
    ],
    ids=str,
)
def test_every_setting_of_a_gpu_runs(settings):
    m = bench("regnetx_200mf", device="cuda", batch_size=8, seconds=20, **settings)
    assert m.timing.median > 0
    assert m.memory_reserved >= m.memory_allocated > 0
    assert m.environment["driver"]


@pytest.mark.cuda
def test_max_leaves_no_memory_behind():
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    m = bench("regnetx_200mf", device="cuda", batch_size="max", mode="train", input_size=448, seconds=20)
    assert m.setting.batch_size > 64
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 2**26

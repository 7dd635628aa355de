"""Measuring one model: what is measured is what was asked for, and what cannot be is said in a line."""

import contextlib
import copy
import gc
import json
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from bench_models import QUICK, TINY, die_beyond_3, shapes_do_not_match, take_8_mebibytes
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import timm_regnet_ds as trd
from timm_regnet_ds.bench import Measurement, Setting, bench
from timm_regnet_ds.bench.batches import fits_in_child, fits_in_process, largest_batch, largest_batch_on_cuda
from timm_regnet_ds.bench.clocks import CallTimes, CpuClock
from timm_regnet_ds.bench.flags import fp32_products
from timm_regnet_ds.bench.folding import fold_batch_norms
from timm_regnet_ds.bench.timing import Timing
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
    assert m.bytes_per_second == pytest.approx((2 * c.bytes + c.weight_bytes) / t.median * 1e3)
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
        {"dtype": "amp_bf16", "mode": "train"},
        {"cache": "cold"},
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
        ({"cache": "hot"}, "unknown cache 'hot'"),
        ({"dtype": "tf32"}, "needs a CUDA device"),
        ({"cuda_graphs": True}, "needs a CUDA device"),
        ({"fold_bn": True, "mode": "train"}, "fold_bn is for mode 'inference'"),
        ({"grad_checkpointing": True}, "grad_checkpointing is for mode 'train'"),
        ({"input_size": 2}, "AnyNet.* image"),
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


@pytest.mark.parametrize("limit", [1, 2, 3, 49, 64, 100, 1023, 30_000])
def test_the_largest_batch_is_found_by_bisection(limit):
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= limit

    found = largest_batch(fits, "cpu")
    assert 0.98 * limit <= found <= limit
    assert len(tried) <= np.log2(limit) + 8


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


@pytest.mark.parametrize(
    "message",
    [
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "GET was unable to find an engine to execute this computation",
        "No valid execution plans built.",
        "Expected canUse32BitIndexMath(input) && canUse32BitIndexMath(output) to be true, but got false.",
        "upsample_nearest2d only supports output tensors with less than INT_MAX elements",
    ],
)
def test_a_batch_that_a_library_cannot_serve_does_not_fit(message):
    def attempt(batch):
        if batch > 2:
            raise RuntimeError(message)
        return 0.0

    assert not fits_in_process(attempt, "cpu", 60, 3)
    with pytest.raises(RuntimeError, match="not even a batch of one image fits into the memory of cpu: "):
        fits_in_process(lambda batch: attempt(3), "cpu", 60, 1)


def test_the_search_times_the_second_run_alone_and_waits_for_it(monkeypatch):
    """The first run loads libraries and allocates. Without waiting, only the launch would be timed."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    setting = Setting(**{**QUICK, "batch_size": "max", "mode": "train", "compile": "default"})
    pending, tuned = [], []

    class Waiting:
        def synchronize(self):
            clock.now += sum(pending)
            pending.clear()

    def run(self):
        pending.append(100.0 if not hasattr(self, "ran") else 0.05)
        self.ran = True
        assert not hasattr(self.model, "_orig_mod")  # it is not compiled

    @contextlib.contextmanager
    def flags(*args, **kwargs):
        tuned.append(kwargs["autotune"])
        yield

    monkeypatch.setattr("timm_regnet_ds.bench.batches.MAX_BATCH_SIZE", 4)
    monkeypatch.setattr("timm_regnet_ds.bench.batches.time", clock)
    monkeypatch.setattr("timm_regnet_ds.bench.batches.clock_of", lambda device: Waiting())
    monkeypatch.setattr("timm_regnet_ds.bench.batches.backend_flags", flags)
    monkeypatch.setattr(Workload, "run", run)
    assert largest_batch_on_cuda(timm.create_model("anynet", **TINY), setting, (3, 32, 32)) == 4
    assert clock.now > 300
    assert tuned == [False]


def test_a_batch_that_takes_too_long_does_not_fit():
    assert [fits_in_process(lambda batch: 61, "cpu", 60, batch) for batch in (1, 2)] == [True, False]


def test_other_failures_are_not_taken_for_want_of_memory(worker):
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fits_in_process(shapes_do_not_match, "cpu", 60, 1)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fits_in_child(worker.call, shapes_do_not_match, 2**30, 60, 1)


@pytest.mark.parametrize(("mebibytes", "expected"), [(100, 12), (300, 37)])
def test_on_the_cpu_the_largest_batch_is_judged_by_the_memory_of_its_own_process(mebibytes, expected, worker):
    batch = largest_batch(partial(fits_in_child, worker.call, take_8_mebibytes, mebibytes * 2**20, 60), "cpu")
    assert expected - 1 <= batch <= expected


def test_a_batch_whose_process_dies_does_not_fit(worker):
    assert largest_batch(partial(fits_in_child, worker.call, die_beyond_3, 2**30, 60), "cpu") == 3


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
    m = bench(model, model_args=args, **{**QUICK, "batch_size": "max", "seconds": 2})
    assert m.setting.batch_size == 4


def test_max_on_the_cpu_needs_a_module_that_other_processes_can_load():
    class Local(nn.Identity):
        pass

    with pytest.raises(ValueError, match=r"Local cannot be sent to them .*: give a number"):
        bench(Local(), **{**QUICK, "batch_size": "max", "input_size": (3, 8, 8)})


# What a measurement leaves behind


def test_a_fault_of_the_device_keeps_its_reason(monkeypatch):
    """After a device fault, freeing memory fails too."""

    def fail(device):
        raise RuntimeError("CUDA error: unspecified launch failure in empty_cache")

    monkeypatch.setattr("timm_regnet_ds.bench.devices.free_memory", fail)
    with pytest.raises(RuntimeError, match=r"a kernel of mine$"):
        bench(Failing(), **{**QUICK, "input_size": (3, 8, 8)})
    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        quick()


def test_only_the_random_states_in_use_are_forked(monkeypatch):
    """Forking those of all devices initializes each of them, and torch warns of it."""
    seen = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices=None: seen.append(devices) or fork(devices or []))
    quick()
    assert None not in seen


def test_the_peak_of_memory_begins_after_the_untimed_runs(monkeypatch):
    """Autotuning and compilation need memory too, which repetitions do not."""
    order = []

    class Clock(CpuClock):
        def reset_memory(self):
            order.append("reset")

        def repeat(self, repetition, seconds):
            order.append("repeat")
            return super().repeat(repetition, seconds)

        def memory(self):
            order.append("memory")
            return 10, 20

    run = Workload.run
    monkeypatch.setattr("timm_regnet_ds.bench.harness.clock_of", lambda device, monitor: Clock(device))
    monkeypatch.setattr(Workload, "run", lambda self: (order.append("untimed"), run(self)))
    m = quick(mode="train")
    assert [name for i, name in enumerate(order) if name not in order[:i]] == ["untimed", "reset", "repeat", "memory"]
    assert order.index("reset") > max(i for i, name in enumerate(order) if name == "untimed")
    assert (m.memory_allocated, m.memory_reserved) == (10, 20)


def test_what_a_call_takes_is_in_the_text_and_the_row(monkeypatch):
    class Clock(CpuClock):
        def time_calls(self, repetition, seconds):
            return CallTimes(*([ms] * 6 for ms in (9.0, 8.0, 2.0)))

        def device_state(self):
            return {
                "sm_mhz": 1500,
                "sm_mhz_min": 1400,
                "sm_mhz_max": 1600,
                "watts": 250,
                "throttled": {"power cap": 0.5},
            }

    monkeypatch.setattr("timm_regnet_ds.bench.harness.clock_of", lambda device, monitor: Clock(device))
    m = quick()
    assert "one call 9 ms; launch 8 ms, GPU 2 ms: bound by the host" in str(m)
    assert "clock 1500 MHz (1400 to 1600), 250 W, slowed by power cap 50% of the time" in str(m)
    assert m.to_row()["bound_by"] == "host"
    assert Measurement.from_row(json.loads(json.dumps(m.to_row()))).latency == m.latency


@pytest.mark.parametrize("label", ["anynet", "a_name_of_" + 9 * "many_words_"])
@pytest.mark.parametrize("mode", ["inference", "train"])
def test_a_printed_measurement_has_at_most_100_columns(label, mode):
    measured = quick()
    timing = Timing(123.4567, 123.4567, 100.1234, 150.1234, 160.1234, 120.1234, 140.1234, 123_456)
    reasons = ["power cap", "hardware slowdown", "temperature, by software", "temperature, by hardware"]
    m = replace(
        measured,
        model=label,
        setting=measured.setting.replace(mode=mode, batch_size=1024, dtype="amp_bf16"),
        timing=timing,
        steps=dict.fromkeys(STEPS, timing) if mode == "train" else {},
        latency=timing,
        launch=timing,
        device_time=timing,
        memory_allocated=2**36,
        memory_reserved=2**36,
        precision_met=False,
        warm_up_steady=False,
        environment={"device_name": "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"},
        device_state={
            "sm_mhz": 2407.0,
            "sm_mhz_min": 1980,
            "sm_mhz_max": 2617,
            "watts": 299.9,
            "celsius": 81,
            "throttled": dict.fromkeys(reasons, 0.25),
        },
        processes=3,
    )
    lines = str(m).splitlines()
    assert max(map(len, lines)) <= 100
    assert "bound by the device" in str(m)
    assert len(lines) > 9


def test_a_scaled_step_of_the_optimizer_is_known_to_wait():
    """The host asks whether the gradients are finite: an element of a tensor becomes a number of Python."""

    class Waits(TorchDispatchMode):
        seen = False

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.seen |= "_local_scalar_dense" in str(func)
            return func(*args, **(kwargs or {}))

    setting = Setting(**QUICK, mode="train", optimizer="sgd")
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
    for scaled in (False, True):
        workload = Workload(prepare_model(model, setting, (3, 32, 32)), setting, (3, 32, 32), 2)
        workload.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        workload.run()
        workload.load_next_batch()
        workload.steps["forward"]()
        workload.steps["backward"]()
        with Waits() as waits:
            workload.steps["optimizer"]()
        assert (workload.waits_for_device, waits.seen) == (scaled, scaled)


@pytest.mark.parametrize("switch", ["none", "generic", "matmul", "convolution", "old"])
def test_every_switch_of_float32_products_is_restored(switch):
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has the old switches alone")
    owners = {"generic": torch.backends, "matmul": torch.backends.cuda.matmul, "convolution": torch.backends.cudnn.conv}
    start = read_switches()
    before = None
    try:
        if switch == "old":
            torch.set_float32_matmul_precision("high")
        elif switch != "none":
            owners[switch].fp32_precision = "tf32" if switch != "convolution" else "ieee"
        before = read_switches()
        for tf32, value in ((True, "tf32"), (False, "ieee")):
            with fp32_products(tf32):
                inside = read_switches()
                assert [inside[name] for name in ("matmul", "conv", "rnn")] == [value] * 3
            assert read_switches() == before
    finally:
        torch.set_float32_matmul_precision("highest")
        switches = new_switches()
        for name in ("generic", "cuda", "matmul", "conv", "rnn", "onednn"):
            switches[name].fp32_precision = start[name]


def new_switches():
    cudnn = torch.backends.cudnn
    return {
        "generic": torch.backends,
        "cuda": cudnn,
        "matmul": torch.backends.cuda.matmul,
        "conv": cudnn.conv,
        "rnn": cudnn.rnn,
        "onednn": torch.backends.mkldnn.matmul,
    }


def read_switches():
    cudnn = torch.backends.cudnn
    values = {name: switch.fp32_precision for name, switch in new_switches().items()}
    for name, read in (("old matmul", torch.get_float32_matmul_precision), ("old cudnn", lambda: cudnn.allow_tf32)):
        try:
            values[name] = read()
        except RuntimeError:
            values[name] = "mixed"
    return values


def test_the_cold_cache_is_overwritten_before_each_repetition():
    setting = Setting(**{**QUICK, "cache": "cold"})
    model = prepare_model(timm.create_model("anynet", **TINY), setting, (3, 32, 32))
    workload = Workload(model, setting, (3, 32, 32), 2)
    workload._cache.fill_(7)
    workload.load_next_batch()
    assert not workload._cache.any()
    assert workload._cache.numel() >= 2**20
    assert Workload(model, setting.replace(cache="warm"), (3, 32, 32), 2)._cache is None


def test_a_recording_uses_the_stream_that_was_warmed_up_and_keeps_no_loss(monkeypatch):
    streams, losses = [], []

    class Stream:
        def __init__(self, device=None):
            self.device = device

        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def graph(graph, stream):
        losses.append(workload.loss)
        streams.append(stream)
        yield

    @contextlib.contextmanager
    def use(stream):
        streams.append(stream)
        yield

    setting = Setting(**{**QUICK, "mode": "train"})
    model = prepare_model(timm.create_model("anynet", **TINY), setting, (3, 32, 32))
    workload = Workload(model, setting, (3, 32, 32), 2)
    for name, value in (("Stream", Stream), ("stream", use), ("graph", graph), ("current_stream", Stream)):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    workload.capture(lambda: losses.append("before"))
    assert len(set(map(id, streams))) == 1
    assert streams[0].device == "cpu"  # that of the setting, not of the process's first recording
    assert losses == ["before", None]
    assert list(workload.steps) == ["graph"]


# On a GPU


@pytest.mark.cuda
@pytest.mark.parametrize(
    "settings",
    [
        {},
        *({"dtype": dtype} for dtype in ("tf32", "bf16", "fp16", "amp")),
        {"mode": "train"},
        {"mode": "train", "dtype": "amp", "channels_last": True},
        {"dtype": "amp_bf16", "mode": "train"},
        {"cache": "cold"},
        {"cuda_graphs": True},
        {"mode": "train", "cuda_graphs": True},
        {"mode": "train", "cuda_graphs": True, "dtype": "amp_bf16"},
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
    assert m.latency.median > 0
    if m.device_time is not None:
        assert m.latency.median >= 0.9 * m.device_time.median


@pytest.mark.cuda
def test_a_small_batch_is_bound_by_the_host_and_a_graph_is_not():
    eager, graph = (
        bench("regnetx_200mf", device="cuda", batch_size=1, seconds=5, cuda_graphs=graphs) for graphs in (False, True)
    )
    assert eager.bound_by == "host"
    assert graph.bound_by == "device"
    assert graph.timing.median < eager.timing.median
    assert graph.timing.median == pytest.approx(eager.device_time.median, rel=0.3)


@pytest.mark.cuda
def test_the_peak_of_memory_is_that_of_a_repetition():
    m = bench("regnetx_200mf", device="cuda", batch_size=32, seconds=3)
    setting = Setting(device="cuda", batch_size=32)
    model = prepare_model(timm.create_model("regnetx_200mf"), setting, (3, 224, 224))
    workload = Workload(model, setting, (3, 224, 224), 32)
    workload.run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    workload.run()
    assert m.memory_allocated == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.1)


@pytest.mark.cuda
def test_two_gpus_are_recorded_in_one_process():
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    for device in ("cuda:1", "cuda:0"):
        m = bench("regnetx_200mf", device=device, batch_size=8, seconds=3, cuda_graphs=True)
        assert m.setting.device == device


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

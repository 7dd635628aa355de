"""When to stop, what the interval covers, and what is host and what is GPU: on simulated clocks, noise and devices."""

import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from simulated_cuda import SimulatedCuda, SimulatedModel

from timm_regnet_ds.bench.clocks import CallTimes, CudaClock
from timm_regnet_ds.bench.nvml import DeviceMonitor, open_monitor, pooled_state
from timm_regnet_ds.bench.sampling import PACES, StepTimes, time_until_precise
from timm_regnet_ds.bench.timing import Timing, correlation_time, median_interval

CUDA, CPU = PACES["cuda"], PACES["cpu"]


class Noise:
    """Repetitions with autocorrelated noise, on a clock of their own; the true median is ``milliseconds``."""

    def __init__(self, milliseconds, rho, share, seed, ramp=0.0, seconds_of_ramp=2.0):
        chance = np.random.default_rng(seed)
        white = chance.standard_normal(int(40_000 / milliseconds) + 600) * np.sqrt(1 - rho**2)
        times = milliseconds * np.exp(share * lfilter([1], [1, -rho], white)[500:])
        # The clocks rise while the time passes that the repetitions take.
        times *= 1 + ramp * np.exp(-np.cumsum(times) / 1e3 / seconds_of_ramp)
        self.times, self.ends, self.done = times, np.cumsum(times) / 1e3, 0

    @property
    def now(self):
        return self.ends[self.done - 1] if self.done else 0.0

    def monotonic(self):
        return self.now

    def repeat(self, seconds):
        first = self.done
        self.done = max(int(np.searchsorted(self.ends, self.now + seconds)), first + 1)
        return self.times[first : self.done, None].tolist()


def sample(monkeypatch, noise, precision=0.01, seconds=30, pace=CUDA):
    with monkeypatch.context() as patch:
        patch.setattr("timm_regnet_ds.bench.sampling.time", noise)
        patch.setattr(
            "timm_regnet_ds.bench.sampling.gc",
            SimpleNamespace(
                **dict.fromkeys(("collect", "freeze", "unfreeze", "enable", "disable"), lambda: None),
                isenabled=lambda: True,
                get_freeze_count=lambda: 0,
            ),
        )
        return time_until_precise(noise.repeat, ["step"], precision, seconds, pace)


# The interval


@pytest.mark.parametrize("rho", [0.0, 0.8, 0.95])
@pytest.mark.parametrize("milliseconds", [5, 20])
def test_the_interval_covers_the_median_although_the_repetitions_end_when_it_is_narrow(monkeypatch, rho, milliseconds):
    covered = []
    for seed in range(100):
        timing = sample(monkeypatch, Noise(milliseconds, rho, 0.01, seed)).total
        covered.append(timing.low <= milliseconds <= timing.high)
    assert np.mean(covered) >= 0.9


@pytest.mark.parametrize("rho", [0.0, 0.95])
def test_the_interval_of_a_given_number_of_repetitions_covers_the_median(rho):
    chance = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        noise = lfilter([1], [1, -rho], chance.standard_normal(2500) * np.sqrt(1 - rho**2))[500:]
        low, high = median_interval(noise)
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.93


def test_the_interval_assumes_no_distribution():
    chance = np.random.default_rng(0)
    covered = [low <= 1 <= high for low, high in (median_interval(chance.lognormal(0, 1, 60)) for _ in range(300))]
    assert np.mean(covered) >= 0.95


def test_fewer_than_six_repetitions_have_no_interval():
    assert not Timing.of([1.0, 2.0, 3.0, 4.0, 5.0]).has_interval
    assert Timing.of([1.0, 2.0, 3.0, 4.0, 5.0]).format_interval() == "range of 5 repetitions 1 to 5 ms"
    assert Timing.of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).format_interval() == "95% interval 1 to 6 ms"


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_correlation_time_is_that_of_the_process(rho):
    noise = lfilter([1], [1, -rho], np.random.default_rng(0).standard_normal(40_000))
    assert correlation_time(noise) == pytest.approx((1 + rho) / (1 - rho), rel=0.15)
    assert correlation_time([1.0] * 50) == 1


# Warming up and stopping


@pytest.mark.parametrize("milliseconds", [0.2, 1, 50])
def test_a_gpu_is_warmed_up_and_measured_for_a_second_each(monkeypatch, milliseconds):
    noise = Noise(milliseconds, 0, 0.0001, 0)
    found = sample(monkeypatch, noise, precision=0.5, seconds=30)
    assert found.warm_up_steady
    assert found.precision_met
    assert found.warm_up * milliseconds >= 950
    assert sum(map(sum, found.times)) >= 950
    assert noise.now < max(3, 120 * milliseconds / 1e3 + 1.2)


def test_a_gpu_takes_its_two_seconds_even_if_fewer_are_given(monkeypatch):
    noise = Noise(1, 0, 0.01, 0)
    found = sample(monkeypatch, noise, precision=1e-9, seconds=0.1)
    assert sum(map(sum, found.times)) >= 950
    assert 1.9 <= noise.now <= 2.2
    noise = Noise(1, 0, 0.01, 0)
    sample(monkeypatch, noise, precision=1e-9, seconds=0.1, pace=CPU)
    assert noise.now <= 0.2


@pytest.mark.parametrize("seconds_of_ramp", [0.5, 1, 2])
def test_clocks_that_take_seconds_are_waited_for(monkeypatch, seconds_of_ramp):
    found = sample(monkeypatch, Noise(1, 0, 0.01, 0, ramp=0.3, seconds_of_ramp=seconds_of_ramp))
    assert found.total.median == pytest.approx(1, rel=0.015)


def test_the_warm_up_ends_unsteady_after_its_share_of_the_seconds(monkeypatch):
    noise = Noise(1, 0, 0.01, 0, ramp=1, seconds_of_ramp=8)
    found = sample(monkeypatch, noise, seconds=10)
    assert not found.warm_up_steady
    assert not found.precision_met


def test_few_slow_repetitions_are_at_least_three(monkeypatch):
    found = sample(monkeypatch, Noise(5000, 0, 0.01, 0), seconds=6)
    assert len(found.times) == 3
    assert not found.precision_met


def test_processes_are_pooled_with_equally_many_repetitions():
    parts = [StepTimes(["step"], [[value]] * n, 5, True, True) for value, n in ((1.0, 600), (1.001, 700))]
    pooled = StepTimes.pooled(parts, 0.01)
    assert (len(pooled.times), pooled.warm_up, pooled.precision_met) == (1200, 10, True)
    apart = [StepTimes(["step"], [[value]] * 600, 5, True, True) for value in (1.0, 1.5, 1.0)]
    assert not StepTimes.pooled(apart, 0.01).precision_met


def test_no_garbage_is_collected_in_a_repetition(monkeypatch):
    seen = []

    def repeat(seconds):
        seen.append(gc.isenabled())
        return [[1.0]] * 20

    assert gc.isenabled()
    before = gc.get_freeze_count()
    time_until_precise(repeat, ["step"], 0.5, 0.05, CPU)
    assert set(seen) == {False}
    assert gc.isenabled()
    assert (gc.get_freeze_count() == 0) == (before == 0)  # what the caller has frozen stays frozen


# Host and GPU


def clock_and_model(kernels=100, host_ms=1.0, device_ms=5.0, queue=1024, **model):
    cuda = SimulatedCuda(queue)
    return CudaClock(torch.device("cuda"), cuda=cuda, now=cuda.now), SimulatedModel(
        cuda, kernels, host_ms, device_ms, **model
    )


@pytest.mark.parametrize(("host_ms", "device_ms", "bound"), [(1, 5, "device"), (5, 1, "host"), (0.1, 0.4, "device")])
def test_host_and_gpu_are_told_apart(host_ms, device_ms, bound):
    clock, model = clock_and_model(host_ms=host_ms, device_ms=device_ms)
    clock.repeat(model, 0.2)
    rows = clock.repeat(model, 0.5)
    back_to_back = np.median([sum(row) for row in rows])
    assert back_to_back == pytest.approx(max(host_ms, device_ms), rel=0.02)
    calls = clock.time_calls(model, 0.2)
    assert calls.launch.median == pytest.approx(host_ms, rel=0.02)
    assert calls.device.median == pytest.approx(device_ms, rel=0.02)
    assert calls.latency.median >= max(host_ms, device_ms)
    assert calls.latency.repetitions >= 6
    assert calls.device.repetitions >= 6
    assert (calls.launch.median > calls.device.median) == (bound == "host")


def test_the_gpu_never_waits_between_repetitions():
    clock, model = clock_and_model(kernels=10, host_ms=0.9, device_ms=1.0)
    clock.repeat(model, 0.05)
    cuda = model.cuda
    busy, start = cuda.busy, cuda.free
    clock.repeat(model, 1.0)
    assert (cuda.busy - busy) / (cuda.free - start) > 0.99


def test_the_wait_for_each_repetition_is_what_a_simple_clock_measures():
    """Launching from an idle GPU takes the longer of both, and the kernel that is launched last."""
    clock, model = clock_and_model(host_ms=5, device_ms=1)
    assert clock.time([model.run])[0] == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("model", [{"kernels": 3000}, {"waits": True}], ids=["long queue", "host waits"])
def test_what_cannot_be_launched_ahead_has_no_time_of_the_gpu(model):
    clock, simulated = clock_and_model(**model)
    calls = clock.time_calls(simulated, 0.1)
    assert calls.latency.median > 0
    assert calls.launch is calls.device is None


def test_a_call_that_is_known_to_wait_is_not_tried_behind_a_sleep(monkeypatch):
    clock, model = clock_and_model(waits=True)
    model.waits_for_device = True
    monkeypatch.setattr(model.cuda, "_sleep", None)
    calls = clock.time_calls(model, 0.1)
    assert calls.latency.repetitions >= 6
    assert calls.launch is calls.device is None


def test_calls_of_several_processes_are_pooled():
    both = [CallTimes([5.0, 6.0], [1.0], [4.0]), CallTimes([7.0], [3.0], [2.0])]
    assert CallTimes.pooled(both) == CallTimes([5.0, 6.0, 7.0], [1.0, 3.0], [4.0, 2.0])
    assert CallTimes.pooled([both[0], CallTimes([7.0])]) == CallTimes([5.0, 6.0, 7.0], [], [])
    assert CallTimes.pooled([CallTimes(), CallTimes()]).latency is None


def test_a_slow_launch_gets_a_longer_sleep():
    clock, model = clock_and_model(kernels=100, host_ms=300, device_ms=1)
    calls = clock.time_calls(model, 0.1)
    assert (calls.launch.median, calls.device.median) == (pytest.approx(300, rel=0.01), pytest.approx(1, rel=0.01))


def test_the_peak_begins_after_cached_memory_was_returned():
    clock, model = clock_and_model()
    clock.reset_memory()
    assert model.cuda.calls == ["empty_cache", "reset_peak_memory_stats"]


def test_a_ramp_of_the_gpus_clock_is_waited_for(monkeypatch):
    cuda = SimulatedCuda()
    model = SimulatedModel(cuda, 10, 0.05, 1.0, factor=lambda now: 1 + 0.3 * np.exp(-now))
    clock = CudaClock(torch.device("cuda"), cuda=cuda, now=cuda.now)
    monkeypatch.setattr("timm_regnet_ds.bench.sampling.time", SimpleNamespace(monotonic=cuda.now))
    found = time_until_precise(lambda seconds: clock.repeat(model, seconds), ["step"], 0.01, 30, CUDA)
    assert found.total.median == pytest.approx(1, rel=0.015)


# NVML


class FakeNvml:
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self):
        self.reading = 0

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return uuid

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        self.reading += kind == self.NVML_CLOCK_SM
        return 1000 + 100 * self.reading if kind == self.NVML_CLOCK_SM else 5000

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: N802
        return 250_000

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        raise self.NVMLError("not supported")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):  # noqa: N802
        return 0x1 | (0x4 if self.reading % 2 else 0x20)


def test_the_state_of_the_gpu_is_read_while_it_runs():
    cuda = SimulatedCuda()
    monitor = DeviceMonitor(FakeNvml(), "handle", now=cuda.now)
    clock = CudaClock(torch.device("cuda"), monitor, cuda=cuda, now=cuda.now)
    clock.repeat(SimulatedModel(cuda, 10, 0.1, 1.0), 0.9)
    assert clock.device_state() == {
        "sm_mhz": 1250,
        "sm_mhz_min": 1100,
        "sm_mhz_max": 1400,
        "memory_mhz": 5000,
        "watts": 250,
        "throttled": {"power cap": 0.5, "temperature, by software": 0.5},
    }


def test_the_state_over_several_processes():
    first = {"sm_mhz": 1000.0, "sm_mhz_min": 900, "sm_mhz_max": 1100, "watts": 200.0, "throttled": {"power cap": 0.5}}
    second = {"sm_mhz": 1200.0, "sm_mhz_min": 1000, "sm_mhz_max": 1300, "throttled": {}}
    assert pooled_state([first, None, second]) == {
        "sm_mhz": 1100.0, "sm_mhz_min": 900, "sm_mhz_max": 1300, "watts": 200.0, "throttled": {"power cap": 0.25},
    }  # fmt: skip
    assert pooled_state([None, first]) == first
    assert pooled_state([None]) is None


def test_without_nvml_there_is_no_state(monkeypatch):
    assert open_monitor("cpu") is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_monitor("cuda:0") is None


def test_the_gpu_is_found_by_its_uuid(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="12-ab"))
    monitor = open_monitor("cuda:3")
    assert monitor is not None
    assert monitor._handle == b"GPU-12-ab"

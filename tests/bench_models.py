"""Models that are measured in a moment, and measurements whose times are known."""

import os
import signal
from dataclasses import replace

import torch

from timm_regnet_ds.bench import harness, loading
from timm_regnet_ds.bench.jobs import Job, Result
from timm_regnet_ds.bench.measurement import Measurement
from timm_regnet_ds.bench.peaks import DevicePeaks
from timm_regnet_ds.bench.setting import Setting
from timm_regnet_ds.bench.timing import Timing
from timm_regnet_ds.bench.worker import call_in_fork
from timm_regnet_ds.complexity import Complexity

TINY = {"depths": [1, 1], "widths": [8, 16], "num_classes": 10}
QUICK = {"device": "cpu", "batch_size": 2, "input_size": 32, "threads": 1, "seconds": 0.2, "precision": 0.5}


def timing(milliseconds, share=0.01):
    low, high = milliseconds * (1 - share), milliseconds * (1 + share)
    return Timing(milliseconds, milliseconds, low, high, high, low, high, 100)


def result(model, counts, milliseconds, args=None, tags=None, operators=100, device_name="a device", **setting):
    """A result as if measured on a device."""
    setting = Setting(**{"device": "cpu", "batch_size": 1, "threads": 1, "input_size": (3, 224, 224), **setting})
    complexity = Complexity(*counts, input_size=setting.input_size, operators=operators, dtype=setting.dtype)
    measurement = Measurement(
        model=model,
        model_args=args or {},
        setting=setting,
        timing=timing(milliseconds),
        steps={},
        warm_up=5,
        warm_up_steady=True,
        precision_met=True,
        memory_allocated=None,
        memory_reserved=None,
        complexity=complexity,
        peaks=DevicePeaks(1e12, 1e11),
        environment={"device_name": device_name},
    )
    return Result(Job(model, setting, args or {}, tags or {}), device_name, measurement, None)


class InstantWorker:
    """Stands for a `Worker`, with no process: times that it makes up are the answer to each call."""

    def __init__(self, say):
        self.say = say

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, function, *args):
        if function is not harness.bench_in_forks:
            return DevicePeaks(1e12, 1e11)
        model, model_args, setting, *_ = args
        self.say("begun")
        made_up = result(model, (1, 1, 1), 1.0, dict(model_args)).measurement
        return replace(made_up, setting=setting.replace(input_size=(3, 32, 32)))

    def call_within(self, seconds, function, *args):
        return self.call(function, *args)


# Attempts at a batch, which other processes import.


def take_8_mebibytes(batch):
    """For each image."""
    torch.ones(batch * 2**21)
    return 0.0


def die_beyond_3(batch):
    if batch > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def shapes_do_not_match(batch):
    raise RuntimeError("shapes do not match")


# Calls that other processes make.


def fork_twice(prepared):
    return [call_in_fork(lambda: prepared) for _ in range(2)]


def fork_and_exit():
    call_in_fork(os._exit, 3)


def count_builds(job):
    """How often a measurement in three processes builds its model, and counts it."""
    found = {"built": 0, "counted": 0}

    def counting(name, function):
        def call(*args, **kwargs):
            found[name] += 1
            return function(*args, **kwargs)

        return call

    loading.create_model = counting("built", loading.create_model)
    loading.measure = counting("counted", loading.measure)
    harness.bench_in_forks(job.model, job.model_args, job.setting, DevicePeaks(1e12, 1e11), 3)
    return found["built"], found["counted"]

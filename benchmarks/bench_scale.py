"""`scale` against building the same model once, side by side in one run.

    pytest benchmarks/bench_scale.py --benchmark-columns=median,iqr,rounds

``scale(name, factor=4)`` is to cost under 0.1 s beyond one build, and a target under 1 s in the median over a hundred
architectures. Both measure the base afresh. Builds are on the ``meta`` device.
"""

import statistics
import time
from importlib import import_module

import pytest
import torch
from timm.models import create_model, list_models, model_entrypoint

from timm_regnet_ds.complexity import measure
from timm_regnet_ds.scaling import scale

MODELS = [
    "resnet50",
    "convnext_tiny",
    "efficientnet_b1",
    "regnety_040",
    "vit_base_patch16_224",
    "mobilenetv3_large_100",
]
ROUNDS = 7
BEYOND = 0.1  # seconds
MEDIAN = 1.0


def build(name):
    with torch.device("meta"):
        return create_model(name)


def scale_afresh(name, factor=None, **target):
    import_module("timm_regnet_ds.scaling.scale")._recent_shares.clear()
    return scale(name, factor, **target)


def seconds(call, *args, **kwargs):
    start = time.perf_counter()
    call(*args, **kwargs)
    return time.perf_counter() - start


@pytest.mark.parametrize("name", MODELS)
def test_a_factor(benchmark, name):
    benchmark.pedantic(scale_afresh, (name, 4.0), rounds=ROUNDS, warmup_rounds=1)
    one_build = statistics.median(seconds(build, name) for _ in range(ROUNDS))
    median = benchmark.stats.stats.median
    benchmark.extra_info |= {"build": one_build, "beyond": median - one_build}
    print(f"\n{name}: {median:.3f} s, one build {one_build:.3f} s: {median - one_build:+.3f} s")
    assert median - one_build < BEYOND


def test_targets(benchmark):
    names = [name for name in sorted(list_models()) if model_entrypoint(name).__module__.startswith("timm.models.")]
    times, ratios = [], []

    def search():
        for name in names[::12]:
            if len(times) == 100:
                return
            try:
                scale(name, 1.0)
            except ValueError:  # what does not scale by dWr
                continue
            twice = 2 * measure(name).flops
            times.append(seconds(scale_afresh, name, flops=twice))
            ratios.append(times[-1] / seconds(build, name))

    benchmark.pedantic(search, rounds=1)
    median = statistics.median(times)
    benchmark.extra_info |= {"median": median, "builds": statistics.median(ratios)}
    summary = f"median {median:.3f} s or {statistics.median(ratios):.0f} builds, longest {max(times):.1f} s"
    print(f"\n{len(times)} targets: {summary}")
    assert median < MEDIAN

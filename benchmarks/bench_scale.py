"""`scale` against building the same model once: ``scale(name, factor=4)`` is to cost under 0.1 s beyond one build."""

import statistics
import time

import pytest
import timm
import torch

import timm_regnet_ds as trd

MODELS = [
    "resnet50",
    "convnext_tiny",
    "efficientnet_b1",
    "regnety_040",
    "vit_base_patch16_224",
    "mobilenetv3_large_100",
]


def built(name: str) -> None:
    with torch.device("meta"):
        timm.create_model(name)


def seconds(call, *arguments, rounds: int = 5) -> float:
    """The median of a few calls, after one that warms up."""
    call(*arguments)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call(*arguments)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.mark.parametrize("name", MODELS)
def test_a_factor(benchmark, name):
    benchmark.pedantic(trd.scale, (name, 4.0), rounds=5, warmup_rounds=1)
    build = seconds(built, name)
    beyond = benchmark.stats.stats.median - build
    benchmark.extra_info["beyond one build"] = beyond
    print(f"\n{name}: {beyond:.3f} s beyond one build of {build:.3f} s")


def test_targets_of_a_hundred_architectures(benchmark):
    """``to=`` is to take under 1 s in the median."""
    every = [name for name in timm.list_models() if timm.models.model_entrypoint(name).__module__.startswith("timm.")]
    scalable = [name for name in sorted(every) if _scales(name)]
    names = scalable[:: len(scalable) // 100][:100]
    targets = {name: 2 * trd.measure(name).flops for name in names}
    found: dict[str, float] = {}
    ratios = []

    def search() -> None:
        for name in names:
            start = time.perf_counter()
            trd.scale(name, flops=targets[name])
            found[name] = time.perf_counter() - start

    benchmark.pedantic(search, rounds=1)
    for name in names:
        start = time.perf_counter()
        built(name)
        ratios.append(found[name] / (time.perf_counter() - start))
    median = statistics.median(found.values())
    benchmark.extra_info["median"] = median
    print(
        f"\n{len(names)} architectures: median {median:.3f} s, longest {max(found.values()):.1f} s, "
        f"median of {statistics.median(ratios):.0f} times one build"
    )


def _scales(name: str) -> bool:
    try:
        trd.scale(name, 1.0)
    except ValueError:
        return False
    return True

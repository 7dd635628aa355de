"""This project's RegNets against timm's own of the same network, side by side in one run.

    pytest benchmarks/bench_regnets.py --benchmark-columns=median,iqr,rounds

The same kernels on the same shapes: their times are to be equal within noise. The two take turns, so that what slows
the machine down slows both. On a GPU where there is one, otherwise on one thread of the CPU.
"""

import math
from functools import partial

import pytest
import torch
from timm.models import create_model

from timm_regnet_ds.bench.clocks import clock_of
from timm_regnet_ds.bench.devices import default_device
from timm_regnet_ds.bench.flags import backend_flags
from timm_regnet_ds.bench.timing import Timing

PAIRS = {
    "regnetx_200mf": "regnetx_002",
    "regnety_400mf": "regnety_004",
    "regnetx_1_6gf": "regnetx_016",
    "regnety_1_6gf": "regnety_016",
}
TURNS = 60
NOISE = 0.05  # the ratio's own interval may be wider


@pytest.mark.parametrize("ours", PAIRS)
def test_regnets_take_the_time_of_timms(benchmark, ours):
    device = default_device()
    clock = clock_of(device)
    models = [create_model(name).eval().to(device) for name in (ours, PAIRS[ours])]
    images = torch.randn(1 if device == "cpu" else 64, 3, 224, 224, device=device)
    times = [[], []]

    def take_turns():
        for i in range(2 * TURNS):
            times[i % 2].append(clock.time([partial(models[i % 2], images)])[0])

    with backend_flags(device, threads=1, tf32=False), torch.inference_mode():
        benchmark.pedantic(take_turns, rounds=1, warmup_rounds=1)
    a, b = (Timing.of(of_one[TURNS:]) for of_one in times)  # the warm-up's are first
    ratio = a.median / b.median
    spread = math.hypot(*(math.log(t.high / t.low) / 2 for t in (a, b)))
    benchmark.extra_info |= {"ours": a.median, "timm": b.median, "ratio": ratio}
    print(f"\n{ours} {a.median:.2f} ms, {PAIRS[ours]} {b.median:.2f} ms: ratio {ratio:.3f} ± {spread:.3f}")
    assert abs(math.log(ratio)) <= max(NOISE, spread)

"""What `import timm_regnet_ds` takes after `import timm`, and what the autoload hook adds to `import torch`.

    pytest benchmarks/bench_import.py -s

In each of several fresh processes timm is imported, and then this package. An installed package comes with timm unless
TIMM_REGNET_DS_AUTOLOAD=0 says otherwise, which it does here.
"""

import json
import os
import statistics
import subprocess
import sys

PROCESSES = 7
BEYOND = 0.3  # seconds

CODE = """
import json, time
marks = [time.perf_counter()]
import timm
marks.append(time.perf_counter())
import timm_regnet_ds
marks.append(time.perf_counter())
print(json.dumps([marks[1] - marks[0], marks[2] - marks[1]]))
"""

HOOK = """
import json, time
marks = [time.perf_counter()]
import torch
marks.append(time.perf_counter())
from importlib.metadata import entry_points
point, = entry_points(group="torch.backends", name="timm_regnet_ds")
marks.append(time.perf_counter())
point.load()()
marks.append(time.perf_counter())
print(json.dumps([marks[1] - marks[0], marks[3] - marks[2]]))
"""


def run(code, **switches):
    environment = {**os.environ, **switches}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def import_both():
    return run(CODE, TIMM_REGNET_DS_AUTOLOAD="0")


def call_hook():
    return run(HOOK, TORCH_DEVICE_BACKEND_AUTOLOAD="0")


def test_the_import_adds_little_to_timms(benchmark):
    times = []
    benchmark.pedantic(lambda: times.append(import_both()), rounds=PROCESSES, warmup_rounds=1)
    timm, beyond = (statistics.median(of_one) for of_one in zip(*times[1:], strict=True))
    benchmark.extra_info |= {"timm": timm, "beyond": beyond}
    print(f"\nimport timm {timm:.2f} s, then import timm_regnet_ds {beyond:.2f} s: {beyond / timm:.1%} of timm's")
    assert beyond < BEYOND


def test_the_hook_adds_little_to_torchs(benchmark):
    times = []
    benchmark.pedantic(lambda: times.append(call_hook()), rounds=PROCESSES, warmup_rounds=1)
    torch, hook = (statistics.median(of_one) for of_one in zip(*times[1:], strict=True))
    benchmark.extra_info |= {"torch": torch, "hook": hook}
    print(f"\nimport torch {torch:.2f} s, the hook {hook * 1e3:.2f} ms: {hook / torch:.3%} of torch's")
    assert hook < torch / 100

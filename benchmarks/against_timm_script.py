"""`bench` against timm's own benchmark.py: do the times agree, and which repeats itself better?

    python benchmarks/against_timm_script.py path/to/benchmark.py --device cpu --batch-size 1 --runs 5

The script is in timm's repository, not in its package. Each run of either is a process of its own; the two take turns.
Of each model: the median over runs of the harness's median and of the script's mean step, their ratio, and the spread
of each over its runs, as half the distance from the least to the most over the median.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("resnet18", "regnety_004", "efficientnet_b0", "vit_tiny_patch16_224")


def by_script(script, name, options):
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, script, "--model", name, "--bench", "inference", "--results-file", str(results)]
        command += ["--batch-size", str(options.batch_size), "--device", options.device, "--results-format", "json"]
        command += ["--use-train-size"]
        _run(command, options)
        return json.loads(results.read_text())["infer_step_time"]


def by_harness(name, options):
    command = [sys.executable, "-m", "timm_regnet_ds", "bench", name, "--json", "--device", options.device]
    # The script's float32 products are TF32 on a GPU.
    command += ["--batch-size", str(options.batch_size), "--dtype", "fp32" if options.device == "cpu" else "tf32"]
    command += ["--precision", options.precision, "--seconds", str(options.seconds)]
    return json.loads(_run(command, options))["timing"]["median"]


def _run(command, options):
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def spread(times):
    return (max(times) - min(times)) / 2 / statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--precision", default="1%")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    print(f"{'model':24}{'script (ms)':>13}{'harness (ms)':>14}{'ratio':>8}{'spread: script':>16}{'harness':>9}")
    for name in options.models:
        script, harness = [], []
        for _ in range(options.runs):
            script.append(by_script(options.script, name, options))
            harness.append(by_harness(name, options))
        a, b = statistics.median(script), statistics.median(harness)
        print(f"{name:24}{a:13.3f}{b:14.3f}{b / a:8.3f}{spread(script):16.2%}{spread(harness):9.2%}", flush=True)


if __name__ == "__main__":
    main()

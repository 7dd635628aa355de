"""Time and memory of a scaled model that takes over its base's weights.

    python benchmarks/bench_inherit.py resnet50 --factor 4

Each model is measured in a fresh process on Linux. Times are seconds of the processor, of all threads together, and
those of a clock; memory is the most that the process had, before `create` and at the end.
"""

import argparse
import multiprocessing
import time
import warnings
from pathlib import Path

import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.files.tables import markdown

HEADER = ("model", "scaled", "M params", "error", "build", "inherit", "by the clock", "GB before", "GB at most")


def peak() -> float:
    """The most memory that this process has had, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024 / 1e9


def measure(name: str, factor: float, threads: int) -> tuple[str, ...]:
    """A row of the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    base = timm.create_model(name)
    scaled = trd.scale(name, factor, inherit_exactly=True)
    before = peak()
    start = time.process_time()
    scaled.create()
    build = time.process_time() - start
    start, clock = time.process_time(), time.perf_counter()
    model = scaled.create(inherit=base)
    seconds, clock = time.process_time() - start, time.perf_counter() - clock
    params = [sum(p.numel() for p in one.parameters()) / 1e6 for one in (base, model)]
    numbers = (build, seconds, clock, before, peak())
    sizes = f"{params[0]:.1f} to {params[1]:.1f}"
    return name, f"×{factor:g}", sizes, f"{model.inherited.error:.1g}", *(f"{number:.2f}" for number in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["resnet50", "convnext_tiny", "vit_base_patch16_224"])
    parser.add_argument("--factor", type=float, default=4.0, help="of flops, with `inherit_exactly` (default: 4)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    options = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        jobs = [(name, options.factor, options.threads) for name in options.models]
        print(markdown(HEADER, pool.starmap(measure, jobs, chunksize=1)))


if __name__ == "__main__":
    main()

"""Trains small models on Fashion-MNIST with timm's own train.py, and validates them with its validate.py.

    python benchmarks/train_fashion.py TIMM_CHECKOUT WORK [--data /usr/share/datasets/fashion-mnist] [--minutes 100]

First networks of four families from the generators, then one base scaled to 4 times its flops under w, dw, dwr and
dWr. The images (Debian's package dataset-fashion-mnist) become a folder of PNG files. Each run is one row of
benchmarks/results/training/rows.jsonl; a script that was stopped goes on with the next run, and a run that was stopped
with its next epoch. train.py evaluates on training images that are held out; validate.py uses the test images, once,
after the last epoch. One thread; the times are seconds of CPU, which other processes disturb less than the clock.
"""

import argparse
import csv
import gzip
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import timm
from PIL import Image

import timm_regnet_ds as trd
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.training.recipes import recipe_path

RESULTS = Path(__file__).parent / "results" / "training"
# For each folder of images: the prefix of its file, and the first and last of the images that are taken.
SPLITS = {"train": ("train", 0, 10_000), "held_out": ("train", 59_000, 60_000), "validation": ("t10k", 0, 10_000)}
TRAIN, TEST = 10_000, 10_000
EPOCHS, BATCH = 5, 64
SIX = {"depth": 4, "w0": 16, "wa": 12.0, "wm": 2.0, "stem": "cifar"}
AT_32 = {"pretrained_cfg_overlay": {"input_size": (3, 32, 32)}}
FAMILIES = {
    "RegNetX-like": ("regnet", SIX | {"group_width": 8, "block": "x"}),
    "RegNetY-like": ("regnet", SIX | {"group_width": 8, "block": "y"}),
    "RegNetZ-like": ("regnet", SIX | {"group_width": 8, "block": "z"}),
    "ReXNet-like": ("rexnet", {"width_mult": 0.5, "depth_mult": 0.4}),
}
BASE = {"base": "regnet", "base_args": FAMILIES["RegNetX-like"][1] | AT_32, "flops": 11.44e6}  # 4 times its own
STRATEGIES = ("w", "dw", "dwr", "dWr")


def jobs() -> dict[str, tuple[str, dict[str, object], int]]:
    """timm's name, arguments and image size of each model."""
    found = {label: (name, args, 32) for label, (name, args) in FAMILIES.items()}
    for strategy in STRATEGIES:
        scaled = trd.scale("regnet", flops=BASE["flops"], strategy=strategy, base_args=BASE["base_args"])
        found[f"RegNetX-like x4 {strategy}"] = ("scaled", BASE | {"strategy": strategy}, scaled.input_size[1])
    return found


def write_images(source: Path, target: Path) -> None:
    """The images as PNG files, in a folder for each split and class."""
    for split, (prefix, first, last) in SPLITS.items():
        with gzip.open(source / f"{prefix}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(source / f"{prefix}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
        for i, (image, label) in enumerate(zip(pixels[first:last], labels[first:last], strict=True)):
            folder = target / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:05}.png")


def run(command: list[str], log: Path) -> tuple[str, float]:
    """The output of a command, and its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])} failed; see {log}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train(timm_checkout: Path, work: Path, label: str, job: tuple[str, dict[str, object], int], seed: int) -> dict:
    """Train and validate a model; its row."""
    name, args, side = job
    kwargs = ["--model-kwargs", *(f"{key}={value}" for key, value in args.items())]
    run_name = re.sub(r"\W+", "_", f"{label}_{seed}")
    output, images = work / run_name, str(work / "images")
    size = ["--img-size", str(side), "--num-classes", "10", "--device", "cpu", "--workers", "1", "--no-prefetcher"]
    command = [sys.executable, str(timm_checkout / "train.py"), images, "--model", name, *kwargs, *size]
    command += ["--config", str(recipe_path("small_images")), "--val-split", "held_out", "--seed", str(seed)]
    command += ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--checkpoint-hist", "1"]
    command += ["--output", str(work), "--experiment", run_name, "--log-interval", "1000"]
    before, cost = history(output), output / "cpu_seconds_per_epoch.txt"
    if before:
        command += ["--resume", str(output / "last.pth.tar")]
    if len(before) < EPOCHS:
        _, cpu = run(command, work / f"{run_name}.log")
        # Kept for a run that is stopped while it validates.
        cost.write_text(f"{cpu / (len(history(output)) - len(before)):.1f}")
    top1 = history(output)
    validate = [sys.executable, str(timm_checkout / "validate.py"), images, "--model", name, *kwargs, *size]
    validate += ["--crop-pct", "1", "--batch-size", "250", "--checkpoint", str(output / "last.pth.tar")]
    text, _ = run(validate, work / f"{run_name}.log")
    result = json.loads(text.partition("--result")[2])
    model_args = {"num_classes": 10, **args}
    complexity = trd.measure(timm.create_model(name, **model_args), side)
    return {
        "model": label,
        "seed": seed,
        "size": side,
        "epochs": EPOCHS,
        "train_images": TRAIN,
        "test_images": TEST,
        "flops": complexity.flops,
        "params": complexity.params,
        "acts": complexity.acts,
        "held_out_top1_by_epoch": top1,
        "top1_err": result["top1_err"],
        "cpu_seconds_per_epoch": float(cost.read_text()),
    }


def history(output: Path) -> list[float]:
    """Accuracy on the images held out, of each epoch that was completed."""
    if not (output / "last.pth.tar").exists() or not (output / "summary.csv").exists():
        return []
    with open(output / "summary.csv", newline="", encoding="utf-8") as file:
        return [float(row["eval_top1"]) for row in csv.DictReader(file)]


def table(rows: list[dict[str, object]]) -> str:
    """The rows as a table, the seeds of a model averaged."""
    lines = []
    for label in dict.fromkeys(row["model"] for row in rows):
        same = [row for row in rows if row["model"] == label]
        errors = [row["top1_err"] for row in same]
        spread = f"{min(errors):.1f} to {max(errors):.1f}" if len(same) > 1 else ""
        cpu = np.mean([row["cpu_seconds_per_epoch"] for row in same])
        first = same[0]
        counts = (f"{first[key] / 1e6:.3g}" for key in ("flops", "params", "acts"))
        time_of_it = (f"{cpu:.1f}", f"{TRAIN / cpu:.0f}")
        error = (f"{np.mean(errors):.1f}", spread)
        lines.append((label, str(first["size"]), *counts, str(len(same)), *error, *time_of_it))
    head = ("model", "size", "flops (M)", "params (M)", "acts (M)", "seeds", "top-1 error (%)", "range")
    return markdown((*head, "CPU s per epoch", "images per CPU s"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("timm", type=Path, metavar="TIMM_CHECKOUT")
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=100.0, help="of CPU, after which no further run begins")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows_file = RESULTS / "rows.jsonl"
    if not (options.work / "images").exists():
        write_images(options.data, options.work / "images.part")
        (options.work / "images.part").rename(options.work / "images")
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
    found = jobs()
    for seed in range(options.seeds):
        for label, job in found.items():
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            if any((row["model"], row["seed"]) == (label, seed) for row in rows):
                continue
            if used.ru_utime + used.ru_stime > 60 * options.minutes:
                break
            start = time.time()
            rows.append(train(options.timm, options.work, label, job, seed))
            with open(rows_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            (RESULTS / "README.md").write_text(f"# Small models on Fashion-MNIST\n\n{table(rows)}\n", encoding="utf-8")
            print(f"{label}, seed {seed}: error {rows[-1]['top1_err']}%, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

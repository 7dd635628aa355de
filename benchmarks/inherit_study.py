"""Does growing pay? Small models on Fashion-MNIST, grown from a trained base or trained from scratch at equal flops.

    python benchmarks/inherit_study.py results.jsonl --minutes 10 > table.md

A base is trained with some flops. Then four ways to spend as many flops again are compared, by test accuracy:

- grown: the base grown by `scale` and `create(inherit=base)`, then trained;
- overlap: the same model, with the base's weights in the leading corner of each tensor and fresh weights elsewhere;
- scratch: the same model, freshly initialized, trained with the flops of the base and of the growth together;
- base: the base, trained on.

Learning rates are chosen for each on the last 10,000 training images, which are not trained on; then each runs with
every seed. A run is one row; a script that was stopped goes on with the next run. Times are seconds of the processor.
"""

import argparse
import gzip
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

import timm_regnet_ds as trd
from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.files.tables import markdown

SIZES = {"num_classes": 10, "in_chans": 1}
INPUT = {"pretrained_cfg_overlay": {"input_size": (1, 28, 28)}}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "BatchNorm": ("anynet", {"depths": [1, 1, 1], "widths": [16, 32, 64], "stem": "cifar"}),
    "LayerNorm": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48), "patch_size": 2}),
}
STRATEGIES = ("w", "dw", "dWr")
FACTORS = (4.0, 2.0)
ARMS = ("grown", "overlap", "scratch")
RATES = (1e-3, 3e-3, 1e-2)
BATCH = 64
VALIDATION = 10_000


def images(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized images and classes."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (torch.tensor(pixels).float() / 255 - 0.286) / 0.353, torch.tensor(labels).long()


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, count: int, rate: float, seed: int, side: int) -> None:
    """Train on ``count`` images with AdamW and one cycle of the learning rate."""
    torch.manual_seed(seed)
    steps = max(1, count // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    order = torch.cat([torch.randperm(len(x)) for _ in range(steps * BATCH // len(x) + 1)])
    model.train()
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(resized(x[batch], side)), y[batch]).backward()
        optimizer.step()
        schedule.step()


def resized(x: torch.Tensor, side: int) -> torch.Tensor:
    return x if x.shape[-1] == side else nn.functional.interpolate(x, side, mode="bilinear")


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor, side: int) -> float:
    model.eval()
    right = sum(
        int((model(resized(a, side)).argmax(1) == b).sum()) for a, b in zip(x.split(250), y.split(250), strict=True)
    )
    return right / len(y)


def copy_corner(base: nn.Module, model: nn.Module) -> None:
    """The base's weights in the leading corner of the tensors of the same names."""
    old = base.state_dict()
    for name, value in model.state_dict().items():
        if name in old and old[name].ndim == value.ndim:
            at = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, old[name].shape, strict=True))
            value[at] = old[name][at]


class Study:
    """The data, the trained bases, and the scaled models.

    Args:
        folder: of Fashion-MNIST.
        count: images that a base is trained on.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        x, y = images(folder, "train")
        self.x, self.y = x[:-VALIDATION], y[:-VALIDATION]
        self.parts = {"validation": (x[-VALIDATION:], y[-VALIDATION:]), "test": images(folder, "t10k")}
        self.bases: dict[tuple[str, int, float], nn.Module] = {}

    def base(self, kind: str, seed: int, rate: float) -> nn.Module:
        """A base, trained once."""
        if (kind, seed, rate) not in self.bases:
            name, args = BASES[kind]
            torch.manual_seed(seed)
            model = timm.create_model(name, **args, **SIZES, **INPUT)
            train(model, self.x, self.y, self.count, rate, seed, 28)
            self.bases[kind, seed, rate] = model
        return self.bases[kind, seed, rate]

    def run(self, job: dict[str, Any], rate: float, base_rate: float) -> dict[str, Any]:
        """Train one model and measure its accuracy on the validation or on the test images."""
        kind, arm, seed = job["base"], job["arm"], job["seed"]
        name, args = BASES[kind]
        start = time.process_time()
        side, growth = 28, 1.0
        if arm == "first":
            model, count = self.base(kind, seed, rate), 0
        elif arm == "base":
            torch.manual_seed(seed)
            model, count = timm.create_model(name, **args, **SIZES, **INPUT), self.count
            model.load_state_dict(self.base(kind, seed, base_rate).state_dict())
        else:
            scaled = trd.scale(
                name,
                job["factor"],
                strategy=job["strategy"],
                base_args={**args, **SIZES, **INPUT},
                inherit_exactly=True,
            )
            side, growth = scaled.input_size[1], scaled.growth.flops
            count = round(self.count / growth * (1 + (arm == "scratch")))
            torch.manual_seed(seed)
            if arm == "grown":
                model = scaled.create(inherit=self.base(kind, seed, base_rate))
            else:
                model = scaled.create(**SIZES)
            if arm == "overlap":
                copy_corner(self.base(kind, seed, base_rate), model)
        before = None if arm in ("scratch", "first") else accuracy(model, *self.parts[job["split"]], side)
        if count:
            train(model, self.x, self.y, count, rate, seed + 1, side)
        return {
            **job,
            "rate": rate,
            "growth": round(growth, 3),
            "images": count,
            "before": before,
            "accuracy": accuracy(model, *self.parts[job["split"]], side),
            "seconds": round(time.process_time() - start, 1),
        }


def jobs(seeds: int) -> Iterator[dict[str, Any]]:
    """What is compared, the cheapest complete comparisons first."""
    for factor in FACTORS:
        for strategy in STRATEGIES:
            for kind in BASES:
                for arm in ("first", "base", *ARMS):
                    grows = arm in ARMS
                    yield {
                        "base": kind,
                        "factor": factor if grows else 1.0,
                        "strategy": strategy if grows else "-",
                        "arm": arm,
                        "seeds": seeds,
                    }


def study(rows: RowsFile, folder: Path, count: int, seeds: int, until: float) -> Iterator[dict[str, Any]]:
    """Run what the file lacks; stop before a run that begins after ``until``."""
    todo = Study(folder, count)
    chosen: dict[tuple[Any, ...], float] = {}
    for job in jobs(seeds):
        job.pop("seeds")
        key = tuple(job.values())
        base_rate = chosen.get((job["base"], 1.0, "-", "first"), RATES[0])

        def done(job: dict[str, Any], rate: float | None, seed: int, split: str) -> list[dict[str, Any]]:
            wanted = job | {"seed": seed, "split": split, "count": count} | ({} if rate is None else {"rate": rate})
            return [row for row in rows.read_if_exists() if wanted.items() <= row.items()]

        tuned = {}
        for rate in RATES:
            found = done(job, rate, 0, "validation")
            if not found:
                if time.monotonic() > until:
                    return
                row = todo.run(job | {"seed": 0, "split": "validation", "count": count}, rate, base_rate)
                rows.append(row)
                yield row
                found = [row]
            tuned[rate] = found[0]["accuracy"]
        best = chosen[key] = max(tuned, key=lambda rate: tuned[rate])
        for seed in range(seeds):
            if done(job, None, seed, "test"):
                continue
            if time.monotonic() > until:
                return
            row = todo.run(job | {"seed": seed, "split": "test", "count": count}, best, base_rate)
            rows.append(row)
            yield row


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Mean test accuracy of each comparison, with the number of seeds."""
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    alone: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["split"] != "test":
            continue
        if row["strategy"] == "-":
            alone.setdefault((row["base"], row["arm"]), []).append(row["accuracy"])
        else:
            arms = found.setdefault((row["base"], row["factor"], row["strategy"]), {})
            arms.setdefault(row["arm"], []).append(row["accuracy"])
            if row["arm"] == "grown":
                arms.setdefault("before", []).append(row["before"])

    def cell(values: list[float] | None) -> str:
        return f"{100 * float(np.mean(values)):.1f} ({len(values)})" if values else ""

    header = ("base", "flops", "strategy", "base alone", "before", "grown", "overlap", "scratch", "base trained on")
    body = [
        (
            kind,
            f"×{factor:g}",
            strategy,
            cell(alone.get((kind, "first"))),
            *(cell(arms.get(arm)) for arm in ("before", *ARMS)),
            cell(alone.get((kind, "base"))),
        )
        for (kind, factor, strategy), arms in found.items()
    ]
    return markdown(header, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="file of rows, which is continued if it exists")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of Fashion-MNIST's files")
    parser.add_argument("--minutes", type=float, default=120.0, help="no run begins later (default: 120)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000, help="that a base is trained on (default: 60000)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = RowsFile(Path(options.results), "inherit study", 1)
    until = time.monotonic() + 60 * options.minutes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in study(rows, Path(options.data), options.images, options.seeds, until):
            print(
                {key: row[key] for key in ("base", "factor", "strategy", "arm", "split", "seed", "rate", "accuracy")},
                row["seconds"],
                file=sys.stderr,
            )
    print(table(row for row in rows.read_if_exists() if row["count"] == options.images))


if __name__ == "__main__":
    main()

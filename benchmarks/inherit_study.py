"""Does growing pay? Small models on Fashion-MNIST, grown from a trained base or trained from scratch.

    python benchmarks/inherit_study.py results.jsonl --minutes 120 > table.md

A base is trained on some images. Then four ways to train a model of another size are compared, by test accuracy:

- grown: the base scaled by `scale` and `create(inherit=base)`, then trained;
- overlap: the same model, with the base's weights in the leading corner of each tensor and fresh weights elsewhere;
- scratch: the same model, freshly initialized, trained as long as the grown one;
- scratch x2: the same as long as the base and the grown one together.

Besides, the base is trained on. Each training costs as much as that of the base: as many flops, or as much time of the
processor, by milliseconds per image that are measured first. The number of images follows from that.

Learning rates are chosen at equal flops on 2,000 images of the training set that are not trained on: from a ladder of
seven, upwards or downwards until accuracy falls. Then each way runs with every seed, which also trains its own base.
A training is one row; a script that was stopped goes on with the next one. Times are seconds of the processor.
"""

import argparse
import gzip
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

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
    "BatchNorm": ("anynet", {"depths": [1, 1, 1], "widths": [16, 32, 64], "stem": "cifar", "stem_width": 16}),
    "LayerNorm": (
        "convnext_atto",
        {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48), "patch_size": 1, "kernel_sizes": 3},
    ),
}

# The learning rates to choose from, and those with which the choice begins.
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
FIRST_RATES = range(2, 5)

BATCH = 32
WEIGHT_DECAY = 0.05
TUNING = 2_000  # images on which learning rates are chosen
HELD_OUT = 10_000  # the last training images, which include those; none of them is trained on


class Case(NamedTuple):
    """A way to scale a base. A factor of 1 is the base itself."""

    base: str
    factor: float = 1.0
    strategy: str = "-"


class Arm(NamedTuple):
    """What is trained.

    Attributes:
        name: of the arm.
        begins: the weights that it begins with: ``inherit``, ``overlap`` or ``fresh``.
        budgets: for how many times the budget it is trained.
        rate_of: the arm whose learning rate it has, if it is not its own.
    """

    name: str
    begins: str
    budgets: int = 1
    rate_of: str | None = None


FIRST = Arm("base", "fresh")
ON = Arm("base trained on", "inherit")
GROWN, OVERLAP = Arm("grown", "inherit"), Arm("overlap", "overlap")
SCRATCH_BOTH = Arm("scratch x2", "fresh", 2)
SCRATCH = Arm("scratch", "fresh", rate_of="scratch x2")
ARMS = {"flops": (GROWN, OVERLAP, SCRATCH_BOTH, SCRATCH), "time": (GROWN, OVERLAP, SCRATCH_BOTH)}

# What is compared, in this order; each for every base. By dw, twice the flops are twice the depth (`inherit_exactly`):
# rounding would leave a third of them.
COMPARISONS = (
    (4.0, "dWr", "flops"),
    (4.0, "dWr", "time"),
    (0.5, "dWr", "flops"),
    (4.0, "w", "flops"),
    (4.0, "dw", "flops"),
    (2.0, "dw", "flops"),
    (2.0, "w", "flops"),
    (2.0, "dWr", "flops"),
    (4.0, "w", "time"),
    (4.0, "dw", "time"),
    (2.0, "dw", "time"),
    (2.0, "w", "time"),
    (2.0, "dWr", "time"),
    (0.5, "dWr", "time"),
)
EXACTLY = {(2.0, "dw")}


def images(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized images and classes."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (torch.tensor(pixels).float() / 255 - 0.286) / 0.353, torch.tensor(labels).long()


def resized(x: torch.Tensor, side: int) -> torch.Tensor:
    return x if x.shape[-1] == side else nn.functional.interpolate(x, side, mode="bilinear")


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, count: int, rate: float, seed: int, side: int) -> None:
    """Train on ``count`` images with AdamW and one cycle of the learning rate."""
    torch.manual_seed(seed)
    steps = max(2, count // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    order = torch.cat([torch.randperm(len(x)) for _ in range(steps * BATCH // len(x) + 1)])
    model.train()
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(resized(x[batch], side)), y[batch]).backward()
        optimizer.step()
        schedule.step()


def milliseconds(models: dict[str, tuple[nn.Module, int]], rounds: int = 6, steps: int = 8) -> dict[str, float]:
    """Time of training per image, in turns, so that a busy machine slows all models down alike; the best round."""
    best = dict.fromkeys(models, float("inf"))
    for _ in range(rounds):
        for name, (model, side) in models.items():
            x, y = torch.randn(BATCH * steps, 1, side, side), torch.randint(0, 10, (BATCH * steps,))
            start = time.process_time()
            train(model, x, y, BATCH * steps, 1e-3, 0, side)
            best[name] = min(best[name], (time.process_time() - start) / len(x) * 1e3)
    return best


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
    """The data, the rows that are measured already, and how further ones are measured.

    Args:
        rows: the file of rows, which is continued.
        folder: of Fashion-MNIST.
        count: images that a base is trained on.
        seeds: trainings of each kind.
        until: no training begins later, by `time.monotonic`.
    """

    def __init__(self, rows: RowsFile, folder: Path, count: int, seeds: int, until: float) -> None:
        self.file = rows
        self.count, self.seeds, self.until = count, seeds, until
        x, y = images(folder, "train")
        self.x, self.y = x[:-HELD_OUT], y[:-HELD_OUT]
        self.parts = {"tuning": (x[-TUNING:], y[-TUNING:]), "test": images(folder, "t10k")}
        self.rows = [row for row in rows.read_if_exists() if row["count"] == count]
        self.base = cache(self._base)
        self.scaled = cache(self._scaled)

    def run(self) -> Iterator[dict[str, Any]]:
        """Measure what the file lacks."""
        try:
            for factor, strategy, budget in COMPARISONS:
                for kind in BASES:
                    yield from self.compare(Case(kind), (FIRST, ON), "flops")
                    yield from self.compare(Case(kind, factor, strategy), ARMS[budget], budget)
        except _TimeOverError:
            return

    def compare(self, case: Case, arms: tuple[Arm, ...], budget: str) -> Iterator[dict[str, Any]]:
        """The rows of one comparison that the file lacks: one seed after the other."""
        for arm in arms:
            if budget == "flops" and arm.rate_of is None:
                yield from self.tune(case, arm)
        for seed in range(self.seeds):
            for arm in arms:
                job = self.job(case, arm, budget, seed)
                if not self.find(job):
                    yield self.append(job | self.train(job, case, arm, self.rate(case, arm), "test"))

    def tune(self, case: Case, arm: Arm) -> Iterator[dict[str, Any]]:
        """Try learning rates until the best one is between two worse ones, or is the last of the ladder."""
        job = self.job(case, arm, "tuning", 0)
        while True:
            tried = {RATES.index(row["rate"]): row["accuracy"] for row in self.find(job)}
            wanted = set(FIRST_RATES) - set(tried)
            if not wanted:
                best = max(tried, key=lambda index: tried[index])
                wanted = {best - 1, best + 1} & set(range(len(RATES))) - set(tried)
            if not wanted:
                return
            yield self.append(job | self.train(job, case, arm, RATES[min(wanted)], "tuning"))

    def rate(self, case: Case, arm: Arm) -> float:
        """The learning rate with the best accuracy on the images for tuning."""
        name = arm.rate_of or arm.name
        tried = self.find({**case._asdict(), "arm": name, "budget": "tuning"})
        return float(max(tried, key=lambda row: row["accuracy"])["rate"])

    def job(self, case: Case, arm: Arm, budget: str, seed: int) -> dict[str, Any]:
        return {**case._asdict(), "arm": arm.name, "budget": budget, "seed": seed, "count": self.count}

    def find(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        return [row for row in self.rows if wanted.items() <= row.items()]

    def append(self, row: dict[str, Any]) -> dict[str, Any]:
        self.file.append(row)
        self.rows.append(row)
        return row

    def train(self, job: dict[str, Any], case: Case, arm: Arm, rate: float, part: str) -> dict[str, Any]:
        """Train one model and measure its accuracy."""
        if time.monotonic() > self.until:
            raise _TimeOverError
        seed = job["seed"]
        growth, side, cost = 1.0, 28, 1.0
        if case.factor != 1.0:
            scaled = self.scaled(case)
            growth, side = scaled.growth.flops, scaled.input_size[1]
            cost = self.clock(case) if job["budget"] == "time" else growth
        model, error = self.begin(case, arm, seed)
        test = self.parts[part]
        before = accuracy(model, *test, side) if part == "test" and arm.begins != "fresh" else None
        count = round(self.count / cost * arm.budgets)
        start = time.process_time()
        train(model, self.x, self.y, count, rate, seed if arm is FIRST else seed + 1, side)
        seconds = time.process_time() - start
        return {
            "rate": rate,
            "growth": round(growth, 3),
            "side": side,
            "error": error,
            "images": count,
            "before": before,
            "accuracy": accuracy(model, *test, side),
            "seconds": round(seconds, 1),
        }

    def begin(self, case: Case, arm: Arm, seed: int) -> tuple[nn.Module, float | None]:
        """The model before training, and how far it is from its base where it inherits."""
        base = None if arm.begins == "fresh" else self.base(case.base, seed)
        torch.manual_seed(seed)
        if case.factor == 1.0:
            name, args = BASES[case.base]
            model = timm.create_model(name, **args, **SIZES, **INPUT)
            if base is not None:
                model.load_state_dict(base.state_dict())
            return model, None
        scaled = self.scaled(case)
        if arm.begins == "inherit":
            model = scaled.create(inherit=base)
            return model, float(f"{model.inherited.error:.2g}")
        model = scaled.create(**SIZES)
        if base is not None:
            copy_corner(base, model)
        return model, None

    def clock(self, case: Case) -> float:
        """How many times as long as its base the scaled model trains on one image; measured once."""
        job = {**case._asdict(), "arm": "clock", "count": self.count}
        found = self.find(job)
        if not found:
            name, args = BASES[case.base]
            scaled = self.scaled(case)
            models = {
                "base_milliseconds": (timm.create_model(name, **args, **SIZES, **INPUT), 28),
                "milliseconds": (scaled.create(**SIZES), scaled.input_size[1]),
            }
            found = [self.append(job | {key: round(ms, 4) for key, ms in milliseconds(models).items()})]
        return float(found[0]["milliseconds"] / found[0]["base_milliseconds"])

    def _base(self, kind: str, seed: int) -> nn.Module:
        """A base, trained with the learning rate that was chosen for it."""
        model, _ = self.begin(Case(kind), FIRST, seed)
        train(model, self.x, self.y, self.count, self.rate(Case(kind), FIRST), seed, 28)
        return model

    def _scaled(self, case: Case) -> trd.ScaledModel:
        name, args = BASES[case.base]
        return trd.scale(
            name,
            case.factor,
            strategy=case.strategy,
            base_args={**args, **SIZES, **INPUT},
            inherit_exactly=(case.factor, case.strategy) in EXACTLY,
        )


class _TimeOverError(Exception):
    """The time is over."""


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Test accuracy in percent of each comparison: mean and deviation of the seeds that all its arms have."""
    found: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["arm"] != "clock" and row["budget"] != "tuning":
            key = (row["base"], row["factor"], row["strategy"], row["budget"], row["arm"])
            found.setdefault(key, {})[row["seed"]] = row
    body = []
    for factor, strategy, budget in COMPARISONS:
        for kind in BASES:
            case = (kind, factor, strategy, budget)
            runs = {arm.name: found.get((*case, arm.name), {}) for arm in ARMS[budget]}
            runs |= {arm.name: found.get((kind, 1.0, "-", "flops", arm.name), {}) for arm in (FIRST, ON)}
            seeds = sorted(set.intersection(*map(set, runs.values())))
            if not seeds:
                continue

            def cell(arm: str, value: str = "accuracy", runs: Any = runs, seeds: list[int] = seeds) -> str:
                values = [100 * runs[arm][seed][value] for seed in seeds] if arm in runs else []
                spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
                return f"{np.mean(values):.1f}{spread}" if values else ""

            grown = [runs["grown"][seed] for seed in seeds]
            body.append(
                (
                    kind,
                    f"×{factor:g} {strategy}",
                    f"{grown[0]['growth']:.2f}",
                    f"{max(row['error'] for row in grown):.1g}",
                    budget,
                    str(grown[0]["images"]),
                    str(len(seeds)),
                    cell("base"),
                    cell("grown", "before"),
                    cell("overlap", "before"),
                    *map(cell, ("grown", "overlap", "scratch", "scratch x2", "base trained on")),
                )
            )
    header = ("base", "scaled", "flops", "error", "equal", "images", "seeds", "base", "grown, before")
    header += ("overlap, before", "grown", "overlap", "scratch", "scratch ×2", "base trained on")
    return markdown(header, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", help="file of rows, which is continued if it exists")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of Fashion-MNIST's files")
    parser.add_argument("--minutes", type=float, default=120.0, help="no training begins later (default: 120)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=12_000, help="that a base is trained on (default: 12000)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = RowsFile(Path(options.results), "inherit study", 2)
    study = Study(rows, Path(options.data), options.images, options.seeds, time.monotonic() + 60 * options.minutes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in study.run():
            print(*row.values(), file=sys.stderr, flush=True)
    print(table(study.rows))


if __name__ == "__main__":
    main()

"""The main uses in a few minutes: build a model of a paper, scale one, time, train, save and reload."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_loader
from timm.models import save_for_hf
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from timm_regnet_ds.bench import Measurement, bench
from timm_regnet_ds.common.plots import new_figure
from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.papers.complexity import PRINTED
from timm_regnet_ds.populations.sweep.data import read_digits
from timm_regnet_ds.scaling.arithmetic.rounding import round_resolution

__all__ = ["demo"]

SHOWN = "regnetz_500mf_dWr_16gf"
BASE = "regnetz_500mf"
STRATEGIES = ("w", "dw", "dwr", "dWr")
TARGETS = ("1gf", "2gf", "4gf", "8gf", "16gf")
EPOCHS = 8

# The model to train: 53 thousand parameters, for images of 32×32 pixels.
SMALL_REGNETX = {"depth": 6, "w0": 16, "wa": 12.0, "wm": 2.0, "group_width": 8, "stem": "cifar", "num_classes": 10}
DATA_CFG = {"input_size": (3, 32, 32), "pool_size": (4, 4), "crop_pct": 1.0, "num_classes": 10}

# On a CPU, images have half the side, so that the largest model too takes well under a second.
CPU_SHRINK = 2


@dataclass(frozen=True)
class StrategyRow:
    """A base, or the base scaled by a strategy: its complexity at its own image size, and its time for one image."""

    strategy: str
    complexity: Complexity
    measurement: Measurement

    @property
    def milliseconds(self) -> float:
        return self.measurement.timing.median


def demo(output: str | Path = "demo-output") -> None:
    """Run everything, print the results, and write a picture and a trained model to the directory ``output``.

    Raises:
        ImportError: the extra ``demo`` is not installed.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _one_thread():
        _run(output, device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread while active: at these sizes, several threads gain little and wait for other programs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _run(output: Path, device: torch.device) -> None:
    _print_header("1. A model of the paper, by name")
    _print_paper_values()

    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    _print_header(f"2. Four ways to scale {BASE} ({where})")
    rows = _measure_strategies(device)
    _print_strategies(rows, device)
    _draw_strategies(rows, output / "strategies.png", device)
    print(f"Picture: {output / 'strategies.png'}")

    _print_header("3. A small RegNetX, trained on scanned digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # Without a seed, the accuracy would vary from run to run.
        model, accuracy = _train_on_digits(device)
    print(f"Accuracy on held-out digits: {accuracy:.1%} (chance: 10%)")

    _print_header("4. Saved as safetensors and built again by timm")
    _save_and_reload(model, output / "regnetx-digits")
    print(f"create_model('local-dir:{output / 'regnetx-digits'}'): logits equal")


def _print_header(text: str) -> None:
    print(f"\n{text}\n{'─' * len(text)}")


def _print_paper_values() -> None:
    c, printed = measure(SHOWN), PRINTED[SHOWN]
    print(f">>> timm.create_model({SHOWN!r})")
    print(f"{'':12}{'flops (G)':>12}{'params (M)':>12}{'acts (M)':>12}")
    print(f"{'measured':12}{c.flops / 1e9:12.4f}{c.params / 1e6:12.4f}{c.acts / 1e6:12.4f}")
    print(f"{'printed':12}{printed.flops:>12}{printed.params:>12}{printed.acts:>12}")


def _measure_strategies(device: torch.device) -> list[StrategyRow]:
    """The base and its scaled models: complexity at their own image size, and time on ``device``."""
    from tqdm import tqdm

    names = {BASE: BASE} | {f"{BASE}_{strategy}_{target}": strategy for strategy in STRATEGIES for target in TARGETS}
    bar = tqdm(names.items(), desc="timing", unit="model", leave=False, disable=None)
    rows = []
    for name, strategy in bar:
        bar.set_postfix_str(name)
        complexity = measure(name)
        side = complexity.input_size[-1]
        size = side if device.type == "cuda" else round_resolution(side / CPU_SHRINK)
        timed = bench(name, device=str(device), batch_size=1, input_size=size, seconds=0.5)
        rows.append(StrategyRow(strategy, complexity, timed))
    return rows


def _print_strategies(rows: list[StrategyRow], device: torch.device) -> None:
    note = "" if device.type == "cuda" else "; time at half of this size"
    print(f"Flops, params and acts at the model's image size{note}\n")
    print(f"{'model':24} {'input':>5} {'flops (G)':>10} {'params (M)':>11} {'acts (M)':>9} {'ms/image':>9}")
    for row in rows:
        c = row.complexity
        numbers = f"{c.flops / 1e9:10.2f} {c.params / 1e6:11.1f} {c.acts / 1e6:9.1f} {row.milliseconds:9.1f}"
        print(f"{row.measurement.model:24} {c.input_size[-1]:>5} {numbers}")


def _draw_strategies(rows: list[StrategyRow], path: Path, device: torch.device) -> None:
    """Activations and time against flops, with a line for each strategy (the scaling paper's Figure 1, lower half)."""
    figure, axes = new_figure(columns=2, width=5, height=4.2)
    left, right = axes.flat
    base = next(row for row in rows if row.strategy == BASE)
    for strategy in STRATEGIES:
        line = [base, *(row for row in rows if row.strategy == strategy)]
        flops = [row.complexity.flops / 1e9 for row in line]
        left.plot(flops, [row.complexity.acts / 1e6 for row in line], "o-", label=strategy, markersize=4)
        right.plot(flops, [row.milliseconds for row in line], "o-", label=strategy, markersize=4)
    left.set(title=f"Activations of {BASE}, scaled", ylabel="acts (M)")
    where = "CUDA" if device.type == "cuda" else "the CPU, images of half the side"
    right.set(title=f"Time on {where}", ylabel="time for one image (ms)")
    for plot in (left, right):
        plot.set_xlabel("flops at full size (GF)")
        plot.set_ylim(bottom=0)
        plot.legend(title="strategy")
    figure.savefig(path, dpi=120)


class Digits(torch.utils.data.Dataset):
    """scikit-learn's scanned digits as PIL images, for timm's transforms.

    Args:
        train: the training part, otherwise the validation part.
    """

    def __init__(self, train: bool) -> None:
        from PIL import Image

        digits = read_digits()
        images, labels = digits.train if train else digits.valid
        self.images = [Image.fromarray(image).convert("RGB") for image in images]
        self.labels = [int(label) for label in labels]
        self.transform: Any = None  # timm's loader sets it

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def _train_on_digits(device: torch.device) -> tuple[nn.Module, float]:
    """Train a small RegNetX with timm's loader, optimizer and scheduler; return it and its accuracy."""
    from tqdm import tqdm

    model = timm.create_model("regnet", pretrained_cfg_overlay=DATA_CFG, **SMALL_REGNETX).to(device)
    loader_args = {
        "input_size": DATA_CFG["input_size"],
        "batch_size": 64,
        "device": device,
        "use_prefetcher": False,
        "num_workers": 0,
        "persistent_workers": False,
    }
    train = create_loader(Digits(train=True), is_training=True, no_aug=True, **loader_args)
    held_out = create_loader(Digits(train=False), is_training=False, crop_pct=1.0, **loader_args)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.5, momentum=0.9, weight_decay=5e-5)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=EPOCHS,
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=len(train),
    )
    loss_fn = nn.CrossEntropyLoss()
    with tqdm(total=EPOCHS * len(train), desc="training", unit="batch", leave=False, disable=None) as bar:
        for epoch in range(EPOCHS):
            model.train()
            for step, (images, labels) in enumerate(train):
                loss = loss_fn(model(images.to(device)), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step_update(epoch * len(train) + step + 1)
                bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    return model.eval(), _accuracy(model, held_out, device)


@torch.inference_mode()
def _accuracy(model: nn.Module, loader: Any, device: torch.device) -> float:
    correct = [(model(images.to(device)).argmax(1).cpu() == labels.cpu()).float() for images, labels in loader]
    return float(torch.cat(correct).mean())


def _save_and_reload(model: nn.Module, directory: Path) -> None:
    """Save the small RegNetX, build it again from the directory, and compare the logits.

    Raises:
        RuntimeError: the logits differ.
    """
    model = copy.deepcopy(model).cpu().eval()
    # timm before 1.0.31 does not record the arguments itself.
    save_for_hf(model, str(directory), model_args=SMALL_REGNETX, safe_serialization=True)
    reloaded = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        if not torch.equal(model(images), reloaded(images)):
            raise RuntimeError("the reloaded model gives other logits than the saved one")

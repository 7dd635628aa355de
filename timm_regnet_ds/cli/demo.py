"""The main job in a few minutes: build a model of a paper, scale one, time, train, save and reload."""

import copy
import logging
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

from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.papers.complexity import PRINTED
from timm_regnet_ds.scaling.arithmetic.rounding import round_resolution

__all__ = ["StrategyRow", "demo", "draw_strategies", "measure_strategies", "save_and_reload", "train_on_digits"]

SHOWN = "regnetz_500mf_dWr_16gf"
BASE = "regnetz_500mf"
STRATEGIES = ("w", "dw", "dwr", "dWr")
TARGETS = ("1gf", "2gf", "4gf", "8gf", "16gf")

# What is trained: 53 thousand parameters for images of 32×32.
SMALL_REGNETX = {"depth": 6, "w0": 16, "wa": 12.0, "wm": 2.0, "group_width": 8, "stem": "cifar", "num_classes": 10}
DATA_CFG = {"input_size": (3, 32, 32), "pool_size": (4, 4), "crop_pct": 1.0, "num_classes": 10}

# On a CPU the pictures are smaller by this, so that the largest model too takes well under a second.
CPU_SHRINK = 2


@dataclass(frozen=True)
class StrategyRow:
    """A base, or the base scaled by a strategy: its complexity and its time for one image."""

    strategy: str
    model: str
    complexity: Complexity
    milliseconds: float


def demo(output: str | Path = "demo-output") -> None:
    """Run everything, print what was seen, and leave a picture and a trained model in ``output``.

    Raises:
        ImportError: the extra ``demo`` is not installed.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        # Several threads gain little at these sizes, and beside other programs they wait for each other.
        torch.set_num_threads(1)

    _print_header("1. A model of the paper, by name")
    _show_printed()

    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, one thread"
    _print_header(f"2. Four ways to scale {BASE} ({where})")
    rows = measure_strategies(device)
    _print_strategies(rows, device)
    picture = draw_strategies(rows, output / "strategies.png", device)
    print(f"Picture: {picture}")

    _print_header("3. A small RegNetX, trained on scanned digits")
    model, accuracy = train_on_digits(device)
    print(f"Accuracy on digits it has not seen: {accuracy:.1%} (chance: 10%)")

    _print_header("4. Saved as safetensors and built again by timm")
    same = save_and_reload(model, output / "regnetx-digits")
    print(f"create_model('local-dir:{output / 'regnetx-digits'}'): logits {'equal' if same else 'DIFFER'}")
    if not same:
        raise RuntimeError("the reloaded model gives other logits than the saved one")


def _print_header(text: str) -> None:
    print(f"\n{text}\n{'─' * len(text)}")


def _show_printed() -> None:
    c, printed = measure(timm.create_model(SHOWN)), PRINTED[SHOWN]
    print(f">>> timm.create_model({SHOWN!r})")
    print(f"{'':12}{'flops (G)':>12}{'params (M)':>12}{'acts (M)':>12}")
    print(f"{'measured':12}{c.flops / 1e9:12.4f}{c.params / 1e6:12.4f}{c.acts / 1e6:12.4f}")
    print(f"{'printed':12}{printed.flops:>12}{printed.params:>12}{printed.acts:>12}")


def measure_strategies(device: torch.device, targets: tuple[str, ...] = TARGETS) -> list[StrategyRow]:
    """Complexity of the base and its scaled models at their own resolution, and their time on ``device``.

    On a CPU the time is for images of half the side.
    """
    from tqdm import tqdm

    names = {BASE: BASE} | {f"{BASE}_{s}_{t}": s for s in STRATEGIES for t in targets}
    bar = tqdm(names.items(), desc="timing", unit="model", leave=False, disable=None)
    rows = []
    for name, strategy in bar:
        bar.set_postfix_str(name)
        model = timm.create_model(name).eval()
        rows.append(StrategyRow(strategy, name, measure(model), _milliseconds(model, device)))
    return rows


def _milliseconds(model: nn.Module, device: torch.device) -> float:
    config: Any = model.pretrained_cfg
    channels, height, _ = config["input_size"]
    side = height if device.type == "cuda" else round_resolution(height / CPU_SHRINK)
    # It says at length that a machine with CUDA's compiler has no CUDA device.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    # It waits for CUDA itself, and on a CPU it runs on one thread.
    timer = Timer(
        "model(images)",
        globals={"model": model.to(device), "images": torch.randn(1, channels, side, side, device=device)},
    )
    with torch.inference_mode():
        return float(timer.blocked_autorange(min_run_time=0.5).median * 1e3)


def _print_strategies(rows: list[StrategyRow], device: torch.device) -> None:
    note = "" if device.type == "cuda" else "; time at half of it"
    print(f"flops, params and acts at the input size given{note}\n")
    print(f"{'model':24} {'input':>5} {'flops (G)':>10} {'params (M)':>11} {'acts (M)':>9} {'ms/image':>9}")
    for row in rows:
        c = row.complexity
        figures = f"{c.flops / 1e9:10.2f} {c.params / 1e6:11.1f} {c.acts / 1e6:9.1f} {row.milliseconds:9.1f}"
        print(f"{row.model:24} {c.input_size[-1]:>5} {figures}")


def draw_strategies(rows: list[StrategyRow], path: Path, device: torch.device) -> Path:
    """Activations and time against flops, a line for each strategy (the scaling paper's Figure 1, lower half)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    base = next(row for row in rows if row.strategy == BASE)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for strategy in STRATEGIES:
        line = [base, *(row for row in rows if row.strategy == strategy)]
        flops = [row.complexity.flops / 1e9 for row in line]
        left.plot(flops, [row.complexity.acts / 1e6 for row in line], "o-", label=strategy, markersize=4)
        right.plot(flops, [row.milliseconds for row in line], "o-", label=strategy, markersize=4)
    left.set(title=f"Activations of {BASE}, scaled", ylabel="activations (M)")
    where = "CUDA" if device.type == "cuda" else "the CPU, images of half the side"
    right.set(title=f"Time on {where}", ylabel="time for one image (ms)")
    for axes in (left, right):
        axes.set_xlabel("flops at full size (GF)")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(title="strategy")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


class Digits(torch.utils.data.Dataset):
    """The 1,797 scanned digits that scikit-learn carries, as images for timm's transforms.

    Args:
        train: four in five of them, or the fifth.
    """

    def __init__(self, train: bool) -> None:
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        chosen = [i for i in range(len(digits.target)) if (i % 5 != 0) == train]
        self.images = [Image.fromarray((digits.images[i] * 15.9).astype("uint8")).convert("RGB") for i in chosen]
        self.labels = [int(digits.target[i]) for i in chosen]
        self.transform: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def train_on_digits(device: torch.device, epochs: int = 8) -> tuple[nn.Module, float]:
    """A small RegNetX trained with timm's loader, optimizer and scheduler; and its accuracy on unseen digits."""
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
        num_epochs=epochs,
        warmup_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=len(train),
    )
    loss_fn = nn.CrossEntropyLoss()
    with tqdm(total=epochs * len(train), desc="training", unit="batch", leave=False, disable=None) as bar:
        for epoch in range(epochs):
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
    model.eval()
    right = [(model(images.to(device)).argmax(1).cpu() == labels.cpu()).float() for images, labels in loader]
    return float(torch.cat(right).mean())


def save_and_reload(model: nn.Module, directory: Path) -> bool:
    """Save the small RegNetX, build it again from the directory, and say whether the logits are the same."""
    model = copy.deepcopy(model).cpu().eval()
    # timm before 1.0.31 does not remember the arguments itself.
    save_for_hf(model, str(directory), model_args=SMALL_REGNETX, safe_serialization=True)
    reloaded = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        return torch.equal(model(images), reloaded(images))

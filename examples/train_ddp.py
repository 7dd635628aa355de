"""Trains a model of timm on a folder of images with several processes, on GPUs or on CPUs.

timm's train.py does the same on GPUs; on CPUs its DistributedDataParallel fails, because it passes `device_ids`. This
script is made of timm's own parts, reads the same recipes, and writes the same checkpoints. ::

    torchrun --nproc-per-node 2 examples/train_ddp.py IMAGES --config "$(timm-regnet-ds recipes path small_images)" \\
        --model regnet --model-kwargs depth=4 w0=16 wa=12.0 wm=2.0 --num-classes 10 --device cpu --output runs/one

The same command again goes on after the last epoch that was completed.
"""

import argparse
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from timm.data import FastCollateMixup, create_dataset, create_loader, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import resume_checkpoint
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler_factory import scheduler_kwargs
from timm.utils import (
    CheckpointSaver,
    ModelEmaV3,
    ParseKwargs,
    distribute_bn,
    init_distributed_device,
    is_primary,
    random_seed,
    reduce_tensor,
    unwrap_model,
    update_summary,
)
from torch.nn.parallel import DistributedDataParallel

import timm_regnet_ds  # noqa: F401 - registers the models even where the autoload is off

# What recipes may set, with the defaults of train.py; an option of the command line comes before the recipe.
DEFAULTS = {
    "opt": "sgd",
    "momentum": 0.9,
    "weight_decay": 2e-5,
    "clip_grad": None,
    "lr": None,
    "lr_base": 0.1,
    "lr_base_size": 256,
    "lr_base_scale": "linear",
    "sched": "cosine",
    "sched_on_updates": False,
    "decay_epochs": 90,
    "decay_rate": 0.1,
    "min_lr": 0.0,
    "warmup_epochs": 5,
    "warmup_lr": 1e-5,
    "epochs": 300,
    "batch_size": 128,
    "scale": (0.08, 1.0),
    "ratio": (3 / 4, 4 / 3),
    "hflip": 0.5,
    "color_jitter": 0.4,
    "aa": None,
    "train_interpolation": "random",
    "reprob": 0.0,
    "remode": "pixel",
    "mixup": 0.0,
    "smoothing": 0.1,
    "drop": 0.0,
    "img_size": None,
    "crop_pct": None,
    "amp": False,
    "model_ema": False,
    "model_ema_decay": 0.9998,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of this script, of the recipe, and defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", metavar="IMAGES", help="a folder with the folders train and validation")
    parser.add_argument("--config", type=Path, help="a recipe")
    parser.add_argument("--model", required=True)
    parser.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs)
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, help="images of each process")
    parser.add_argument("--img-size", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    recipe = yaml.safe_load(given.config.read_text(encoding="utf-8")) if given.config else {}
    if unknown := recipe.keys() - DEFAULTS.keys():
        parser.error(f"{given.config} has options that this script lacks: {', '.join(sorted(unknown))}")
    options = {name: value for name, value in vars(given).items() if value is not None}
    # Plain values alone, so that a checkpoint can be read without executing code.
    plain = {"config": str(given.config), "output": str(given.output)}
    return argparse.Namespace(**{**DEFAULTS, **recipe, **options, **plain})


def loaders(args: argparse.Namespace, model: Any) -> tuple[Any, Any]:
    """The loaders of the training and validation images."""
    config = resolve_data_config(vars(args), model=model)
    common = {
        "input_size": config["input_size"],
        "mean": config["mean"],
        "std": config["std"],
        "batch_size": args.batch_size,
        "num_workers": args.workers,
        "persistent_workers": args.workers > 0,
        "distributed": args.distributed,
        "device": torch.device(args.device),
    }
    mixup = FastCollateMixup(mixup_alpha=args.mixup, label_smoothing=args.smoothing, num_classes=args.num_classes)
    train = create_loader(
        create_dataset("", root=args.data_dir, split="train", is_training=True),
        is_training=True,
        scale=args.scale,
        ratio=args.ratio,
        hflip=args.hflip,
        color_jitter=args.color_jitter,
        auto_augment=args.aa,
        re_prob=args.reprob,
        re_mode=args.remode,
        interpolation=args.train_interpolation,
        collate_fn=mixup if args.mixup else None,
        **common,
    )
    images = create_dataset("", root=args.data_dir, split="validation")
    interpolation, crop_pct = config["interpolation"], config["crop_pct"]
    return train, create_loader(images, interpolation=interpolation, crop_pct=crop_pct, **common)


@torch.inference_mode()
def accuracy(model: Any, loader: Iterable[Any], args: argparse.Namespace) -> float:
    """Top-1 accuracy in percent, over all processes."""
    model.eval()
    counts = torch.zeros(2, dtype=torch.float64, device=args.device)
    for images, labels in loader:
        counts += torch.tensor([(model(images).argmax(1) == labels).sum(), len(labels)], device=args.device)
    right, total = (reduce_tensor(counts, 1) if args.distributed else counts).tolist()
    return 100 * right / total


def save(saver: CheckpointSaver, epoch: int, top1: float) -> None:
    """Save a checkpoint, or raise an OSError: torch raises a RuntimeError if the disk is full."""
    try:
        saver.save_checkpoint(epoch, metric=top1)
    except (OSError, RuntimeError) as error:
        folder = saver.checkpoint_dir
        text = f"the checkpoint of epoch {epoch} was not written to {folder} (is the disk full?); the last one is kept"
        raise OSError(text) from error


def train(args: argparse.Namespace) -> float:
    """Train, or go on training; return the accuracy after the last epoch."""
    device = init_distributed_device(args)
    args.device = str(device)
    random_seed(args.seed, args.rank)
    model: Any = timm.create_model(args.model, num_classes=args.num_classes, drop_rate=args.drop, **args.model_kwargs)
    args.num_classes = model.num_classes
    model.to(device)
    train_images, validation_images = loaders(args, model)
    batch_ratio = args.batch_size * args.world_size / args.lr_base_size
    args.lr = args.lr or args.lr_base * (batch_ratio**0.5 if args.lr_base_scale == "sqrt" else batch_ratio)
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(args))
    updates = len(train_images)
    if not updates:
        raise ValueError(f"{args.data_dir} has fewer images than a batch of {args.batch_size} on each process")
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=updates)
    ema = ModelEmaV3(model, decay=args.model_ema_decay) if args.model_ema else None

    output, start = Path(args.output), 0
    last = output / "last.pth.tar"
    if last.exists():
        start = resume_checkpoint(model, str(last), optimizer, log_info=is_primary(args)) or 0
        if ema is not None:
            state = torch.load(last, map_location="cpu", weights_only=False)  # this script has written it
            ema.module.load_state_dict(state["state_dict_ema"])
        (scheduler.step_update(start * updates) if args.sched_on_updates else scheduler.step(start))
    saver = None
    if is_primary(args):
        output.mkdir(parents=True, exist_ok=True)
        saver = CheckpointSaver(model, optimizer, args, ema, checkpoint_dir=str(output), recovery_dir=str(output))
    parallel = model
    if args.distributed:
        parallel = DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device])
    hard = LabelSmoothingCrossEntropy(args.smoothing) if args.smoothing else torch.nn.CrossEntropyLoss()
    loss_of = SoftTargetCrossEntropy() if args.mixup else hard
    mixed = partial(torch.autocast, device.type, torch.bfloat16) if args.amp else suppress

    top1 = accuracy(ema.module if ema else model, validation_images, args) if start >= epochs else 0.0
    for epoch in range(start, epochs):
        if args.distributed:
            train_images.sampler.set_epoch(epoch)
        random_seed(args.seed + epoch, args.rank)
        parallel.train()
        for update, (images, labels) in enumerate(train_images, 1):
            with mixed():
                loss = loss_of(parallel(images), labels)
            optimizer.zero_grad()
            loss.backward()
            if args.clip_grad is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad)
            optimizer.step()
            if ema is not None:
                ema.update(model)
            scheduler.step_update(epoch * updates + update)
        scheduler.step(epoch + 1)
        for trained in filter(None, (model, ema and ema.module)):
            if args.distributed:
                distribute_bn(unwrap_model(trained), args.world_size, reduce=True)
        top1 = accuracy(ema.module if ema else model, validation_images, args)
        if saver is not None:
            save(saver, epoch, top1)
            row = ({"loss": loss.item()}, {"top1": top1})
            update_summary(epoch, *row, filename=str(output / "summary.csv"), write_header=epoch == 0)
            print(f"epoch {epoch}: loss {loss.item():.3f}, top-1 {top1:.2f}%", flush=True)
    if args.distributed:
        torch.distributed.destroy_process_group()
    return top1


def main(arguments: list[str] | None = None) -> None:
    """Train; wrong arguments, an image that cannot be read, or a full disk end the program with one line."""
    args = parse(arguments)
    try:
        train(args)
    except (OSError, ValueError) as error:
        # The last line of an error in a loader's process says what it was.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        sys.exit(f"train_ddp.py: {lines[-1]}")


if __name__ == "__main__":
    main()

"""Images to train on: small sets whole on the device, others through timm's loaders."""

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .plan import Plan

__all__ = ["RESIDENT", "Data", "Loaded", "Resident", "open_data"]

Batches = Iterator[tuple[Tensor, Tensor]]


class Data(Protocol):
    """Batches of normalized images (N, C, H, W) and their labels (N,), on the device.

    Attributes:
        num_classes, in_chans: what a model for them needs.
        updates: batches of an epoch of training.
    """

    @property
    def num_classes(self) -> int: ...

    @property
    def in_chans(self) -> int: ...

    @property
    def updates(self) -> int: ...

    def training(self, generator: torch.Generator) -> Batches:
        """An epoch, in random order and augmented."""

    def validation(self) -> Batches:
        """Every image of the validation set once."""


@dataclass(frozen=True)
class Raw:
    """A small set: images (N, H, W, C) or (N, H, W) of bytes, labels (N,), for training and for validation.

    Args:
        flips: whether an image and its mirror image are of one class.
    """

    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    valid: tuple[NDArray[np.uint8], NDArray[np.int64]]
    flips: bool


def _digits(plan: Plan) -> Raw:
    """scikit-learn's 1,797 digits of 8×8; every fifth is for validation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype(np.uint8)
    held_out = np.arange(len(images)) % 5 == 0
    labels = digits.target.astype(np.int64)
    return Raw((images[~held_out], labels[~held_out]), (images[held_out], labels[held_out]), flips=False)


def _fashion_mnist(plan: Plan) -> Raw:
    """70,000 pieces of clothing of 28×28, from the four IDX files, compressed or not."""
    if plan.data_dir is None:
        raise ValueError("fashion-mnist needs data_dir, the directory of its IDX files")
    parts = {}
    for part in ("train", "t10k"):
        images, labels = (_idx(plan.data_dir, f"{part}-{what}-ubyte") for what in ("images-idx3", "labels-idx1"))
        parts[part] = images, labels.astype(np.int64)
    return Raw(parts["train"], parts["t10k"], flips=True)


def _idx(directory: Path, name: str) -> NDArray[Any]:
    """An array of bytes: two zeros, its type (8), the number of its dimensions, each of them as 4 bytes, the values."""
    found = sorted(directory.rglob(f"{name}*"))
    if not found:
        raise FileNotFoundError(f"{directory} has no {name} or {name}.gz")
    content = found[0].read_bytes()
    if found[0].suffix == ".gz":
        content = gzip.decompress(content)
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{found[0]} is not an IDX file of bytes")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _cifar(name: str) -> Callable[[Plan], Raw]:
    def load(plan: Plan) -> Raw:
        from timm.data import create_dataset

        train, valid = (
            create_dataset(f"torch/{name}", plan.data_dir, split=split, download=plan.download)
            for split in ("train", "validation")
        )
        return Raw((train.data, np.asarray(train.targets)), (valid.data, np.asarray(valid.targets)), flips=True)

    return load


RESIDENT: dict[str, Callable[[Plan], Raw]] = {
    "cifar10": _cifar("cifar10"),
    "cifar100": _cifar("cifar100"),
    "digits": _digits,
    "fashion-mnist": _fashion_mnist,
}


@dataclass(frozen=True)
class Resident:
    """A set kept whole on the device as bytes; cropping and mirroring happen there.

    Args:
        images, labels: for training, (N, C, H, W) bytes and (N,).
        valid_images, valid_labels: for validation.
        batch_size: images.
        flips: mirror one image in two.
        num_classes: number of labels.
    """

    images: Tensor
    labels: Tensor
    valid_images: Tensor
    valid_labels: Tensor
    batch_size: int
    flips: bool
    num_classes: int

    @classmethod
    def of(cls, raw: Raw, plan: Plan, device: torch.device) -> "Resident":
        """The set brought to the plan's resolution, bilinearly, on the device."""
        images, valid_images = (_brought_to(part[0], plan.resolution, device) for part in (raw.train, raw.valid))
        labels, valid_labels = (torch.as_tensor(part[1]).to(device) for part in (raw.train, raw.valid))
        num_classes = int(labels.max()) + 1
        return cls(images, labels, valid_images, valid_labels, plan.batch_size, raw.flips, num_classes)

    @property
    def in_chans(self) -> int:
        return self.images.shape[1]

    @property
    def updates(self) -> int:
        return max(1, len(self.images) // self.batch_size)

    @property
    def shift(self) -> int:
        """Furthest shift of a crop, an eighth of the side: 4 pixels of CIFAR's 32."""
        return self.images.shape[-1] // 8

    def training(self, generator: torch.Generator) -> Batches:
        order = torch.randperm(len(self.images), generator=generator, device=generator.device)
        for places in order[: self.updates * self.batch_size].split(self.batch_size):
            yield self._normal(self._augmented(self.images[places], generator)), self.labels[places]

    def validation(self) -> Batches:
        size = max(self.batch_size, 512)
        for images, labels in zip(self.valid_images.split(size), self.valid_labels.split(size), strict=True):
            yield self._normal(images), labels

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Each image shifted along both axes, with zeros beyond its borders, and mirrored or not."""
        n, _, height, width = images.shape
        on: dict[str, Any] = {"generator": generator, "device": images.device}
        top, left = torch.randint(0, 2 * self.shift + 1, (2, n, 1), **on)
        rows = top + torch.arange(height, device=images.device)
        columns = left + torch.arange(width, device=images.device)
        if self.flips:
            columns = torch.where(torch.rand((n, 1), **on) < 0.5, columns, columns.flip(1))
        padded = F.pad(images, [self.shift] * 4)
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded.movedim(1, -1)[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    def _normal(self, images: Tensor) -> Tensor:
        """Bytes → about -1 to 1."""
        return images.float().div_(127.5).sub_(1.0)


def _brought_to(images: NDArray[np.uint8], resolution: int, device: torch.device) -> Tensor:
    pixels = torch.from_numpy(np.array(images)).to(device)
    pixels = pixels.movedim(-1, 1) if pixels.ndim == 4 else pixels[:, None]
    if pixels.shape[-2:] == (resolution, resolution):
        return pixels.contiguous()
    resize: dict[str, Any] = {"size": (resolution, resolution), "mode": "bilinear", "antialias": True}
    # In parts, since in floating point the whole is four times as large.
    return torch.cat([F.interpolate(part.float(), **resize).round().byte() for part in pixels.split(4096)])


@dataclass(frozen=True)
class Loaded:
    """A dataset by timm's name, through its loaders and with its augmentation."""

    train_loader: Any
    valid_loader: Any
    device: torch.device
    num_classes: int
    in_chans: int = 3

    @classmethod
    def of(cls, plan: Plan, device: torch.device) -> "Loaded":
        """The dataset's ``train`` and ``validation`` splits.

        Raises:
            ValueError: a plan without num_classes.
        """
        from timm.data import create_dataset, create_loader

        loaders = []
        for split in ("train", "validation"):
            dataset = create_dataset(
                plan.dataset,
                plan.data_dir,
                split=split,
                is_training=split == "train",
                download=plan.download,
                batch_size=plan.batch_size,
            )
            loaders.append(
                create_loader(
                    dataset,
                    (3, plan.resolution, plan.resolution),
                    plan.batch_size,
                    is_training=split == "train",
                    num_workers=plan.workers,
                    use_prefetcher=False,
                    persistent_workers=plan.workers > 0,
                )
            )
        return cls(loaders[0], loaders[1], device, plan.images.num_classes)

    @property
    def updates(self) -> int:
        return len(self.train_loader)

    def training(self, generator: torch.Generator) -> Batches:
        # The loader's order and augmentation follow torch's own random state.
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        return self._moved(self.train_loader)

    def validation(self) -> Batches:
        return self._moved(self.valid_loader)

    def _moved(self, loader: Any) -> Batches:
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


def open_data(plan: Plan, device: torch.device) -> Data:
    """The plan's dataset.

    Raises:
        ValueError: a dataset that timm does not know, or a key that it needs.
        FileNotFoundError: its files are not there.
    """
    load = RESIDENT.get(plan.dataset)
    return Resident.of(load(plan), plan, device) if load else Loaded.of(plan, device)

"""Images to train on: small datasets are kept in memory on the device, others come from timm's loaders."""

import gzip
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .plan import Plan

__all__ = ["IN_MEMORY", "Data", "InMemoryData", "LoaderData", "open_data", "read_digits"]

Batches = Iterator[tuple[Tensor, Tensor]]


class Data(Protocol):
    """Batches of normalized images (N, C, H, W) and their labels (N,), on the device.

    Attributes:
        num_classes, in_chans: what a model for this dataset needs.
        updates_per_epoch: number of training batches in an epoch.
    """

    @property
    def num_classes(self) -> int: ...

    @property
    def in_chans(self) -> int: ...

    @property
    def updates_per_epoch(self) -> int: ...

    def training_batches(self, generator: torch.Generator) -> Batches:
        """One epoch of the training set, in random order and augmented."""

    def validation_batches(self) -> Batches:
        """Every image of the validation set once."""


@dataclass(frozen=True)
class ImageArrays:
    """A small dataset: uint8 images (N, H, W, C) or (N, H, W) and labels (N,), for training and for validation.

    Args:
        train, valid: images and labels.
        flips: whether the mirror image of an image has the same label.
    """

    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    valid: tuple[NDArray[np.uint8], NDArray[np.int64]]
    flips: bool


def read_digits(plan: Plan | None = None) -> ImageArrays:
    """scikit-learn's 1,797 digits of 8×8 pixels; every fifth is for validation."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * (255 / 16)).round().astype(np.uint8)
    held_out = np.arange(len(images)) % 5 == 0
    labels = digits.target.astype(np.int64)
    return ImageArrays((images[~held_out], labels[~held_out]), (images[held_out], labels[held_out]), flips=False)


def _load_cifar10(plan: Plan) -> ImageArrays:
    return _load_torchvision("cifar10", plan.data_dir, plan.download)


def _load_cifar100(plan: Plan) -> ImageArrays:
    return _load_torchvision("cifar100", plan.data_dir, plan.download)


_FASHION_MNIST_FILES = tuple(
    f"{part}-{content}-ubyte" for part in ("train", "t10k") for content in ("images-idx3", "labels-idx1")
)


def _load_fashion_mnist(plan: Plan) -> ImageArrays:
    """70,000 pieces of clothing of 28×28 pixels, from the four IDX files, compressed or not."""
    if plan.data_dir is None:
        raise ValueError("fashion-mnist needs data_dir, the directory of its IDX files")
    sources = {name: path for name in _FASHION_MNIST_FILES if (path := _find(plan.data_dir, name))}
    missing = [name for name in _FASHION_MNIST_FILES if name not in sources]
    if missing and plan.download:
        return _load_torchvision("fashion_mnist", plan.data_dir, download=True)
    if missing:
        raise FileNotFoundError(f"{plan.data_dir} has no {missing[0]} or {missing[0]}.gz")
    with TemporaryDirectory() as root:
        # torchvision reads uncompressed files in this folder only. Debian's package has compressed files elsewhere.
        raw = Path(root, "FashionMNIST", "raw")
        raw.mkdir(parents=True)
        for name, path in sources.items():
            with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as source, open(raw / name, "wb") as copy:
                shutil.copyfileobj(source, copy)
        try:
            return _load_torchvision("fashion_mnist", root)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            files = ", ".join(map(str, sources.values()))
            raise ValueError(f"one of {files} is not an IDX file of Fashion-MNIST: {error}") from error


def _find(directory: Path, name: str) -> Path | None:
    """A file of this name, or its compressed version, in a directory or below it."""
    return next(iter(sorted([*directory.rglob(name), *directory.rglob(f"{name}.gz")])), None)


def _load_torchvision(name: str, root: str | Path | None, download: bool = False) -> ImageArrays:
    """A torchvision dataset that timm knows and that holds all its images as one array."""
    from timm.data import create_dataset

    train, valid = (
        create_dataset(f"torch/{name}", root, split=split, download=download) for split in ("train", "validation")
    )
    return ImageArrays(_arrays(train), _arrays(valid), flips=True)


def _arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.asarray(dataset.data), np.asarray(dataset.targets)


IN_MEMORY: dict[str, Callable[[Plan], ImageArrays]] = {
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "digits": read_digits,
    "fashion-mnist": _load_fashion_mnist,
}


@dataclass(frozen=True)
class InMemoryData:
    """A dataset kept on the device as bytes, and cropped and mirrored there.

    Args:
        images, labels: training set, uint8 (N, C, H, W) and int64 (N,).
        valid_images, valid_labels: validation set.
        batch_size: images in a batch.
        flips: whether each image is mirrored with probability 1/2.
        num_classes: number of classes.
    """

    images: Tensor
    labels: Tensor
    valid_images: Tensor
    valid_labels: Tensor
    batch_size: int
    flips: bool
    num_classes: int

    @classmethod
    def from_arrays(cls, arrays: ImageArrays, plan: Plan, device: torch.device) -> "InMemoryData":
        """Resize a dataset to the plan's resolution, bilinearly, on the device."""
        images, valid_images = (_resize(part[0], plan.resolution, device) for part in (arrays.train, arrays.valid))
        labels, valid_labels = (torch.as_tensor(part[1]).to(device) for part in (arrays.train, arrays.valid))
        num_classes = int(labels.max()) + 1
        return cls(images, labels, valid_images, valid_labels, plan.batch_size, arrays.flips, num_classes)

    @property
    def in_chans(self) -> int:
        return self.images.shape[1]

    @property
    def updates_per_epoch(self) -> int:
        return max(1, len(self.images) // self.batch_size)

    @property
    def max_shift(self) -> int:
        """The largest shift of a crop in pixels, an eighth of the side: 4 pixels of CIFAR's 32."""
        return self.images.shape[-1] // 8

    def training_batches(self, generator: torch.Generator) -> Batches:
        order = torch.randperm(len(self.images), generator=generator, device=generator.device)
        for indices in order[: self.updates_per_epoch * self.batch_size].split(self.batch_size):
            yield _normalize(self._augment(self.images[indices], generator)), self.labels[indices]

    def validation_batches(self) -> Batches:
        size = max(self.batch_size, 512)
        for images, labels in zip(self.valid_images.split(size), self.valid_labels.split(size), strict=True):
            yield _normalize(images), labels

    def _augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Shift each image at random along both axes, with zeros beyond its borders, and mirror half of them."""
        n, _, height, width = images.shape
        options: dict[str, Any] = {"generator": generator, "device": images.device}
        top, left = torch.randint(0, 2 * self.max_shift + 1, (2, n, 1), **options)
        rows = top + torch.arange(height, device=images.device)
        columns = left + torch.arange(width, device=images.device)
        if self.flips:
            columns = torch.where(torch.rand((n, 1), **options) < 0.5, columns, columns.flip(1))
        padded = F.pad(images, [self.max_shift] * 4)
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded.movedim(1, -1)[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _normalize(images: Tensor) -> Tensor:
    """Map bytes, 0 to 255, to floats from -1 to 1."""
    return images.float().div_(127.5).sub_(1.0)


def _resize(images: NDArray[np.uint8], resolution: int, device: torch.device) -> Tensor:
    """Images as a uint8 tensor (N, C, resolution, resolution) on the device."""
    pixels = torch.from_numpy(np.array(images)).to(device)
    pixels = pixels.movedim(-1, 1) if pixels.ndim == 4 else pixels[:, None]
    if pixels.shape[-2:] == (resolution, resolution):
        return pixels.contiguous()
    resize: dict[str, Any] = {"size": (resolution, resolution), "mode": "bilinear", "antialias": True}
    # A part at a time, since the images take four times as much memory as floats.
    return torch.cat([F.interpolate(part.float(), **resize).round().byte() for part in pixels.split(4096)])


@dataclass(frozen=True)
class LoaderData:
    """A dataset by the name that timm gives it, through timm's loaders and with their augmentation."""

    train_loader: Any
    valid_loader: Any
    device: torch.device
    num_classes: int
    in_chans: int = 3

    @classmethod
    def from_plan(cls, plan: Plan, device: torch.device) -> "LoaderData":
        """Open the dataset's ``train`` and ``validation`` splits.

        Raises:
            ValueError: the plan has no ``num_classes``.
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
        return cls(loaders[0], loaders[1], device, plan.dataset_shape.num_classes)

    @property
    def updates_per_epoch(self) -> int:
        return len(self.train_loader)

    def training_batches(self, generator: torch.Generator) -> Batches:
        # The loader's order and augmentation follow torch's global random state.
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        return self._on_device(self.train_loader)

    def validation_batches(self) -> Batches:
        return self._on_device(self.valid_loader)

    def _on_device(self, loader: Any) -> Batches:
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


def open_data(plan: Plan, device: torch.device) -> Data:
    """Open the plan's dataset.

    Raises:
        ValueError: a dataset that timm does not know, or a missing key of the plan.
        FileNotFoundError: the dataset's files do not exist.
    """
    load = IN_MEMORY.get(plan.dataset)
    return InMemoryData.from_arrays(load(plan), plan, device) if load else LoaderData.from_plan(plan, device)

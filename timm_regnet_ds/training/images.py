"""A folder of images, checked before a training reads it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timm_regnet_ds.common.text import first_line

__all__ = ["Split", "check_images"]


@dataclass(frozen=True)
class Split:
    """The images of a split, as timm's scripts find them.

    Attributes:
        name: ``train`` or ``validation``.
        classes: the names of the folders, whose order numbers the labels.
        images: number of images.
        broken: each image that cannot be decoded, and why.
    """

    name: str
    classes: tuple[str, ...]
    images: int
    broken: dict[Path, str]


def check_images(folder: str | Path, workers: int = 4) -> Iterator[Split]:
    """Decode every image of a folder with the folders ``train`` and ``validation``.

    timm's ``train.py`` takes the next image instead of a file that is no image, with a warning that has its number. At
    an image that is cut off, an older timm ends; timm 1.0.31 takes the next one.

    Args:
        folder: what ``train.py`` takes as its data.
        workers: number of threads.

    Raises:
        ValueError: there is no such folder, or it lacks the folder of a split, or that folder has no images.
    """
    from timm.data import create_dataset

    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder}")
    for name in ("train", "validation"):
        try:
            reader: Any = create_dataset("", root=str(folder), split=name).reader
        except RuntimeError as error:
            raise ValueError(f"{folder}: {first_line(error)}") from error
        if Path(reader.root) == Path(folder):  # timm takes the folder itself for a split that it lacks
            raise ValueError(f"{folder} has no folder {name}")
        files = [Path(reader.filename(i, absolute=True)) for i in range(len(reader))]
        with ThreadPoolExecutor(workers) as threads:
            reasons = list(threads.map(_reason, files))
        broken = {file: reason for file, reason in zip(files, reasons, strict=True) if reason}
        yield Split(name, tuple(reader.class_to_idx), len(files), broken)


def _reason(file: Path) -> str:
    """Why an image cannot be decoded; empty if it can."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise errors of many classes
        return first_line(error)
    return ""

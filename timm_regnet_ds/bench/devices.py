"""The devices that models run on, and their memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

__all__ = ["check_device", "default_device", "free_memory", "memory_freed"]


def default_device() -> str:
    """``cuda`` if a GPU is available, otherwise ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: Any) -> torch.device:
    """The ``torch.device`` with this name; ``cuda`` means the current GPU.

    Raises:
        ValueError: this machine has no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = ["cpu", *(f"cuda:{i}" for i in range(count))]
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type == "cuda" and count and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    if str(device) not in here:
        raise ValueError(f"no device {str(name)!r} on this machine (there is: {', '.join(here)})")
    return device


def free_memory(device: str) -> None:
    """Collect garbage, and return the cached memory that no tensor uses to the device."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def memory_freed(device: str) -> Iterator[None]:
    """Free the memory when the context ends. An error stays as it is if freeing fails after it."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            free_memory(device)
        raise
    free_memory(device)

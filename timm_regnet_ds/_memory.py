"""Telling want of memory from other failures."""

import torch

__all__ = ["is_out_of_memory"]

# cuDNN says the last when its workspace no longer fits.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "unable to find an engine")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether something failed for want of memory, on a GPU or on the CPU."""
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in text for sign in _SIGNS)

"""Recognizing errors that mean that memory ran out."""

import torch

__all__ = ["is_out_of_memory"]

# The messages of torch, C++ and CUDA. cuDNN's is the last, when its workspace does not fit.
_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "unable to find an engine",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of the CPU ran out."""
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(sign in text for sign in _SIGNS)

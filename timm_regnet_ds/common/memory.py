"""Recognizing errors that mean that memory ran out, or that a batch is too large for other reasons."""

import torch

__all__ = ["is_out_of_memory", "is_too_large"]

# The messages of torch, C++, CUDA, cuBLAS and cuDNN. cuBLAS and cuDNN do not always say that it was memory that they
# lacked: without room for a handle they fail to initialize, without room for a workspace they find no plan.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "allocation_failed",
    "cublas_status_not_initialized",
    "cudnn_status_not_initialized",
    "unable to find an engine",
    "unable to find an execution plan",
    "no valid execution plan",
)

# torch's and cuDNN's messages where a tensor has more elements than a kernel's 32-bit index can count.
_TOO_LARGE = (
    "canuse32bitindexmath",
    "32-bit index",
    "32bit index",
    "int32_t max",
    "int32 max",
    "int_max",
    "2**31",
    "2^31",
    "integer out of range",
    "tensor is too large",
    "input tensor is too large",
    "too many elements",
    "invalid configuration argument",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of the CPU ran out."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _says(error, _OUT_OF_MEMORY)


def is_too_large(error: BaseException) -> bool:
    """Whether an error says that a tensor has more elements than a kernel can index."""
    return _says(error, _TOO_LARGE)


def _says(error: BaseException, signs: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(sign in text for sign in signs)

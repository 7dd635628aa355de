"""torch's global switches, set for the length of a measurement."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

__all__ = ["backend_flags"]


@contextmanager
def backend_flags(device: str, threads: int, tf32: bool, autotune: bool = True) -> Iterator[None]:
    """Set torch's backends for a measurement while the context is active.

    Args:
        device: on CUDA, it becomes the current device.
        threads: number of CPU threads.
        tf32: whether float32 products may be rounded to TF32 (CUDA).
        autotune: whether cuDNN tries its algorithms and takes the fastest (CUDA).
    """
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        if torch.device(device).type == "cuda":
            stack.enter_context(torch.cuda.device(device))
            stack.enter_context(_cudnn(enabled=True, benchmark=autotune, deterministic=False))
            stack.enter_context(fp32_products(tf32))
        yield


@contextmanager
def _cudnn(**values: bool) -> Iterator[None]:
    # torch.backends.cudnn.flags also reads and writes the TF32 switches, which raises if old and new ones are mixed.
    before = {name: getattr(torch.backends.cudnn, name) for name in values}
    try:
        for name, value in values.items():
            setattr(torch.backends.cudnn, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(torch.backends.cudnn, name, value)


@contextmanager
def fp32_products(tf32: bool) -> Iterator[None]:
    """Allow TF32 in matrix products and convolutions, or forbid it, and restore every switch afterwards.

    torch 2.9 has new switches, ``fp32_precision``. Reading an old one raises a RuntimeError if the user's program has
    set a new one to something else: such an old switch is left alone, and the new ones decide.
    """
    new = _new_switches()
    with ExitStack() as restore:
        with _no_warnings():  # torch warns of the old switches
            for switch, value in zip(new, _unresolved(new), strict=True):
                restore.callback(setattr, switch, "fp32_precision", value)
            for read, write, values in _OLD_SWITCHES:
                with suppress(RuntimeError):
                    restore.callback(write, read())
                    write(values[tf32])
            for switch in new[2:]:
                switch.fp32_precision = "tf32" if tf32 else "ieee"
        try:
            yield
        finally:
            with _no_warnings():
                restore.close()


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# How each old switch is read and set, and its values for forbidding and allowing TF32.
_OLD_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], None], tuple[Any, Any]], ...] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, ("highest", "high")),
    (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda value: setattr(torch.backends.cudnn, "allow_tf32", value),
        (False, True),
    ),
)


def _new_switches() -> list[Any]:
    """The objects that have ``fp32_precision``: two that others inherit from, then those; none before torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return []
    # set_float32_matmul_precision also sets oneDNN's.
    cudnn, onednn = backends.cudnn, backends.mkldnn
    return [backends, cudnn, backends.cuda.matmul, cudnn.conv, cudnn.rnn, onednn.matmul]


def _unresolved(switches: list[Any]) -> list[str]:
    """The value of each switch itself. A switch that is ``none`` reads as the one that it inherits from."""
    values = []
    for i, switch in enumerate(switches):
        values.append(switch.fp32_precision)
        if i < 2:
            switch.fp32_precision = "none"
    for switch, value in zip(switches[:2], values, strict=False):
        switch.fp32_precision = value
    return values

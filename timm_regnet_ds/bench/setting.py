"""How a model is to be measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from timm_regnet_ds._check import check_choice, check_float, check_int

from .devices import check_device, default_device

__all__ = ["AUTOCAST", "DTYPES", "MODES", "NUMBERS", "Setting"]

MODES = {
    "inference": "the forward pass, without gradients",
    "train": "forward, backward and optimizer, each by itself and together",
}

DTYPES = {
    "fp32": "float32 throughout",
    "tf32": "float32 whose products are rounded to TF32 (CUDA)",
    "bf16": "model and images in bfloat16",
    "fp16": "model and images in float16",
    "amp": "autocast, to float16 on CUDA and to bfloat16 on the CPU",
}

# Of model and images; of autocast, by kind of device.
NUMBERS = {"bf16": torch.bfloat16, "fp16": torch.float16}
AUTOCAST = {"cuda": torch.float16, "cpu": torch.bfloat16}

# Arguments of torch.compile(mode=…).
COMPILE_MODES = dict.fromkeys(("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"))

# Images in a batch where none is asked for: the RegNet paper's on a GPU.
_BATCH = {"cuda": 64}


@dataclass(frozen=True)
class Setting:
    """How a model is measured. What is left open becomes definite in the `Measurement`.

    Args:
        mode: ``inference``, or ``train`` for a training step.
        batch_size: images in a batch, or ``max`` for the most that fit. ``None``: 64 on a GPU, 1 on the CPU.
        input_size: (channels, height, width), or the side of a square. ``None``: the model's own.
        dtype: ``fp32``, ``tf32``, ``bf16``, ``fp16`` or ``amp``.
        channels_last: memory format of images and weights.
        compile: mode of ``torch.compile``. ``None``: eager.
        cuda_graphs: record the whole repetition once and replay it (CUDA).
        fold_bn: fold BatchNorm into the convolutions before it (inference).
        grad_checkpointing: recompute activations in the backward pass (train).
        optimizer: timm's name of an optimizer (train).
        device: ``cpu``, ``cuda`` or ``cuda:1``. ``None``: the first GPU where there is one.
        threads: of the CPU. ``None``: torch's own number.
        precision: wanted half-width of the median's 95% interval, as a share of the median.
        seconds: repetitions end after this many seconds, whether the interval is narrow enough or not.
        seed: of images, labels and weights.

    Raises:
        ValueError: a value, or a combination, that there is not; the message says what is allowed.
    """

    mode: str = "inference"
    batch_size: Any = None
    input_size: Any = None
    dtype: str = "fp32"
    channels_last: bool = False
    compile: str | None = None
    cuda_graphs: bool = False
    fold_bn: bool = False
    grad_checkpointing: bool = False
    optimizer: str = "sgd"
    device: Any = None
    threads: Any = None
    precision: float = 0.01
    seconds: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("dtype", self.dtype, DTYPES)
        if self.compile is not None:
            check_choice("compile mode", self.compile, COMPILE_MODES)
        self._set("device", str(check_device(self.device if self.device is not None else default_device())))
        if self.batch_size is None:
            self._set("batch_size", _BATCH.get(self.kind, 1))
        if self.batch_size != "max":
            self._set("batch_size", check_int("batch_size", self.batch_size))
        if isinstance(self.input_size, Sequence):
            self._set("input_size", tuple(self.input_size))
        self._set("threads", check_int("threads", torch.get_num_threads() if self.threads is None else self.threads))
        self._set("precision", check_float("precision", self.precision, above=0, maximum=1))
        self._set("seconds", check_float("seconds", self.seconds, above=0))
        check_int("seed", self.seed, minimum=0)
        for wrong, message in _CONFLICTS:
            if wrong(self):
                raise ValueError(message)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        return torch.device(self.device).type

    @property
    def training(self) -> bool:
        return self.mode == "train"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for json."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def recorded(cls, row: Mapping[str, Any]) -> "Setting":
        """From `to_dict`, possibly of another machine: nothing is asked of its device."""
        setting = object.__new__(cls)
        for field in fields(cls):
            value = row[field.name]
            setting._set(field.name, tuple(value) if isinstance(value, list) else value)
        return setting

    def settled(self, **values: Any) -> "Setting":
        """The same with other values for some fields.

        Raises:
            TypeError: a field that there is not.
        """
        return replace(self, **values)


_CONFLICTS: tuple[tuple[Callable[[Setting], bool], str], ...] = (
    (lambda s: s.dtype == "tf32" and s.kind != "cuda", "dtype 'tf32' needs a CUDA device: on the CPU use 'fp32'"),
    (lambda s: s.cuda_graphs and s.kind != "cuda", "cuda_graphs needs a CUDA device"),
    (
        lambda s: s.cuda_graphs and s.compile is not None,
        "cuda_graphs and compile exclude each other: compile mode 'reduce-overhead' has graphs of its own",
    ),
    (
        lambda s: s.cuda_graphs and s.training and s.dtype == "amp",
        "cuda_graphs cannot record the loss scaling of mode 'train' with dtype 'amp': use 'bf16'",
    ),
    (
        lambda s: s.cuda_graphs and s.training and s.optimizer not in ("sgd", "momentum"),
        "cuda_graphs records mode 'train' with optimizer 'sgd' or 'momentum' only",
    ),
    (lambda s: s.fold_bn and s.training, "fold_bn is for mode 'inference': a training step needs its BatchNorm"),
    (lambda s: s.grad_checkpointing and not s.training, "grad_checkpointing is for mode 'train'"),
    (
        lambda s: s.training and s.dtype == "fp16",
        "mode 'train' with dtype 'fp16' has no loss scaling: use 'amp' or 'bf16'",
    ),
)

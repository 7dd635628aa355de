"""How a model is to be measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch

from timm_regnet_ds.common.check import check_choice, check_float, check_int

from .devices import check_device, default_device

__all__ = ["CACHES", "COMPILE_MODES", "DTYPES", "MODEL_DTYPES", "MODES", "Setting", "autocast_dtype"]

MODES = ("inference", "train")
DTYPES = ("fp32", "tf32", "bf16", "fp16", "amp", "amp_bf16")
CACHES = ("warm", "cold")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")

# The dtype of model and images, where it is not float32; and that of autocast, by name and type of device.
MODEL_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_AUTOCAST_DTYPES = {
    ("amp", "cuda"): torch.float16,
    ("amp", "cpu"): torch.bfloat16,
    ("amp_bf16", "cuda"): torch.bfloat16,
    ("amp_bf16", "cpu"): torch.bfloat16,
}


def autocast_dtype(dtype: str, device_type: str) -> torch.dtype | None:
    """The dtype of autocast for the name of a dtype and a type of device; None for a name without autocast."""
    return _AUTOCAST_DTYPES.get((dtype, device_type))


# The default batch size by type of device: on a GPU, that of the RegNet paper.
_DEFAULT_BATCH_SIZES = {"cuda": 64, "cpu": 1}

# Every field is marked with what it describes: the computation, its inputs, the device, or the sampling of times.
# Times of two settings that differ only in the sampling may be compared.
_COMPUTATION, _INPUTS, _DEVICE, _SAMPLING = ({"part": part} for part in ("computation", "inputs", "device", "sampling"))


@dataclass(frozen=True)
class Setting:
    """How a model is measured. In the setting of a `Measurement`, no field is None or ``max``, except ``compile``.

    Args:
        mode: ``inference`` for the forward pass without gradients, or ``train`` for a training step.
        batch_size: number of images in a batch, or ``max`` for the most that fit. ``None``: 64 on a GPU, 1 on the CPU.
        input_size: (channels, height, width), or the side of a square. ``None``: the model's own.
        dtype: ``fp32``; ``tf32``, float32 whose products are rounded to TF32 (CUDA); ``bf16`` or ``fp16``, model and
            images in that format; ``amp``, autocast to float16 on CUDA and to bfloat16 on the CPU; ``amp_bf16``,
            autocast to bfloat16.
        channels_last: memory format of images and weights.
        compile: mode of ``torch.compile``. ``None``: eager.
        cuda_graphs: record the whole repetition once and replay it (CUDA).
        fold_bn: fold BatchNorm into the convolutions before it (inference).
        grad_checkpointing: recompute activations in the backward pass (train).
        optimizer: timm's name of an optimizer (train).
        device: ``cpu``, ``cuda`` or ``cuda:1``. ``None``: a GPU if one is available.
        threads: number of CPU threads. ``None``: torch's own number.
        cache: ``warm``, where a repetition finds in the device's cache what the one before left; or ``cold``, where the
            cache is overwritten between repetitions, outside of the measured time.
        precision: wanted half-width of the median's 95% interval, as a fraction of the median.
        seconds: warm-up and repetitions end after this many seconds, whether the interval is narrow enough or not.
            On CUDA, they take at least one second each.
        seed: seed of images, labels and weights.

    Raises:
        ValueError: an invalid value, or values that exclude each other; the message says what is allowed.
    """

    mode: str = field(default="inference", metadata=_COMPUTATION)
    batch_size: Any = field(default=None, metadata=_INPUTS)
    input_size: Any = field(default=None, metadata=_INPUTS)
    dtype: str = field(default="fp32", metadata=_COMPUTATION)
    channels_last: bool = field(default=False, metadata=_COMPUTATION)
    compile: str | None = field(default=None, metadata=_COMPUTATION)
    cuda_graphs: bool = field(default=False, metadata=_COMPUTATION)
    fold_bn: bool = field(default=False, metadata=_COMPUTATION)
    grad_checkpointing: bool = field(default=False, metadata=_COMPUTATION)
    optimizer: str = field(default="sgd", metadata=_COMPUTATION)
    cache: str = field(default="warm", metadata=_COMPUTATION)
    device: Any = field(default=None, metadata=_DEVICE)
    threads: Any = field(default=None, metadata=_COMPUTATION)
    precision: float = field(default=0.01, metadata=_SAMPLING)
    seconds: float = field(default=30.0, metadata=_SAMPLING)
    seed: int = field(default=0, metadata=_SAMPLING)

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("cache", self.cache, CACHES)
        if self.compile is not None:
            check_choice("compile mode", self.compile, COMPILE_MODES)
        self._set("device", str(check_device(self.device if self.device is not None else default_device())))
        if self.batch_size is None:
            self._set("batch_size", _DEFAULT_BATCH_SIZES[self.device_type])
        if self.batch_size != "max":
            self._set("batch_size", check_int("batch_size", self.batch_size))
        if isinstance(self.input_size, Sequence):
            self._set("input_size", tuple(self.input_size))
        self._set("threads", check_int("threads", torch.get_num_threads() if self.threads is None else self.threads))
        self._set("precision", check_float("precision", self.precision, above=0, maximum=1))
        self._set("seconds", check_float("seconds", self.seconds, above=0))
        check_int("seed", self.seed, minimum=0)
        for is_wrong, message in _CONFLICTS:
            if is_wrong(self):
                raise ValueError(message)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return torch.device(self.device).type

    @property
    def training(self) -> bool:
        """Whether the mode is ``train``."""
        return self.mode == "train"

    @classmethod
    def computation_fields(cls) -> tuple[str, ...]:
        """Fields that describe what is computed: predicted times are for one value of each."""
        return tuple(f.name for f in fields(cls) if f.metadata == _COMPUTATION)

    @classmethod
    def comparable_fields(cls) -> tuple[str, ...]:
        """Fields that change the time itself, and not only how it is sampled."""
        return tuple(f.name for f in fields(cls) if f.metadata != _SAMPLING)

    def replace(self, **values: Any) -> "Setting":
        """A copy with other values for some fields.

        Raises:
            TypeError: an unknown field.
            ValueError: an invalid value.
        """
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Setting":
        """Read what `to_dict` wrote, possibly on another machine; therefore the device is not checked.

        Raises:
            KeyError: a missing field.
        """
        setting = object.__new__(cls)
        for f in fields(cls):
            value = _OLD_ROWS[f.name] if f.name in _OLD_ROWS and f.name not in row else row[f.name]
            setting._set(f.name, tuple(value) if isinstance(value, list) else value)
        return setting


# Fields that rows of earlier versions do not have, with the values that those were measured with.
_OLD_ROWS = {"cache": "warm"}

_CONFLICTS: tuple[tuple[Callable[[Setting], bool], str], ...] = (
    (
        lambda s: s.dtype == "tf32" and s.device_type != "cuda",
        "dtype 'tf32' needs a CUDA device: on the CPU use 'fp32'",
    ),
    (lambda s: s.cuda_graphs and s.device_type != "cuda", "cuda_graphs needs a CUDA device"),
    (
        lambda s: s.cuda_graphs and s.compile is not None,
        "cuda_graphs and compile exclude each other: compile mode 'reduce-overhead' uses CUDA graphs itself",
    ),
    (
        lambda s: s.cuda_graphs and s.training and s.dtype == "amp",
        "cuda_graphs cannot record the loss scaling of mode 'train' with dtype 'amp': use 'amp_bf16' or 'bf16'",
    ),
    (
        lambda s: s.cuda_graphs and s.training and s.optimizer not in ("sgd", "momentum"),
        "cuda_graphs records mode 'train' with optimizer 'sgd' or 'momentum' only",
    ),
    (
        lambda s: s.cuda_graphs and s.grad_checkpointing,
        "cuda_graphs cannot record grad_checkpointing, which reads the state of the random number generator",
    ),
    (lambda s: s.fold_bn and s.training, "fold_bn is for mode 'inference': a training step needs its BatchNorm"),
    (lambda s: s.grad_checkpointing and not s.training, "grad_checkpointing is for mode 'train'"),
    (
        lambda s: s.training and s.dtype == "fp16",
        "mode 'train' with dtype 'fp16' has no loss scaling: use 'amp', 'amp_bf16' or 'bf16'",
    ),
)

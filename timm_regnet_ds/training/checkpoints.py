"""Checkpoints of timm's scripts, and the models in them."""

import argparse
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from timm.models import create_model, get_pretrained_cfg, is_model, list_models
from timm.models._helpers import clean_state_dict
from torch import Tensor, nn

from timm_regnet_ds.common.check import did_you_mean
from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import build_without_weights
from timm_regnet_ds.scaling.building.timm_args import shapes_of

__all__ = ["Checkpoint", "model_of", "read_checkpoint"]

# Options of train.py that are arguments of create_model, by the argument's name.
_MODEL_OPTIONS = {"num_classes": "num_classes", "in_chans": "in_chans", "global_pool": "gp"}
# Options of train.py that change the images, by the entry of the pretrained config.
_DATA_OPTIONS = ("mean", "std", "interpolation", "crop_pct")
# As many differing keys are named in an error.
_NAMED = 3


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what the script that saved them recorded.

    Attributes:
        path: the file.
        state: the weights; the moving average, if the checkpoint has one.
        model: timm's name of the model; empty if the file does not say it.
        options: the options of ``train.py``; empty if the file has none.
    """

    path: Path
    state: dict[str, Tensor] = field(repr=False)
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_checkpoint(path: str | Path, trust: bool = False) -> Checkpoint:
    """Read a checkpoint of timm's ``train.py``, a state dict, or a safetensors file, without executing code in it.

    Args:
        path: the file.
        trust: unpickle a file that holds more than tensors and plain values, which may execute anything.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds more than tensors and plain values, is damaged, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix == ".safetensors":
        try:
            return Checkpoint(path, safetensors.torch.load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path} is not a complete safetensors file ({first_line(error)})") from error
    content = _load(path, trust)
    state = next((content[key] for key in ("state_dict_ema", "state_dict", "model") if key in content), content)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: {', '.join(map(str, list(content)[:_NAMED]))}")
    options = content.get("args") if state is not content else None
    options = vars(options) if isinstance(options, argparse.Namespace) else {}
    return Checkpoint(path, clean_state_dict(dict(state)), options.get("model") or content.get("arch") or "", options)


def _load(path: Path, trust: bool) -> Mapping[str, Any]:
    # timm's script saves its options as a Namespace, which holds plain values.
    plain = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with nullcontext() if trust else plain:
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        needs = str(error).partition("GLOBAL ")[2].partition(" ")[0]
        if not needs:
            raise ValueError(f"{path} is not a complete checkpoint ({first_line(error)})") from error
        raise ValueError(
            f"{path} holds more than tensors and plain values ({needs}), and reading that can execute code; "
            "--trust (trust=True) reads it all the same"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is not a complete checkpoint ({first_line(error)})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def model_of(checkpoint: Checkpoint, name: str = "", **kwargs: Any) -> nn.Module:
    """The model that a checkpoint holds.

    Args:
        checkpoint: what `read_checkpoint` read.
        name: timm's name of the model; by default that in the checkpoint.
        **kwargs: arguments of ``timm.create_model``, beside those that the checkpoint records.

    Raises:
        ValueError: no or an unknown name, or weights of another model. The message names keys and shapes that
            differ, and the nearest registered model.
    """
    name = name or checkpoint.model
    if not name:
        raise ValueError(f"{checkpoint.path} does not say which model it holds: --model NAME is needed")
    if not is_model(name):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name, list_models())}")
    args = _recorded_args(checkpoint.options) if name == checkpoint.model else {}
    args |= kwargs
    create = partial(create_model, name, **args)
    wanted = shapes_of(build_without_weights(create))
    _check_shapes(checkpoint, name, wanted)
    model: nn.Module = create()
    model.load_state_dict(checkpoint.state)
    if overlay := _data_overlay(checkpoint.options, model) if name == checkpoint.model else {}:
        model.pretrained_cfg = model.default_cfg = {**vars(model)["pretrained_cfg"], **overlay}  # type: ignore[assignment]
    return model


def _recorded_args(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: options.get(option) for name, option in _MODEL_OPTIONS.items()}
    return {name: value for name, value in given.items() if value is not None} | dict(options.get("model_kwargs") or {})


def _data_overlay(options: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Entries of the pretrained config that the options of the training change."""
    overlay = {name: options[name] for name in _DATA_OPTIONS if options.get(name)}
    channels, *_ = model.pretrained_cfg["input_size"]
    if options.get("input_size"):
        overlay["input_size"] = tuple(options["input_size"])
    elif options.get("img_size"):
        overlay["input_size"] = (options.get("in_chans") or channels, options["img_size"], options["img_size"])
    if "input_size" in overlay:
        overlay |= {"test_input_size": None, "pool_size": None}
    return overlay


def _check_shapes(checkpoint: Checkpoint, name: str, wanted: Mapping[str, tuple[int, ...]]) -> None:
    found = {key: tuple(tensor.shape) for key, tensor in checkpoint.state.items()}
    different = [key for key in wanted if key in found and found[key] != wanted[key]]
    missing, extra = (sorted(one.keys() - other.keys()) for one, other in ((wanted, found), (found, wanted)))
    if not (different or missing or extra):
        return
    parts = [
        *(f"{key} is {found[key]}, not {wanted[key]}" for key in different[:_NAMED]),
        *([f"it lacks {', '.join(missing[:_NAMED])}"] if missing else []),
        *([f"it has {', '.join(extra[:_NAMED])}"] if extra else []),
    ]
    count = len(different) + len(missing) + len(extra)
    nearest = _nearest_model(found)
    advice = f"; the nearest registered model is {nearest}" if nearest and nearest != name else ""
    raise ValueError(f"{checkpoint.path} is not {name} ({count} keys differ): {'; '.join(parts)}{advice}")


def _nearest_model(found: Mapping[str, tuple[int, ...]]) -> str:
    """The registered model that has the most keys and shapes of a state dict; empty if none has the same first layer.

    Only models whose first and last layer have the names in the state dict are built, on the meta device.
    """
    shares = {}
    for name in list_models():
        cfg = get_pretrained_cfg(name)
        layers = [cfg.first_conv, cfg.classifier] if cfg else []
        if not all(isinstance(layer, str) and f"{layer}.weight" in found for layer in layers) or not layers:
            continue
        try:
            shapes = shapes_of(build_without_weights(partial(create_model, name)))
        except Exception:  # a generator that needs arguments
            continue
        shares[name] = len(shapes.items() & found.items()) / len(shapes.keys() | found.keys())
    return max(shares, key=lambda name: shares[name], default="")

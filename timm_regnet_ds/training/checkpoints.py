"""Checkpoints of timm's scripts, and the models in them."""

import argparse
import json
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from timm.models import create_model, get_pretrained_cfg, is_model, list_models
from timm.models._helpers import clean_state_dict
from torch import Tensor, nn

from timm_regnet_ds.common.check import did_you_mean
from timm_regnet_ds.common.state_shapes import Shapes, describe_differences, shapes_of
from timm_regnet_ds.common.text import first_line, listed
from timm_regnet_ds.complexity import build_without_weights

from .model_kwargs import explain_arguments

__all__ = ["Checkpoint", "model_of", "read_checkpoint"]

# Options of train.py that are arguments of create_model, by the argument's name.
_MODEL_OPTIONS = {"num_classes": "num_classes", "in_chans": "in_chans", "global_pool": "gp"}
# Arguments that say with which weights a scaled model begins; a checkpoint has its own weights.
_INITIAL_WEIGHTS = ("inherit", "exact")
# Options of train.py that change the images, by the entry of the pretrained config.
_DATA_OPTIONS = ("mean", "std", "interpolation", "crop_pct")
# Keys of the weights, and of their moving average.
_STATES = ("state_dict", "model")
_EMA = ("state_dict_ema", "model_ema")
# The files of timm's save_for_hf.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what the script that saved them recorded.

    Attributes:
        path: the file.
        state: the weights.
        model: timm's name of the model; empty if the file does not say it.
        options: the options of ``train.py``; empty if the file has none.
        model_args: arguments of ``timm.create_model`` that were saved with the model.
        averaged: whether the weights are the moving average of a training.
    """

    path: Path
    state: dict[str, Tensor] = field(repr=False)
    model: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    model_args: Mapping[str, Any] = field(default_factory=dict, repr=False)
    averaged: bool = False


def read_checkpoint(path: str | Path, trust: bool = False, use_ema: bool = True) -> Checkpoint:
    """Read a checkpoint of timm's ``train.py``, a state dict, or a safetensors file, without executing code in it.

    Args:
        path: the file, or a folder of timm's ``save_for_hf``.
        trust: unpickle a file that holds more than tensors and plain values, which may execute anything.
        use_ema: take the moving average of the weights, if a checkpoint of ``train.py`` has one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds more than tensors and plain values, is damaged, or holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, trust, use_ema)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = _load(path, trust)
    keys = (*_EMA, *_STATES) if use_ema else _STATES
    key = next((key for key in keys if key in content), "")
    state = content[key] if key else content
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        entries = listed([str(key) for key in content]) or "none"
        raise ValueError(f"{path} holds no state dict; its first entries are: {entries}")
    options = content.get("args") if state is not content else None
    options = vars(options) if isinstance(options, argparse.Namespace) else {}
    name = options.get("model") or content.get("arch") or ""
    return Checkpoint(path, clean_state_dict(dict(state)), name, options, averaged=key in _EMA)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({first_line(error)})") from error
    try:
        args = dict(json.loads(metadata.get("model_args", "{}")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: model_args in its metadata is no JSON object ({first_line(error)})") from error
    return Checkpoint(path, clean_state_dict(state), metadata.get("architecture", ""), model_args=args)


def _read_folder(folder: Path, trust: bool, use_ema: bool) -> Checkpoint:
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} has neither {' nor '.join(_WEIGHTS)}")
    weights = read_checkpoint(path, trust, use_ema)
    config_path = folder / "config.json"
    if not config_path.is_file():
        return replace(weights, path=folder)
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        name = config["architecture"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config_path} is not a config of timm ({first_line(error)})") from error
    args = {"num_classes": config["num_classes"]} if "num_classes" in config else {}
    return Checkpoint(
        folder, weights.state, name, _images(name, config), model_args=args | (config.get("model_args") or {})
    )


def _images(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """How images are prepared, as options of ``train.py``, where a saved config and the registered one differ."""
    saved, registered = config.get("pretrained_cfg") or {}, get_pretrained_cfg(name)
    if registered is None or name == "scaled":  # the image size of a scaled model follows from its arguments
        return {}
    own = registered.to_dict()
    given = {key: _tuple(saved[key]) for key in ("input_size", *_DATA_OPTIONS) if key in saved}
    return {key: value for key, value in given.items() if value != _tuple(own.get(key))}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


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
    except (AttributeError, ImportError) as error:
        raise ValueError(f"{path} holds an object whose class cannot be imported: {first_line(error)}") from error
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
        ValueError: no or an unknown name, arguments that the model does not take, or weights of another model. The
            message names keys and shapes that differ, and the nearest registered model.
    """
    name = name or checkpoint.model
    if not name:
        raise ValueError(f"{checkpoint.path} does not say which model it holds: --model NAME is needed")
    if not is_model(name):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name, list_models())}")
    args = {**checkpoint.model_args, **_recorded_args(checkpoint.options)} if name == checkpoint.model else {}
    args |= kwargs
    create = partial(create_model, name, **args)
    with explain_arguments(name):
        wanted = shapes_of(build_without_weights(create).state_dict())
    _check_shapes(checkpoint, name, wanted)
    model: nn.Module = create()
    model.load_state_dict(checkpoint.state)
    vars(model).setdefault("_model_args", dict(args))  # timm records them since 1.0.31
    if overlay := _data_overlay(checkpoint.options, model) if name == checkpoint.model else {}:
        model.pretrained_cfg = model.default_cfg = {**vars(model)["pretrained_cfg"], **overlay}  # type: ignore[assignment]
    return model


def _recorded_args(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: options.get(option) for name, option in _MODEL_OPTIONS.items()}
    kwargs = {key: value for key, value in (options.get("model_kwargs") or {}).items() if key not in _INITIAL_WEIGHTS}
    return {name: value for name, value in given.items() if value is not None} | kwargs


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


def _check_shapes(checkpoint: Checkpoint, name: str, wanted: Shapes) -> None:
    found = shapes_of(checkpoint.state)
    differences = describe_differences(found, wanted)
    if not differences:
        return
    nearest = _nearest_model(found)
    advice = f"; the nearest registered model is {nearest}" if nearest and nearest != name else ""
    raise ValueError(f"{checkpoint.path} is not {name}: {differences}{advice}")


def _nearest_model(found: Shapes) -> str:
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
            shapes = shapes_of(build_without_weights(partial(create_model, name)).state_dict())
        except Exception:  # a generator that needs arguments
            continue
        shares[name] = len(shapes.items() & found.items()) / len(shapes.keys() | found.keys())
    return max(shares, key=lambda name: shares[name], default="")

"""Models saved for timm: as a folder, or as one file whose metadata names the architecture."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from timm.models import save_for_hf
from torch import nn

from timm_regnet_ds.common.text import first_line

__all__ = ["save_model", "writing"]


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise errors of the file system as an ``OSError`` that names the path; safetensors has an error of its own."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OSError(f"{path} was not written: {reason}") from error


def save_model(model: nn.Module, path: str | Path) -> None:
    """Save a model that ``timm.create_model`` built, whole or not at all.

    Args:
        model: the model.
        path: a ``.safetensors`` file, which has the architecture and its arguments in its metadata; or a folder, from
            which ``timm.create_model("local-dir:…", pretrained=True)`` builds the model.

    Raises:
        FileExistsError: ``path`` exists already.
        OSError: it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    made: Any = model
    cfg, args = made.pretrained_cfg, made._model_args
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(made, path, cfg, args)


def _save(model: nn.Module, path: Path, cfg: Mapping[str, Any], args: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        new = Path(directory) / "new"
        if path.suffix == ".safetensors":
            metadata = {"format": "pt", "architecture": cfg["architecture"], "model_args": json.dumps(args)}
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            safetensors.torch.save_file(state, new, metadata)
        else:
            save_for_hf(model, str(new), model_args=dict(args), safe_serialization=True)
        shutil.move(new, path)

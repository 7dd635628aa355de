"""Models saved for timm: as a folder, or as one file whose metadata names the architecture."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import safetensors.torch
from timm.models import save_for_hf
from torch import nn

__all__ = ["save_model"]


def save_model(model: nn.Module, path: str | Path) -> None:
    """Save a model that ``timm.create_model`` built, whole or not at all.

    Args:
        model: the model.
        path: a ``.safetensors`` file, which has the architecture and its arguments in its metadata; or a folder, from
            which ``timm.create_model("local-dir:…", pretrained=True)`` builds the model.

    Raises:
        FileExistsError: ``path`` exists already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    made: Any = model
    cfg, args = made.pretrained_cfg, made._model_args
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as directory:
        new = Path(directory) / "new"
        if path.suffix == ".safetensors":
            metadata = {"format": "pt", "architecture": cfg["architecture"], "model_args": json.dumps(args)}
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            safetensors.torch.save_file(state, new, metadata)
        else:
            save_for_hf(model, str(new), model_args=args, safe_serialization=True)
        shutil.move(new, path)

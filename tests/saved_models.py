"""Models in the form in which they were saved once, in tests/saved, and what they computed.

Each file holds the ``config.json`` that timm saved, the name and shape of each tensor, and logits. Weights are not
kept, because they would be large (a named model has fixed sizes); a formula gives each tensor from its name and shape.

The files ``*_before_sizes.json`` are in the form that had no ``sizes`` yet, where scaling is computed again.

``python tests/saved_models.py`` adds the files that are missing. A file that exists is never written again: it stands
for what users have saved.
"""

import json
import math
import tempfile
import zlib
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

import timm_regnet_ds as trd

SAVED = Path(__file__).parent / "saved"

SIX = {"depth": 4, "w0": 8, "wa": 8.0, "wm": 2.0, "group_width": 8, "block": "y"}
MODELS = {
    "named": ("regnetz_500mf_dWr_1gf", {}),
    "named_regnet": ("regnetx_200mf", {}),
    "scaled_by_factor": ("scaled", {"base": "resnet10t", "factor": 0.25, "alpha": 0.5}),
    "scaled_to_target": ("scaled", {"base": "mobilenetv3_small_050", "to": "30mf", "strategy": "dwr"}),
    "scaled_vit": ("scaled", {"base": "vit_tiny_patch16_224", "factor": 0.1, "base_args": {"img_size": 64}}),
    "scaled_anynet": ("scaled", {"base": "regnet", "base_args": SIX, "factor": 3.0}),
    "regnet": ("regnet", SIX),
    "anynet": ("anynet", {"depths": [1, 2], "widths": [8, 16], "stem": "cifar"}),
    "rexnet": ("rexnet", {"width_mult": 0.5}),
    "nas_cell": ("nas_cell", {"depth": 5, "width": 8}),
    "channelnet": ("channelnet", {"widths": [8, 16, 24], "head_width": 32}),
}


def tensor(name: str, shape: list[int]) -> torch.Tensor:
    """Values that depend on the name and the shape alone, of a size with which activations neither grow nor vanish."""
    count = math.prod(shape)
    waves = torch.sin(torch.arange(count, dtype=torch.float64) * 12.9898 + zlib.crc32(name.encode()) % 1000)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = 1 + 0.2 * waves
    else:
        values = waves * (math.sqrt(2 / (count / shape[0])) if len(shape) > 1 else 0.1)
    return values.reshape(shape).to(torch.float32)


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def logits(model: torch.nn.Module, size: list[int]) -> list[list[float]]:
    """What a model makes of one image, in float64, so that it is the same on every machine."""
    image = torch.sin(torch.arange(math.prod(size), dtype=torch.float64) * 0.37).reshape(1, *size)
    with torch.no_grad():
        return model.double().eval()(image).tolist()


def load(name: str, directory: Path) -> tuple[torch.nn.Module, dict]:
    """The model of a file, through timm's ``local-dir:``, and what is expected of it."""
    saved = json.loads((SAVED / f"{name}.json").read_text())
    (directory / "config.json").write_text(json.dumps(saved["config"]))
    save_file(weights(saved["shapes"]), directory / "model.safetensors")
    return timm.create_model(f"local-dir:{directory}", pretrained=True), saved


def make(architecture: str, args: dict) -> dict:
    model = timm.create_model(architecture, num_classes=5, **args)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(weights(shapes))
    with tempfile.TemporaryDirectory() as directory:
        model_args = {**args, **getattr(model, "_model_args", {})}
        save_for_hf(model, directory, model_args=model_args, safe_serialization=True)
        config = json.loads((Path(directory) / "config.json").read_text())
    size = [3, *(min(side, 64) for side in model.pretrained_cfg["input_size"][1:])]
    if "vit" in str(args.get("base")):
        size = list(model.pretrained_cfg["input_size"])
    versions = {"timm": timm.__version__, "timm-regnet-ds": trd.__version__}
    return {
        "versions": versions,
        "config": config,
        "image_size": size,
        "logits": logits(model, size),
        "shapes": shapes,
    }


def main() -> None:
    SAVED.mkdir(exist_ok=True)
    for name, (architecture, args) in MODELS.items():
        path = SAVED / f"{name}.json"
        if not path.exists():
            made = make(architecture, args)
            lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in made.items()]
            path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

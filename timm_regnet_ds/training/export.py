"""Models as ONNX files, through timm's own export."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timm.utils.onnx import onnx_export
from torch import nn

from timm_regnet_ds.common.check import check_int
from timm_regnet_ds.common.text import first_line, format_size

from .saving import writing

__all__ = ["export_onnx"]


def export_onnx(model: nn.Module, path: str | Path, img_size: int | None = None, opset: int = 18) -> float:
    """Write a model as an ONNX file that takes batches of any size, and check it.

    Unlike timm's ``onnx_export.py``, this takes any model, those from generators and scaled ones among them.

    Args:
        model: a timm model, which is set to evaluation mode.
        path: the file, which is written whole or not at all. Weights of more than 2 GB are in a file beside it.
        img_size: side of the images; by default the model's own.
        opset: version of ONNX's operators.

    Returns:
        The largest difference between the file's logits, computed by onnxruntime, and the model's.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: an invalid size, or one that the model does not take.
        OSError: the file cannot be written.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "export needs onnx, onnxscript and onnxruntime: pip install onnx onnxscript onnxruntime"
        ) from error
    cfg: Any = model.pretrained_cfg
    channels, *sides = cfg["input_size"]
    if img_size is not None:
        sides = [check_int("img_size", img_size)] * 2
    images = torch.randn(2, channels, *sides, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            expected = model.eval()(images)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"the model does not take images of {format_size(sides)}: {first_line(error)}") from error
    with writing(path):
        logits = _write(model, Path(path), images, opset)
    return float((expected - torch.from_numpy(logits)).abs().max())


def _write(model: nn.Module, path: Path, images: torch.Tensor, opset: int) -> Any:
    """Write the file, and compute the logits from it."""
    import onnxruntime

    path.parent.mkdir(parents=True, exist_ok=True)
    # Weights of more than 2 GB are in a second file, which the first one names: both are written under their own names.
    with TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / path.name
        # torch.export of torch 2.5 fixes the size of the batch in the file.
        use_dynamo = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
        onnx_export(model, str(file), example_input=images, opset=opset, check=True, use_dynamo=use_dynamo)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        for written in sorted(Path(folder).iterdir(), reverse=True):  # the weights before the file that names them
            written.replace(path.with_name(written.name))
    return logits

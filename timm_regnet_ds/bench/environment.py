"""The device, driver and library versions of a measurement."""

import functools
import platform
import subprocess
from datetime import datetime, timezone
from typing import Any

import timm
import torch

import timm_regnet_ds
from timm_regnet_ds.common.processor import processor_name

__all__ = ["device_name", "environment"]


def environment(device: str) -> dict[str, Any]:
    """Device, driver, clocks (MHz), library versions and the time (UTC); None for what is unknown."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device_name": device_name(device),
        **(_gpu(device) if cuda else {"driver": None, "clocks": None}),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "timm_regnet_ds": timm_regnet_ds.__version__,
        "python": platform.python_version(),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


@functools.cache
def device_name(device: str) -> str:
    """The name of the GPU, or of the processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name() or platform.machine()


# Fields of nvidia-smi --query-gpu, and their names in a row. torch.utils.collect_env has no clocks, and it takes
# seconds, since it also runs pip and a compiler.
_NVIDIA_SMI_FIELDS = {"driver_version": "driver", "clocks.sm": "sm", "clocks.mem": "memory", "clocks.max.sm": "sm_max"}


def _gpu(device: str) -> dict[str, Any]:
    index = torch.device(device).index or 0
    uuid = str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))
    command = ["nvidia-smi", f"--query-gpu={','.join(_NVIDIA_SMI_FIELDS)}", "--format=csv,noheader,nounits"]
    command.append(f"--id=GPU-{uuid}" if uuid else f"--id={index}")
    try:
        line = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {"driver": None, "clocks": None}
    driver, *clocks = (value.strip() for value in line.strip().split(","))
    return {"driver": driver, "clocks": dict(zip(list(_NVIDIA_SMI_FIELDS.values())[1:], clocks, strict=True))}

"""setuptools' build backend, except that an editable install gets a file of its own for the autoload module.

torch calls ``_timm_regnet_ds_autoload.autoload`` whenever it is imported, and `import torch` fails if that module does
not exist. In setuptools' editable wheel, the module is found in the checkout only, so that deleting or moving the
checkout would break torch for the whole environment. In this backend's editable wheel, the module is a file in
site-packages. It is listed in RECORD, so that pip uninstalls it.
"""

import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks of PEP 517 and PEP 660

AUTOLOAD = Path("_timm_regnet_ds_autoload.py")


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """PEP 660: build an editable wheel and return its file name. The working directory is the checkout."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    _add_file(Path(wheel_directory, name), AUTOLOAD)
    return name


def _add_file(wheel: Path, file: Path) -> None:
    """Write a wheel anew with a further file, and its line in RECORD."""
    content = file.read_bytes()
    digest = urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(wheel) as archive:
        files = {file.name: content} | {name: archive.read(name) for name in archive.namelist()}
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    files[record] = f"{file.name},sha256={digest},{len(content)}\n".encode() + files[record]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)

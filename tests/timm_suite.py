"""timm's own model tests, from the source distribution of the installed timm."""

import importlib.util
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from unittest import mock

import timm
from filelock import FileLock

CACHE = Path(__file__).parent.parent / ".timm-tests"

# These tests download weights.
NEED_NETWORK = {"test_model_load_pretrained", "test_model_features_pretrained"}


def fetch_tests() -> Path:
    """timm's ``tests/test_models.py``; pip downloads it once for each version."""
    found = CACHE / f"timm-{timm.__version__}" / "tests" / "test_models.py"
    CACHE.mkdir(exist_ok=True)
    # All workers of pytest-xdist run this.
    with FileLock(CACHE / "lock"):
        if not found.exists():
            _download_sdist()
            with tarfile.open(CACHE / f"timm-{timm.__version__}.tar.gz") as sdist:
                sdist.extractall(CACHE, members=[m for m in sdist if "/tests/" in m.name])
    return found


def _download_sdist() -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "timm", "--dest", str(CACHE)]
    subprocess.run([*pip, f"timm=={timm.__version__}"], check=True)


def tests_of(names: Iterable[str]) -> dict[str, object]:
    """timm's tests that go over all models, parametrized over ``names`` instead, and their fixture."""
    names = set(names)
    spec = importlib.util.spec_from_file_location("timm_test_models", fetch_tests())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.object(timm, "list_models", _only(names)):
        spec.loader.exec_module(module)
    return {
        name: value
        for name, value in vars(module).items()
        if name == "cfg_device" or (_goes_over(value, names) and name not in NEED_NETWORK)
    }


def _goes_over(test: object, names: set[str]) -> bool:
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    values = [mark.args[1] for mark in marks if mark.args[0] == "model_name"]
    return bool(values and values[0]) and {value.split(".")[0] for value in values[0]} <= names


def _only(names: set[str]) -> Callable[..., list[str]]:
    """`timm.list_models` as if timm had these models alone; they need not be registered yet."""

    # timm selects models with `forward_intermediates` by module; all models of this package have it.
    def list_models(
        filter: str | list[str] = "*", module: str = "", exclude_filters: str | list[str] = (), **kwargs: object
    ) -> list[str]:
        return sorted(name for name in names if _matches(name, filter or "*") and not _matches(name, exclude_filters))

    return list_models


def _matches(name: str, patterns: str | Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))

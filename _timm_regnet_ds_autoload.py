"""Registers the models of an installed timm-regnet-ds with timm, with no import in the user's program.

timm discovers no plugins, but torch does: since 2.5 it calls every entry point of the group ``torch.backends`` at the
end of ``import torch``, and :func:`autoload` is one of them. It runs in every program that uses torch. So it imports
only the standard library, takes about a thousandth of the time of that import, and raises no error. If torch cannot
import this module, ``import torch`` fails; so this is a file in site-packages in an editable install too
(``_build_backend.py``). After a change of this file, an editable install has to be repeated.

Models can be registered once ``timm.models`` has been imported completely. That is later than this call:
``import timm`` imports torch from inside timm, and a program may import torch long before timm. When the import of a
submodule is complete, the import system sets it as an attribute of its package. So :func:`autoload` gives ``timm`` a
module class that notices when the attribute ``models`` is set, and then imports ``timm_regnet_ds``. If the import of
``timm`` has not begun, a finder on ``sys.meta_path`` waits for it; it never finds a module itself. Loaders and specs
stay untouched, and finder and class are removed as soon as the models are registered.

``TIMM_REGNET_DS_AUTOLOAD=0`` (or ``false``, ``off``, ``no``, ``disabled``) switches this off; every other value, also
the empty one, leaves it on. ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` switches off all of torch's entry points, including
this one. ``import timm_regnet_ds`` registers the models in either case.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from types import ModuleType
from typing import Any

__all__ = ["autoload"]

PACKAGE = "timm_regnet_ds"
AWAITED = ("timm", "models")
REGISTRY = "timm.models._registry"
SWITCH = "TIMM_REGNET_DS_AUTOLOAD"
OFF = frozenset({"0", "false", "f", "off", "no", "n", "disable", "disabled"})
# Importing these registers all models.
PARTS = (PACKAGE, f"{PACKAGE}.models", f"{PACKAGE}.scaling")


def autoload() -> None:
    """Register the models with timm, now or as soon as timm is imported.

    It raises nothing: an error becomes one ``RuntimeWarning``.
    """
    try:
        if os.environ.get(SWITCH, "").strip().lower() in OFF:
            return
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        _watch()
        # The check follows _watch, so that it sees an import of timm.models that another thread completed before it.
        if _is_complete():
            _register()
    except Exception as error:
        _warn(error)


class _Finder:
    """Finds no module. The import system asks it at each import, and it looks whether ``timm`` exists by then."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if AWAITED[0] in sys.modules:
            with suppress(Exception):
                _watch()


class _Watched(ModuleType):
    """The class of the module ``timm`` until ``timm.models`` is imported completely."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == AWAITED[1]:
            _register()


def _watch() -> None:
    package = sys.modules.get(AWAITED[0])
    if _is_ordinary(package) and not _is_complete():
        package.__class__ = _Watched


def _is_ordinary(package: Any) -> bool:
    """Whether a module is not lazily loaded (``importlib.util.LazyLoader``), or is lazy and currently loading.

    Since Python 3.13, a lazy module keeps its own class while it is loading.
    """
    if type(package) is ModuleType:
        return True
    if not isinstance(package, ModuleType) or isinstance(package, _Watched):
        return False
    state = getattr(object.__getattribute__(package, "__spec__"), "loader_state", None)
    return isinstance(state, dict) and state.get("is_loading", False) is True


def _is_complete() -> bool:
    package = sys.modules.get(AWAITED[0])
    # `vars` would trigger the import of a lazily loaded module.
    return isinstance(package, ModuleType) and AWAITED[1] in object.__getattribute__(package, "__dict__")


def _register() -> None:
    try:
        _stop_waiting()
        # This does what an import statement does. Unlike importlib.import_module, it returns a half imported package
        # if another thread imports timm_regnet_ds at the same time; that thread then completes it.
        # Where a program imports timm_regnet_ds first, that import has only begun; its parts register the models before
        # another thread, which waits for timm, can ask for one.
        for part in PARTS:
            __import__(part)
    except (Exception, SystemExit) as error:
        with suppress(Exception):
            _unregister()
        _warn(error)


def _stop_waiting() -> None:
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Finder)]:
        sys.meta_path.remove(finder)
    package = sys.modules.get(AWAITED[0])
    if isinstance(package, _Watched):
        package.__class__ = ModuleType  # type: ignore[assignment]


def _unregister() -> None:
    """Remove a package that failed to import from ``sys.modules`` and timm's registry; it can be imported again."""
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    registry = vars(sys.modules[REGISTRY])
    entrypoints = registry["_model_entrypoints"].items()
    ours = {name for name, entrypoint in entrypoints if entrypoint.__module__.partition(".")[0] == PACKAGE}
    for variable, table in registry.items():
        if variable.startswith("_model_"):  # sets and dicts, with keys `name` and `name.tag`
            for key in [key for key in table if key.partition(".")[0] in ours]:
                table.discard(key) if isinstance(table, set) else table.pop(key)
    modules = registry["_module_to_models"]
    for module, names in list(modules.items()):
        names -= ours
        if not names:
            del modules[module]


def _warn(error: BaseException) -> None:
    message = (
        f"timm-regnet-ds could not register its models with timm ({type(error).__name__}: {error}). "
        f"torch and timm work without them; {SWITCH}=0 switches the attempt off."
    )
    if isinstance(error, ModuleNotFoundError) and error.name == PACKAGE:
        message += " If the checkout of an editable install is gone, 'pip uninstall timm-regnet-ds' removes the rest."
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except Exception:  # python -W error
        sys.stderr.write(f"{message}\n")

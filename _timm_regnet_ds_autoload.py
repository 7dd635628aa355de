"""Makes an installed timm-regnet-ds known to timm, with no import in the user's program.

timm discovers no plugins, torch does: since 2.5 it calls every entry point of the group ``torch.backends``
at the end of ``import torch``, and :func:`autoload` is one of them. It runs in every program that uses torch,
so it uses the standard library alone, takes well under a millisecond, and lets no error out.

Models can be registered once ``timm.models`` is complete, and that is later than this: ``import timm`` imports
torch from inside timm, and a program may import torch long before timm. When a submodule is complete, the
import system sets it as an attribute of its package. So ``timm`` gets, until that has happened, a module class
that sees its attribute ``models`` being set, and then imports ``timm_regnet_ds``. Where ``timm`` does not exist
yet, a finder on ``sys.meta_path`` that finds nothing waits for it. Loaders and specs are never touched; finder
and class are gone once the models are registered.

``TIMM_REGNET_DS_AUTOLOAD=0`` (or ``false``, ``off``, ``no``) switches this off; every other value, the empty
one too, leaves it on. ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` switches off all of torch's entry points, this one
too. ``import timm_regnet_ds`` registers the models in either case.
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
OFF = frozenset({"0", "false", "off", "no"})


def autoload() -> None:
    """Register the models with timm, now or as soon as timm is imported.

    Raises nothing: an error becomes one ``RuntimeWarning``.
    """
    try:
        if os.environ.get(SWITCH, "").strip().lower() in OFF:
            return
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        _watch()
        # Asked after _watch, so that no other thread can complete timm.models unseen in between.
        if _is_complete():
            _register()
    except Exception as error:
        _warn(error)


class _Finder:
    """Finds nothing; as long as it is asked, timm may have begun to be imported."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if AWAITED[0] in sys.modules:
            with suppress(Exception):
                _watch()


class _Watched(ModuleType):
    """The class of ``timm`` until ``timm.models`` is complete."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == AWAITED[1]:
            _register()


def _watch() -> None:
    package = sys.modules.get(AWAITED[0])
    if _is_ordinary(package) and not _is_complete():
        package.__class__ = _Watched


def _is_ordinary(package: Any) -> bool:
    """Whether a module is none that loads itself at its first use, or is one that is being loaded (Python 3.13)."""
    if type(package) is ModuleType:
        return True
    if not isinstance(package, ModuleType) or isinstance(package, _Watched):
        return False
    state = getattr(object.__getattribute__(package, "__spec__"), "loader_state", None)
    return isinstance(state, dict) and state.get("is_loading", False) is True


def _is_complete() -> bool:
    package = sys.modules.get(AWAITED[0])
    # Not `vars`, which would load a module that loads itself at its first use.
    return isinstance(package, ModuleType) and AWAITED[1] in object.__getattribute__(package, "__dict__")


def _register() -> None:
    try:
        _leave()
        # An import statement in effect, not importlib.import_module: where two threads import timm and
        # timm_regnet_ds at once, it takes the half imported package, which the other thread completes.
        __import__(PACKAGE)
    except (Exception, SystemExit) as error:
        with suppress(Exception):
            _undo()
        _warn(error)


def _leave() -> None:
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _Finder)]:
        sys.meta_path.remove(finder)
    package = sys.modules.get(AWAITED[0])
    if isinstance(package, _Watched):
        package.__class__ = ModuleType  # type: ignore[assignment]


def _undo() -> None:
    """Take a package that failed half-way out of ``sys.modules`` and timm: a later import starts afresh."""
    for name in [name for name in list(sys.modules) if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    registry = vars(sys.modules[REGISTRY])
    entrypoints = registry["_model_entrypoints"].items()
    ours = {name for name, entrypoint in entrypoints if entrypoint.__module__.partition(".")[0] == PACKAGE}
    for variable, table in registry.items():
        if variable.startswith("_model_"):  # sets and dicts of `name` and `name.tag`
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
    try:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    except Exception:  # python -W error
        sys.stderr.write(f"{message}\n")

"""The package keeps to its rooms: imports go one way, and none of them is part of a circle."""

import ast
import re
from graphlib import TopologicalSorter
from itertools import takewhile
from pathlib import Path

import pytest

import timm_regnet_ds

PACKAGE = Path(timm_regnet_ds.__file__).parent
PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")

# The rooms in the order in which docs/architecture.md lists them: a room imports only from those above it.
ROOMS = re.findall(r"^\| `([a-z_/]+)` \|", PAGE, re.MULTILINE)


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """Modules of this package that a module imports, also inside its functions, but not for annotations alone."""
    path = MODULES[module]
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            inside = {f"{source}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inside or {source}
    return found & MODULES.keys() - {module}


def room_of(module: str) -> str | None:
    """The innermost listed room that holds a module."""
    path = module.removeprefix("timm_regnet_ds").removeprefix(".").replace(".", "/")
    holding = [room for room in ROOMS if path == room or path.startswith(f"{room}/")]
    return max(holding, key=len, default=None)


def test_every_module_is_in_a_room():
    homeless = {module for module in MODULES if room_of(module) is None}
    assert homeless == {"timm_regnet_ds", "timm_regnet_ds.__main__"}
    empty = [room for room in ROOMS if not (PACKAGE / room).is_dir() and not (PACKAGE / f"{room}.py").is_file()]
    assert not empty


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_only_what_is_above_it(room):
    above = {*takewhile(lambda other: other != room, ROOMS), room}
    for module in (module for module in MODULES if room_of(module) == room):
        # A package's own list of names stands for the rooms inside it.
        inside = (
            {other for other in ROOMS if other.startswith(f"{room}/")} if MODULES[module].stem == "__init__" else set()
        )
        for used in imports_of(module):
            assert room_of(used) in above | inside | {None}, f"{module} imports {used}"


def test_no_imports_go_in_a_circle():
    # `import package` is no dependency on what a package's __init__ gathers.
    files = {name for name, path in MODULES.items() if path.stem != "__init__"}
    TopologicalSorter({module: imports_of(module) & files for module in files}).prepare()

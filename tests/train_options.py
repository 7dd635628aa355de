"""Writes tests/train_options.json: the options of timm's ``train.py``, by the version of timm.

    python tests/train_options.py CHECKOUT [REVISION …]

CHECKOUT is a clone of timm's repository; each REVISION is a tag or commit of it, by default the files as they are.
Versions that the file has already stay.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).with_suffix(".json")


def options_of(source: str) -> list[str]:
    """Names under which ``train.py`` stores its options, which are those that its YAML may have."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            dest = [keyword.value.value for keyword in node.keywords if keyword.arg == "dest"]
            texts = dest or [arg.value for arg in node.args]
            long = [text for text in texts if text.startswith("--")] or texts
            names.add(long[0].lstrip("-").replace("-", "_"))
    return sorted(names)


def read(checkout: str, revision: str | None, path: str) -> str:
    if revision is None:
        return (Path(checkout) / path).read_text(encoding="utf-8")
    show = ["git", "-C", checkout, "show", f"{revision}:{path}"]
    return subprocess.run(show, check=True, capture_output=True, text=True).stdout


def main(checkout: str, *revisions: str) -> None:
    known = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    for revision in revisions or (None,):
        version = read(checkout, revision, "timm/version.py").split("'")[1]
        known[version] = options_of(read(checkout, revision, "train.py"))
    DATA.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What README and docs print is what comes out."""

import re
import shlex
from pathlib import Path

import pytest

from timm_regnet_ds.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^\$ timm-regnet-ds (.*)\n", README, re.MULTILINE))
def test_commands_of_the_readme(line, capsys):
    assert main(shlex.split(line)) == 0
    assert f"$ timm-regnet-ds {line}\n{capsys.readouterr().out}" in README


def test_python_of_the_readme():
    session: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    statements = [line[4:] for block in blocks for line in block.splitlines() if line.startswith(">>> ")]
    assert len(statements) > 10
    for statement in statements:
        exec(statement, session)


@pytest.mark.parametrize("arguments", [["--printed", "regnetz*"], ["--printed", "rexnet_lite*"], ["regnety_*mf"]])
def test_tables_of_the_models(arguments, capsys):
    assert main(["models", *arguments]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert rows
    assert all(f"\n{line}\n" in MODELS for line in [header, *rows])

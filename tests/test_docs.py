"""What README and docs print is what comes out."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from calls import use_new_family

from timm_regnet_ds import list_models
from timm_regnet_ds.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {
    name: (ROOT / name).read_text() for name in ("README.md", "docs/bench.md", "docs/latency.md", "docs/spaces.md")
}
MODELS = (ROOT / "docs" / "models.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^\$ timm-regnet-ds (.*)\n", README, re.MULTILINE))
def test_commands_of_the_readme(line, capsys):
    assert main(shlex.split(line)) == 0
    assert f"$ timm-regnet-ds {line}\n{capsys.readouterr().out}" in README


def test_the_readme_counts_the_models():
    assert f"\nAll {len(list_models())} with their complexity:" in README


@pytest.mark.usefixtures("one_worker")
@pytest.mark.parametrize("page", sorted({*PAGES} - {"docs/spaces.md"}))  # its answers are compared below
def test_python_of_the_pages(page):
    session: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)
    statements = [line[4:] for block in blocks for line in block.splitlines() if line.startswith(">>> ")]
    assert statements
    for statement in statements:
        # Large models need no weights here, unless they are timed.
        with torch.device("cpu" if "bench(" in statement else "meta"):
            exec(statement.replace("seconds=2", "seconds=0.1"), session)


def test_answers_of_the_spaces():
    """What docs/spaces.md shows below a statement is what it gives."""
    examples = doctest.DocTestParser().get_examples(PAGES["docs/spaces.md"].replace("\n```", "\n\n```"))
    session: dict[str, object] = {}
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(doctest.DocTest(examples, session, "docs/spaces.md", None, 0, None))
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("arguments", [["--printed", "regnetz*"], ["--printed", "rexnet_lite*"], ["regnety_*mf"]])
def test_tables_of_the_models(arguments, capsys):
    assert main(["models", *arguments]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert rows
    assert all(f"\n{line}\n" in MODELS for line in [header, *rows])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the newest tools of the site disagree on Python 3.10")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    api = (tmp_path / "site" / "api" / "scaling" / "index.html").read_text(encoding="utf-8")
    assert 'id="timm_regnet_ds.scaling.scale.scale"' in api


@pytest.mark.usefixtures("one_worker")
def test_the_notebook_runs(monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    notebook = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 10
    monkeypatch.chdir(ROOT / "examples")
    session: dict[str, object] = {}
    text = "\0".join(cells)
    for long, short in (("seconds=2", "seconds=0.1"), ("(1, 2, 4, 8, 16)", "(1, 2)")):
        assert long in text
        text = text.replace(long, short)
    for cell in text.split("\0"):
        exec(cell, session)
    assert session["accuracy"] > 0.9


def test_the_example_of_a_new_family(worker):
    # In a process of its own, since names that are registered with timm stay.
    classes, channels, growth = worker.call(use_new_family, ROOT / "docs" / "new_family.md")
    assert (classes, channels) == (5, [8, 16, 32, 64, 128])
    assert growth > 2

"""docs/integrations.md: each block of Python runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "integrations.md").read_text(encoding="utf-8")
DETECTOR, SSDLITE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code):
    session: dict[str, object] = {}
    exec(code, session)
    return session


def test_torchvisions_faster_rcnn():
    pytest.importorskip("torchvision")
    session = run(DETECTOR)
    assert session["boxes"].ndim == 2
    assert session["boxes"].shape[1] == 4
    assert session["backbone"].body.feature_info.reduction()[-1] > session["backbone"].body.feature_info.reduction()[0]


def test_an_ssdlite_head():
    outputs = run(SSDLITE)["outputs"]
    assert [tuple(x.shape) for x in outputs] == [(1, 42, 6, 6), (1, 42, 3, 3)]

"""Pieces of text that tables and messages share."""

import pytest

from timm_regnet_ds.common.text import first_line, format_size, shorten


@pytest.mark.parametrize(
    ("name", "width", "keep", "expected"),
    [
        ("stem", 4, "start", "stem"),
        ("stages.0.blocks", 7, "start", "stages…"),
        ("stages.0.blocks", 7, "end", "…blocks"),
    ],
)
def test_names_are_cut_to_a_width(name, width, keep, expected):
    assert shorten(name, width, keep) == expected


def test_sizes_and_errors():
    assert format_size((3, 224, 192)) == "3×224×192"
    assert first_line(ValueError("\nwrong size\nat line 3")) == "wrong size"
    assert first_line(KeyError()) == "KeyError"

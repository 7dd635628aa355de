"""Names and messages of other people stay text in every format that is written."""

import csv
import io
import json

import pytest
from bench_models import result

from timm_regnet_ds.bench.jobs import Result
from timm_regnet_ds.bench.reporting import report
from timm_regnet_ds.files.rows import RowsFile
from timm_regnet_ds.files.tables import csv_text, markdown, markdown_line

HOSTILE = "a|b\n# Heading\x1b[31m <script>alert(1)</script> [x](javascript:1)"


def test_a_line_of_markdown():
    assert markdown_line(HOSTILE) == r"a\|b # Heading \[31m &lt;script>alert(1)&lt;/script> \[x](javascript:1)"
    assert markdown_line("regnetx_200mf(num_classes=10): 3×224×224, α = 0.5") == (
        "regnetx_200mf(num_classes=10): 3×224×224, α = 0.5"
    )


def test_a_backslash_does_not_undo_an_escape():
    assert markdown_line(r"a\|b") == r"a\\\|b"


def test_a_cell_stays_one_cell():
    header, rule, row = markdown(["name", "flops"], [[HOSTILE, "1"]]).splitlines()
    assert row.replace(r"\|", "").count("|") == header.count("|") == rule.count("|") == 3


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", " =1"])
def test_no_text_becomes_a_formula(text):
    (row,) = csv.DictReader(io.StringIO(csv_text([{"name": text, "error": -0.5}])))
    assert row == {"name": f"'{text}", "error": "-0.5"}


@pytest.mark.parametrize("text", ["-0.5", "+3", "a=b", "–"])
def test_other_text_stays_as_it_is(text):
    assert csv_text([{"name": text}]).splitlines()[1] == text


def test_a_report_of_measurements(tmp_path):
    good = result(HOSTILE, (10**9, 10**6, 10**6), 1.0)
    failed = Result(good.job, good.device_name, None, HOSTILE)
    report([good, failed], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line.startswith("#")][1:] == [
        "## a device, inference, batch 1, images of 224×224, fp32, cache warm, threads 1",
        "## Failed",
    ]


@pytest.mark.parametrize(
    ("number", "message"),
    [("NaN", "NaN is not a number of JSON"), ("-Infinity", "-Infinity is not"), ("1e999", "1e999 is too large")],
)
def test_numbers_that_are_not_finite_are_refused_on_reading(number, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"kind": "k", "version": 1, "error": 0.5}), f'{{"kind": "k", "version": 1, "error": {number}}}']
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=f"line 2 is not valid JSON: {message}"):
        RowsFile(path, "k", 1).read()


def test_rows_nested_too_deeply_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(ValueError, match="line 1 is not valid JSON"):
        RowsFile(path, "k", 1).read()

"""Rows files: a row is written completely or not at all, by any number of processes, even when they are killed."""

import json
import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from killed import run_and_kill

from timm_regnet_ds.files.rows import RowsFile


@pytest.fixture
def rows(tmp_path):
    return RowsFile(tmp_path / "deep" / "rows.jsonl", "number", 3)


def test_rows_come_back_as_written(rows):
    assert rows.read_if_exists() == []
    rows.append({"n": 1, "text": "α\n"})
    rows.append({"n": 2.5, "text": None})
    assert rows.read() == [{"n": 1, "text": "α\n"}, {"n": 2.5, "text": None}]


def test_a_broken_last_line_is_left_out_and_then_replaced(rows):
    rows.append({"n": 1})
    with open(rows.path, "a") as file:
        file.write('{"kind": "num')
    with pytest.warns(UserWarning, match="line 2 is incomplete"):
        assert rows.read() == [{"n": 1}]
    rows.append({"n": 2})
    assert rows.read() == [{"n": 1}, {"n": 2}]


def test_a_file_that_is_one_long_broken_line(rows):
    rows.path.parent.mkdir()
    rows.path.write_text("x" * 200_000)
    rows.append({"n": 2})
    assert rows.read() == [{"n": 2}]


def test_a_broken_line_before_the_last_is_named(rows):
    rows.append({"n": 1})
    text = rows.path.read_text()
    rows.path.write_text("{oops\n" + text)
    with pytest.raises(ValueError, match="line 1 is not valid JSON"):
        rows.read()


@pytest.mark.parametrize("change", [{"version": 2}, {"kind": "letter"}])
def test_rows_of_another_version_or_kind_are_refused(rows, change):
    rows.append({"n": 1})
    row = json.loads(rows.path.read_text()) | change
    rows.path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="line 1 is not a number of version 3, but"):
        rows.read()


def test_nan_is_refused_and_nothing_is_written(rows):
    with pytest.raises(ValueError, match="not JSON compliant"):
        rows.append({"n": float("nan")})
    assert rows.read_if_exists() == []


def _write(path, worker):
    for i in range(20):
        RowsFile(path, "number", 3).append({"worker": worker, "i": i, "padding": "x" * 5000})


def test_processes_append_side_by_side(rows):
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_write, [rows.path] * 4, range(4)))
    written = {(row["worker"], row["i"]) for row in rows.read()}
    assert len(written) == 80


def _append_until_killed(path, say):
    rows = RowsFile(path, "number", 3)
    for i in range(len(rows.read_if_exists()), 100_000):
        rows.append({"i": i, "padding": "x" * 2000})
        say(i)


@pytest.mark.filterwarnings("ignore:.*is incomplete")
def test_killed_at_any_instant_no_row_is_lost_or_written_twice(rows):
    chance = random.Random(0)
    for _ in range(20):
        said = run_and_kill(partial(_append_until_killed, rows.path), chance.randint(1, 5), chance.uniform(0, 0.01))
        numbers = [row["i"] for row in rows.read()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > int(said[-1])

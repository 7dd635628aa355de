"""The rules of scaling: how a stage with blocks of several kinds changes its length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers
from timm_regnet_ds.scaling.families.rules import Repeats, nearest_depth, spread


@given(items=st.lists(st.integers(), min_size=1, max_size=40), count=st.integers(0, 200))
def test_spread_keeps_order_and_repeats_equally_often(items, count):
    indices = spread(range(len(items)), count)
    assert len(indices) == count
    assert indices == sorted(indices)
    assert spread(items, count) == [items[index] for index in indices]
    times = [indices.count(index) for index in range(len(items))]
    assert max(times) - min(times) <= 1


@pytest.mark.parametrize(
    ("items", "count", "expected"),
    [
        ("abc", 3, "abc"),
        ("abc", 6, "aabbcc"),
        ("abc", 9, "aaabbbccc"),
        ("abcde", 3, "ace"),
        ("abababab", 4, "aabb"),  # every second item would be of one kind
        ("abcde", 1, "e"),
        ("abc", 0, ""),
    ],
)
def test_spread_by_examples(items, count, expected):
    assert "".join(spread(items, count)) == expected


def test_the_first_block_of_a_stage_stays_alone():
    args = Repeats("stage", follower=str.lower).scale({"stage": ["A"]}, Multipliers(depth=3))
    assert args == {"stage": ["A", "a", "a"]}
    args = Repeats("stage").scale({"stage": ["A", "b", "c"]}, Multipliers(depth=5 / 3))
    assert args == {"stage": ["A", "b", "b", "c", "c"]}


@pytest.mark.parametrize(
    ("depth", "by", "limits", "expected"),
    [
        (3, 0.5, {}, 1),
        (1, 2.5, {}, 3),
        (6, 1.5, {"multiple": 2}, 10),
        (4, 0.1, {"minimum": 2}, 2),
        (1, 0.1, {"minimum": 2}, 1),
    ],
)
def test_depths_round_away_from_the_base(depth, by, limits, expected):
    assert nearest_depth(depth, by, **limits) == expected

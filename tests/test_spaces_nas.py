"""The five spaces of cells: Table 3, and complexity that is that of the models."""

import json
from dataclasses import replace
from functools import partial
from math import factorial

import numpy as np
import pytest
from many import mostly_shallow

from timm_regnet_ds.complexity import measure_factory
from timm_regnet_ds.models.nas_cell import CONCATS
from timm_regnet_ds.spaces import get_space
from timm_regnet_ds.spaces.nas import NAS_SPACES

SPACES = list(NAS_SPACES.values())
each = pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])

# Table 3 of On Network Design Spaces: operations, nodes, output, cells in billions.
TABLE = {
    "nasnet": (13, 5, "loose", 71_465_842),
    "amoeba": (8, 5, "loose", 556_628),
    "pnas": (8, 5, "all", 556_628),
    "enas": (5, 5, "loose", 5_063),
    "darts": (8, 4, "all", 242),
}


def test_table_3():
    found = {s.name: (len(set(s.ops)), s.nodes, s.concat, (s.cells() + 5 * 10**8) // 10**9) for s in SPACES}
    assert found == TABLE
    for space in SPACES:
        o, k = len(space.ops), space.nodes
        assert space.cells() == o ** (2 * k) * factorial(k + 1) ** 2
        assert space.count() == space.cells() ** 2 * 3 * 5


def test_count_is_that_of_a_space_counted_one_by_one():
    tiny = replace(get_space("enas"), ops=("skip_connect", "avg_pool_3x3"), nodes=1, widths=(16,), depths=(4,))
    sample = tiny.sample(4000)
    assert len({json.dumps(tiny.to_json(c)) for c in sample}) == tiny.count() == 256


@each
def test_complexity_is_that_of_the_models(space):
    for config, *counts in mostly_shallow(space, seed=1):
        _, counted = measure_factory(space.name, partial(space.build, config))
        assert [counted.flops, counted.params, counted.acts] == counts, config
        assert counted.input_size == (3, 32, 32)


@each
def test_samples_are_of_the_space_and_survive_json(space):
    for config in space.sample(50, seed=2):
        assert space.contains(config)
        row = json.loads(json.dumps(space.to_json(config)))
        assert space.from_json(row) == config


@each
def test_sampling_is_uniform_and_follows_the_seed(space):
    sample = space.sample(3000, seed=3)
    again = space.sample(10, seed=3)
    assert list(again) == [sample[i] for i in range(10)]
    assert list(again) != list(space.sample(10, seed=4))
    ops = np.bincount(sample.configs.ops.ravel(), minlength=len(space.ops))
    last_inputs = np.bincount(sample.configs.inputs[:, :, -1].ravel(), minlength=space.nodes + 1)
    for counts in (ops, last_inputs, np.unique(sample.configs.depths, return_counts=True)[1]):
        expected = counts.sum() / len(counts)
        assert abs(counts - expected).max() < 5 * expected**0.5


@each
def test_outputs_are_those_of_the_configurations(space):
    configs = space.sample(40, seed=5).configs
    expected = [[len(CONCATS[space.concat](cell)) for cell in (c.normal, c.reduction)] for c in configs]
    assert configs.outputs().tolist() == expected


def test_limits_hold():
    sample = get_space("darts").sample(20, params=(None, "860kp"), flops=("50mf", "130mf"))
    assert len(sample) == 20
    assert sample.params.max() <= 860_000
    assert (sample.flops >= 50e6).all()
    assert (sample.flops <= 130e6).all()
    assert sample.drawn > 20


def test_why_a_configuration_is_not_of_a_space():
    enas, darts = get_space("enas"), get_space("darts")
    config = enas.sample(1)[0]
    assert not darts.contains(config)
    assert enas.contains(replace(config, width=48)).reason == "width is 48, and enas has 16, 24, 32"
    other = replace(config, normal=[[["none", 0], ["skip_connect", 1]], *config.normal[1:]])
    assert "operation 1 of normal, node 0, is 'none'" in enas.contains(other).reason
    assert "not int" in enas.contains(3).reason
    with pytest.raises(ValueError, match="a configuration of enas has concat, depth, normal"):
        enas.from_json({"depth": 3})

"""Dimensions, index maps, and operators of older versions of torch."""

import numpy as np
import pytest
import torch

from timm_regnet_ds.weights.dims import Concat, Leaf, Product, concat, product, resolve, same
from timm_regnet_ds.weights.maps import COPY, FRESH, OLD, Policy, index_map
from timm_regnet_ds.weights.plan import Plan
from timm_regnet_ds.weights.record import Op, Recording, Ref
from timm_regnet_ds.weights.trace import RULES, trace
from timm_regnet_ds.weights.unify import Unifier


def test_unifying_a_leaf_with_heads():
    unifier = Unifier()
    width, heads, size = Leaf(8, 12), Leaf(2, 3), Leaf(4, 4)
    unifier.unify(width, product([heads, size]))
    assert not unifier.conflicts
    assert isinstance(resolve(width), Product)
    found = index_map(width, Policy.FRESH)
    assert found.source.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1, -1, -1, -1]
    assert set(found.state[8:]) == {FRESH}


def test_packed_queries_keys_and_values():
    unifier = Unifier()
    rows = Leaf(6, 9)
    three, width = unifier.view([rows], [(6, 9)], [(3, 3), (2, 3)])
    assert same(three)
    assert width.size == (2, 3)
    assert index_map(rows, Policy.FRESH).source.tolist() == [0, 1, -1, 2, 3, -1, 4, 5, -1]


def test_a_concatenation_keeps_each_part_at_its_place():
    joined = concat([Leaf(2, 3), Leaf(1, 2)])
    assert isinstance(joined, Concat)
    assert index_map(joined, Policy.FRESH).source.tolist() == [0, 1, -1, 2, -1]
    copies = index_map(joined, Policy.COPY)
    assert copies.source.tolist() == [0, 1, 0, 2, 2]
    assert copies.state.tolist() == [OLD, OLD, COPY, OLD, COPY]


def test_a_cut_splits_a_leaf():
    unifier = Unifier()
    leaf = Leaf(8, 16)
    first, second = unifier.cut(leaf, (2, 4))
    assert (first.size, second.size) == ((2, 4), (6, 12))
    unifier.unify(leaf, concat([Leaf(2, 4), Leaf(6, 12)]))
    assert not unifier.conflicts


def test_what_does_not_fit_is_a_conflict():
    unifier = Unifier()
    unifier.unify(Leaf(2, 4), Leaf(2, 6))
    assert unifier.conflicts == ["sizes differ: 2→4 2→6"]


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_repeat_every_channel(copies):
    found = index_map(Leaf(4, 4 * copies), Policy.COPY)
    assert np.array_equal(np.bincount(found.source), np.full(4, copies))


def recording(name, args, out, parameters):
    return Recording([Op(name, args, out, "")], out, parameters, {})


@pytest.mark.parametrize("name", ["native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"])
def test_norms_by_their_names_in_any_version(name):
    def model(channels):
        x = Ref(1, (1, channels, 4, 4), False)
        weight = Ref(2, (channels,), False)
        args = {"input": x, "weight": weight, "bias": None, "running_mean": None, "running_var": None}
        return recording(name, args, Ref(3, x.shape, False), {"weight": weight})

    plan = trace(Plan({"": ""}, {"weight": "weight"}), model(4), model(8))
    assert plan.kinds == {"weight": "norm_state"}
    assert not plan.conflicts


ATTENTION = [
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
]


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_by_its_names(name):
    def model(heads):
        q, k, v = (Ref(number, (1, heads, 9, 16), False) for number in (1, 2, 3))
        return recording(name, {"query": q, "key": k, "value": v, "scale": None}, Ref(4, q.shape, False), {})

    plan = trace(Plan({"": ""}, {}), model(2), model(4))
    assert not plan.conflicts
    assert plan.outputs[0][1].size == (2, 4)


def test_every_operator_of_the_oldest_torch_has_a_rule():
    """Names that torch 2.5 uses and newer versions may not, and the other way round."""
    wanted = {"native_layer_norm", "_fused_rms_norm", "native_group_norm", "_unsafe_view", "addmm", "convolution"}
    assert wanted | {"_softmax", "_safe_softmax", "split_with_sizes", "unsafe_split", *ATTENTION} <= RULES.keys()
    assert all(hasattr(torch.ops.aten, name) for name in ("native_layer_norm", "_unsafe_view", "addmm"))

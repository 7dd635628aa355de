"""Operators that sum products: convolutions, linear layers, matrix products, attention."""

from collections.abc import Sequence

from timm_regnet_ds.weights.dims import Dim, Groups, Leaf, product, size
from timm_regnet_ds.weights.trace import Call, rule


@rule("convolution", "_convolution", "mkldnn_convolution", "conv2d", "conv1d", "conv3d")
def convolution(call: Call) -> list[Dim]:
    x, weight = call.dims("input"), call.dims("weight")
    groups = call.base["groups"], call.grown["groups"]
    inputs, outputs = call.sizes("input")[1], call.out_sizes()[1]
    (rows, wide_rows), (width, wide_width) = call.sizes("weight")[:2]
    kind = "dense"
    if call.grown.get("transposed"):
        out = weight[1]
        read = weight[0]
        if groups == (1, 1):
            call.unify(x[1], read)
        else:
            group = Leaf(*groups)
            call.unify(x[1], product([group, Leaf(inputs[0] // groups[0], inputs[1] // groups[1])]))
            call.unify(read, x[1])
            out = product([group, weight[1]])
    elif groups == (1, 1):
        call.unify(x[1], weight[1])
        out, read = weight[0], weight[1]
    elif _packs(groups, (width, wide_width), (rows // groups[0], wide_rows // groups[1])):
        per_group = rows // groups[0], wide_rows // groups[1]
        call.unify(x[1], Groups(groups, (width, wide_width)))
        call.unify(weight[0], Groups(groups, per_group))
        out, read = weight[0], weight[1]
        if name := call.parameter("weight"):
            call.plan.packed[name] = groups, (width, wide_width)
    else:
        group = Leaf(*groups)
        call.unify(x[1], product([group, weight[1]]))
        call.unify(weight[0], product([group, Leaf(outputs[0] // groups[0], outputs[1] // groups[1])]))
        out, read = weight[0], weight[1]
        kind = "depthwise" if width == 1 else "dense"
    name = call.read("weight", read, kind, call.factor(0))
    call.add_bias("bias", out, name)
    spatial = [dim if size(dim) == one else Leaf(*one) for dim, one in zip(x[2:], call.out_sizes()[2:], strict=True)]
    return [x[0], out, *spatial]


def _packs(groups: tuple[int, int], width: tuple[int, int], rows: tuple[int, int]) -> bool:
    """Whether there are fewer groups in the grown model, into which those of the base fit."""
    fit = width[1] // width[0]
    return groups[0] > groups[1] and fit >= 2 and rows[1] // rows[0] == fit and groups[1] * fit >= groups[0]


def _multiply(call: Call, x: Sequence[Dim], y: Sequence[Dim], left: str, right: str) -> str | None:
    """``x @ y``: the dimensions that are summed over become one. The name of the weight, if one factor is one."""
    call.unify(x[-1], y[-2])
    tracer = call.tracer
    factors = [tracer.factor.get(call.grown[side].id, 1.0) for side in (left, right)]
    name = call.read(right, y[-2], factor=factors[0]) or call.read(left, x[-1], factor=factors[1])
    if name is None:
        call.set_factor(factors[0] * factors[1])
        tracer.contracted[call.grown_out[0].id] = x[-1]
    return name


@rule("addmm")
def addmm(call: Call) -> list[Dim]:
    x, y = call.dims("mat1"), call.dims("mat2")
    name = _multiply(call, x, y, "mat1", "mat2")
    call.add_bias("self", y[1], name)
    return [x[0], y[1]]


@rule("mm", "bmm", "matmul")
def mm(call: Call) -> list[Dim]:
    right = "mat2" if "mat2" in call.grown else "other"
    x, y = call.dims("self"), call.dims(right)
    _multiply(call, x, y, "self", right)
    for a, b in zip(x[:-2], y[:-2], strict=True):
        call.unify(a, b)
    return [*x[:-1], y[-1]]


@rule("baddbmm")
def baddbmm(call: Call) -> list[Dim]:
    x, y = call.dims("batch1"), call.dims("batch2")
    _multiply(call, x, y, "batch1", "batch2")
    call.unify(x[0], y[0])
    out = [x[0], x[1], y[2]]
    for a, b in zip(call.dims("self"), out, strict=False):
        if size(a) == size(b):
            call.unify(a, b)
    return out


@rule("mv")
def mv(call: Call) -> list[Dim]:
    x = call.dims("self")
    call.unify(x[1], call.dims("vec")[0])
    call.read("self", x[1])
    return [x[0]]


@rule("linear")
def linear(call: Call) -> list[Dim]:
    x, weight = call.dims("input"), call.dims("weight")
    call.unify(x[-1], weight[1])
    name = call.read("weight", weight[1], factor=call.factor(0))
    call.add_bias("bias", weight[0], name)
    return [*x[:-1], weight[0]]


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "scaled_dot_product_attention",
)
def attention(call: Call) -> list[Dim]:
    query, key, value = call.dims("query"), call.dims("key"), call.dims("value")
    factor = call.factor(0) * call.factor(1)
    (size_before, size_after) = call.sizes("query")[-1]
    ours, theirs = call.base.get("scale"), call.grown.get("scale")
    factor *= (theirs or size_after**-0.5) / (ours or size_before**-0.5)
    call.plan.contractions.append((query[-1], factor))
    call.unify(query[-1], key[-1])
    call.unify(key[-2], value[-2])
    for q, k, v in zip(query[:-2], key[:-2], value[:-2], strict=True):
        if size(q) == size(k):
            call.unify(q, k)
        if size(q) == size(v):
            call.unify(q, v)
    return [*query[:-1], value[-1]]

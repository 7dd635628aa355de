"""Operators that change the shape or the order of dimensions, and not what is in them."""

import math

from timm_regnet_ds.weights.dims import Dim, Leaf, product, same, size
from timm_regnet_ds.weights.trace import Call, rule


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "view_copy", "reshape_as", "view_as")
def view(call: Call) -> list[Dim]:
    return call.unifier.view(call.inputs[0], call.sizes("self"), call.out_sizes())


@rule("permute", "permute_copy")
def permute(call: Call) -> list[Dim]:
    return [call.inputs[0][axis] for axis in call.grown["dims"]]


@rule("transpose", "swapaxes", "transpose_", "transpose_copy")
def transpose(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    a, b = call.grown["dim0"], call.grown["dim1"]
    found[a], found[b] = found[b], found[a]
    return found


@rule("t", "numpy_T", "t_copy")
def t(call: Call) -> list[Dim]:
    return list(reversed(call.inputs[0]))


@rule("expand", "expand_copy", "expand_as", "broadcast_to")
def expand(call: Call) -> list[Dim]:
    found: list[Dim] = [Leaf(*one) for one in call.out_sizes()]
    new = len(found) - len(call.inputs[0])
    for k, dim in enumerate(call.inputs[0]):
        if size(dim) == size(found[new + k]):
            found[new + k] = dim
    return found


@rule("unsqueeze", "unsqueeze_", "unsqueeze_copy")
def unsqueeze(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    found.insert(call.axis("dim", len(found) + 1), Leaf(1, 1))
    return found


@rule("squeeze", "squeeze_", "squeeze_copy")
def squeeze(call: Call) -> list[Dim]:
    rank = len(call.inputs[0])
    chosen = call.grown.get("dim")
    axes = range(rank) if chosen is None else [chosen] if isinstance(chosen, int) else chosen
    shape = call.grown_in[0].shape
    gone = {axis % max(rank, 1) for axis in axes if shape and shape[axis] == 1}
    return [dim for k, dim in enumerate(call.inputs[0]) if k not in gone]


@rule("repeat", "tile")
def repeat(call: Call) -> list[Dim]:
    times = list(zip(call.base["repeats"], call.grown["repeats"], strict=True))
    new = len(times) - len(call.inputs[0])
    old: list[Dim] = [Leaf(1, 1) for _ in range(new)]
    return [product([Leaf(*by), dim]) for by, dim in zip(times, [*old, *call.inputs[0]], strict=True)]


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> list[Dim]:
    dims, axis = list(call.inputs[0]), call.axis("dim", len(call.inputs[0]))
    times = call.base["repeats"], call.grown["repeats"]
    dims[axis] = product([dims[axis], Leaf(*times)])
    return dims


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> list[Dim]:
    x, by = call.inputs[0], call.grown["upscale_factor"]
    out = call.out_sizes()
    channels = call.unifier.view([x[1]], [size(x[1])], [out[1], (by, by), (by, by)])
    return [x[0], channels[0], Leaf(*out[2]), Leaf(*out[3])]


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> list[Dim]:
    x, by = call.inputs[0], call.grown["downscale_factor"]
    out = call.out_sizes()
    return [x[0], product([x[1], Leaf(by, by), Leaf(by, by)]), Leaf(*out[2]), Leaf(*out[3])]


@rule("im2col")
def im2col(call: Call) -> list[Dim]:
    kernel = math.prod(call.grown["kernel_size"])
    return [call.inputs[0][0], product([call.inputs[0][1], Leaf(kernel, kernel)]), Leaf(*call.out_sizes()[2])]


@rule("col2im")
def col2im(call: Call) -> list[Dim]:
    x, kernel, out = call.inputs[0], math.prod(call.grown["kernel_size"]), call.out_sizes()
    channels = call.unifier.view([x[1]], [size(x[1])], [out[1], (kernel, kernel)])
    return [x[0], channels[0], *(Leaf(*one) for one in out[2:])]


@rule("unfold")
def unfold(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    axis, out = call.axis("dimension", len(found)), call.out_sizes()
    if not same(found[axis]):
        call.unifier.conflict("unfold of", found[axis])
    return [*found[:axis], Leaf(*out[axis]), *found[axis + 1 :], Leaf(*out[-1])]

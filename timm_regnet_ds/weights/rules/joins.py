"""Operators that cut dimensions, join them, or pick from them."""

from typing import Any

from timm_regnet_ds.weights.dims import Dim, Leaf, concat, same, segments, size
from timm_regnet_ds.weights.record import Ref
from timm_regnet_ds.weights.trace import Call, rule


@rule("slice", "slice_copy")
def slice_(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    axis = call.axis("dim", len(found))
    out = call.out_sizes()[axis]
    if call.grown.get("step", 1) != 1:
        if not same(found[axis]):
            call.unifier.conflict("slice with steps of", found[axis])
        found[axis] = Leaf(*out)
        return found
    base = _bounds(call.base, call.sizes("self")[axis][0])
    grown = _bounds(call.grown, call.sizes("self")[axis][1])
    found[axis] = call.unifier.slice(found[axis], (base[0], grown[0]), (base[1], grown[1]))
    return found


def _bounds(args: dict[str, Any], length: int) -> tuple[int, int]:
    start, end, _ = slice(args.get("start"), args.get("end")).indices(length)
    return start, max(start, end)


@rule("narrow")
def narrow(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    axis = call.axis("dim", len(found))
    start = call.base["start"], call.grown["start"]
    end = start[0] + call.base["length"], start[1] + call.grown["length"]
    found[axis] = call.unifier.slice(found[axis], start, end)
    return found


@rule("select", "select_copy")
def select(call: Call) -> list[Dim]:
    axis = call.axis("dim", len(call.inputs[0]))
    if not same(call.inputs[0][axis]):
        call.unifier.conflict("select from", call.inputs[0][axis])
    return [dim for k, dim in enumerate(call.inputs[0]) if k != axis]


@rule(
    *("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"),
    *("split_copy", "split_with_sizes_copy", "tensor_split"),
)
def split(call: Call) -> list[Dim]:
    axis = call.axis("dim", len(call.inputs[0]))
    start = (0, 0)
    pieces = []
    for k in range(len(call.grown_out)):
        width = call.out_sizes(k)[axis]
        end = start[0] + width[0], start[1] + width[1]
        dims = list(call.inputs[0])
        dims[axis] = call.unifier.slice(dims[axis], start, end)
        pieces.append(dims)
        start = end
    for k, dims in enumerate(pieces):
        call.return_other(k, dims)
        if call.grown_in[0].id in call.tracer.origin:
            call.tracer.origin[call.grown_out[k].id] = call.tracer.origin[call.grown_in[0].id]
    return pieces[0]


@rule("unbind", "unbind_copy")
def unbind(call: Call) -> list[Dim]:
    axis = call.axis("dim", len(call.inputs[0]))
    if not same(call.inputs[0][axis]):
        call.unifier.conflict("unbind of", call.inputs[0][axis])
    dims = [dim for k, dim in enumerate(call.inputs[0]) if k != axis]
    for k, ref in enumerate(call.grown_out):
        call.return_other(k, list(dims))
        for known in (call.tracer.origin, call.tracer.writer):
            if call.grown_in[0].id in known:
                known[ref.id] = known[call.grown_in[0].id]
    return dims


@rule("cat", "concat")
def cat(call: Call) -> list[Dim]:
    rank = len(call.grown_out[0].shape)
    axis = call.axis("dim", rank)
    theirs = [ref for ref in call.grown["tensors"] if len(ref.shape) == rank]
    mine = [ref for ref in call.base["tensors"] if len(ref.shape) == rank]
    parts: list[list[Dim]] = []
    known = _known(call, theirs, len(mine))
    for ref in theirs:
        if ref.id in known:
            parts.append(call.tracer.pair(mine[known[ref.id]], ref))
        else:  # what an added block has made
            shape = [(n, n) if k != axis else (0, n) for k, n in enumerate(ref.shape)]
            parts.append([Leaf(*one) for one in shape])
    old = [part for ref, part in zip(theirs, parts, strict=True) if ref.id in known]
    for part in old[1:]:
        for k in range(rank):
            if k != axis:
                call.unify(old[0][k], part[k])
    found = list(old[0])
    found[axis] = call.unifier.join([part[axis] for part in parts])
    return found


def _known(call: Call, theirs: list[Ref], count: int) -> dict[int, int]:
    """The tensors that are joined in both models: number in the grown model to index in the base."""
    if len(theirs) == count:
        return {ref.id: k for k, ref in enumerate(theirs)}
    known = [ref for ref in theirs if ref.id in call.tracer.dims]
    if len(known) != count:
        raise ValueError(f"{count} tensors are joined, and {len(theirs)} in the grown model")
    return {ref.id: k for k, ref in enumerate(known)}


@rule("constant_pad_nd", "pad")
def pad(call: Call) -> list[Dim]:
    """New positions on both sides; those of channels that only the grown model has are new channels.

    Negative sizes cut positions off, as a slice does.
    """
    found = list(call.inputs[0])
    ours, theirs = call.base["pad"], call.grown["pad"]
    for k in range(len(theirs) // 2):
        before, after = (ours[2 * k], theirs[2 * k]), (ours[2 * k + 1], theirs[2 * k + 1])
        axis = len(found) - 1 - k
        if same(found[axis]) and before[0] == before[1] and after[0] == after[1]:
            found[axis] = Leaf(*call.out_sizes()[axis])
            continue
        length = call.sizes("self")[axis]
        start = _cut(before[0]), _cut(before[1])
        end = length[0] - _cut(after[0]), length[1] - _cut(after[1])
        if start != (0, 0) or end != length:
            found[axis] = call.unifier.slice(found[axis], start, end)
        before, after = (max(before[0], 0), max(before[1], 0)), (max(after[0], 0), max(after[1], 0))
        found[axis] = concat([Leaf(*before), *call.unifier.give_way(segments(found[axis]), after)])
    return found


def _cut(size: int) -> int:
    """How many positions a size of padding cuts off."""
    return max(-size, 0)


@rule("stack")
def stack(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    for dims in call.inputs[1:]:
        for a, b in zip(found, dims, strict=True):
            call.unify(a, b)
    count = len(call.base_in), len(call.grown_in)
    found.insert(call.axis("dim", len(found) + 1), Leaf(*count))
    return found


@rule("index", "_unsafe_index")
def index(call: Call) -> list[Dim]:
    picked = call.grown["indices"]
    axes = [k for k, ref in enumerate(picked) if ref is not None]
    x, out = call.dims("self"), call.out_sizes()
    for k in axes:
        if not same(x[k]):
            call.unifier.conflict("index of", x[k])
    if picked[axes[0]].is_bool:
        return [Leaf(*one) for one in out]
    rank = max(len(picked[k].shape) for k in axes)
    rest = [dim for k, dim in enumerate(x) if k not in axes]
    at = axes[0] if axes == list(range(axes[0], axes[-1] + 1)) else 0
    return [*rest[:at], *(Leaf(*one) for one in out[at : at + rank]), *rest[at:]]


@rule("index_select")
def index_select(call: Call) -> list[Dim]:
    found = list(call.inputs[0])
    axis = call.axis("dim", len(found))
    if not same(found[axis]):
        call.unifier.conflict("index of", found[axis])
    found[axis] = Leaf(*call.out_sizes()[axis])
    return found


@rule("gather")
def gather(call: Call) -> list[Dim]:
    return [dim if size(dim) == one else Leaf(*one) for dim, one in zip(call.inputs[0], call.out_sizes(), strict=True)]


@rule("embedding")
def embedding(call: Call) -> list[Dim]:
    return [*call.dims("indices"), call.dims("weight")[1]]

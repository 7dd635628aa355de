"""Normalization, reductions and softmax: operators that read a dimension as a whole."""

import math

from timm_regnet_ds.weights.dims import Dim, Leaf, product
from timm_regnet_ds.weights.trace import Call, elementwise, rule


@rule(
    "native_batch_norm",
    "batch_norm",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "_batch_norm_no_update",
    "_batch_norm_with_update",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
)
def batch_norm(call: Call) -> list[Dim]:
    x = call.dims("input")
    for argument in ("weight", "bias", "running_mean", "running_var"):
        if call.has(argument):
            call.unify(call.dims(argument)[0], x[1])
            call.set_kind(argument, "norm_state")
    if standardized := call.parameter("input"):
        call.plan.standardized.add(standardized)
        call.tracer.origin[call.grown_out[0].id] = standardized
        if gain := call.parameter("weight"):
            call.plan.standard_gains[standardized] = gain
        call.mark("norm", x[2])
    return list(x)


@rule("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call) -> list[Dim]:
    x = call.dims("input")
    normalized = x[-len(call.grown["normalized_shape"]) :]
    for argument, kind in (("weight", "norm_weight"), ("bias", "norm_bias")):
        if call.has(argument):
            for a, b in zip(call.dims(argument), normalized, strict=True):
                call.unify(a, b)
            call.set_kind(argument, kind)
    centred = "rms" not in call.name
    call.mark("norm" if centred else "mean", *normalized)
    growth = math.prod(dim.grown for dim in normalized) / math.prod(dim.base for dim in normalized)
    name = call.parameter("weight")
    if name is not None:
        call.plan.gains[name] = growth**-0.5
    else:
        call.set_gain(growth**0.5)
    return list(x)


@rule("native_group_norm", "group_norm")
def group_norm(call: Call) -> list[Dim]:
    x = call.dims("input")
    name = "group" if "group" in call.base else "num_groups"
    groups = call.base[name], call.grown[name]
    sizes = call.sizes("input")[1]
    call.unify(x[1], product([Leaf(*groups), Leaf(sizes[0] // groups[0], sizes[1] // groups[1])]))
    for argument, kind in (("weight", "norm_weight"), ("bias", "norm_bias")):
        if call.has(argument):
            call.unify(call.dims(argument)[0], x[1])
            call.set_kind(argument, kind)
    call.mark("group norm", x[1])
    return list(x)


@rule(
    *("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "logsumexp", "prod", "any"),
    *("all", "argmax", "nansum", "norm", "linalg_vector_norm", "linalg_norm", "cumsum"),
)
def reduction(call: Call) -> list[Dim]:
    x = call.inputs[0]
    if len(call.grown_in) == 2:  # the larger of two
        return elementwise(call)
    if call.name == "cumsum":
        call.mark("mean", x[call.axis("dim", len(x))])
        return list(x)
    chosen = call.grown.get("dim")
    axes = range(len(x)) if chosen in (None, []) else [chosen] if isinstance(chosen, int) else chosen
    reduced = {axis % max(len(x), 1) for axis in axes}
    keep = call.grown.get("keepdim", False)
    found: list[Dim] = []
    growth = 1.0
    for k, dim in enumerate(x):
        if k not in reduced:
            found.append(dim)
            continue
        call.mark("mean", dim)
        growth *= dim.grown / dim.base
        if keep:
            found.append(Leaf(1, 1))
    call.scale_by(0, 1.0)
    if call.name == "mean":
        call.set_gain(call.tracer.gain.get(call.grown_in[0].id, 1.0) / growth)
    for k in range(1, len(call.grown_out)):
        call.return_other(k, list(found))
    return found


@rule("_softmax", "_log_softmax", "softmax", "_safe_softmax", "log_softmax")
def softmax(call: Call) -> list[Dim]:
    x = call.inputs[0]
    call.mark("mean", x[call.axis("dim", len(x))])
    summed = call.tracer.contracted.get(call.grown_in[0].id)
    if summed is not None:
        call.plan.contractions.append((summed, call.factor(0)))
    return list(x)

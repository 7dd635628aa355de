"""Elementwise operators that tell which parameter scales or shifts what."""

from timm_regnet_ds.weights.dims import Dim, Leaf, size
from timm_regnet_ds.weights.trace import Call, elementwise, rule


@rule("mul", "mul_", "div", "div_")
def mul(call: Call) -> list[Dim]:
    dims = elementwise(call)
    tracer = call.tracer
    numbers = [ref.id for ref in call.grown_in]
    out = call.grown_out[0].id
    inverse = -1.0 if call.name.startswith("div") else 1.0
    gain = tracer.gain.get(numbers[0], 1.0)
    if len(numbers) == 2:
        gain *= tracer.gain.get(numbers[1], 1.0) ** inverse
        for scaled, scale in (numbers, numbers[::-1]):
            name = tracer.origin.get(scale)
            if name is None or scaled in tracer.origin:
                continue
            call.plan.kinds.setdefault(name, "scale")
            if scaled in tracer.writer:
                call.plan.multipliers.setdefault(tracer.writer[scaled], []).append(name)
                tracer.writer[out] = tracer.writer[scaled]
            if gain != 1.0:
                call.plan.gains[name] = 1 / gain
                gain = 1.0
    if numbers[0] in tracer.origin and (len(numbers) == 1 or numbers[1] not in tracer.writer):
        tracer.origin.setdefault(out, tracer.origin[numbers[0]])
    call.set_gain(gain)
    call.set_factor(_factor(call, inverse))
    return dims


def _factor(call: Call, inverse: float) -> float:
    """By how much the product differs from the base's because of constants."""
    factor = call.factor(0)
    if len(call.grown_in) == 2:
        return float(factor * call.factor(1) ** inverse)
    ours, theirs = call.base.get("other"), call.grown.get("other")
    if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) and ours and theirs:
        factor *= (theirs / ours) ** inverse
    return float(factor)


@rule("add", "add_", "sub", "sub_", "rsub")
def add(call: Call) -> list[Dim]:
    dims = elementwise(call)
    tracer = call.tracer
    for ref in call.grown_in:
        name = tracer.origin.get(ref.id)
        if name is not None:
            call.plan.kinds.setdefault(name, "shift")
    factors = [call.factor(k) for k in range(len(call.grown_in))]
    if len(set(factors)) == 1:
        call.set_factor(factors[0])
    elif not call.has("other") or call.grown["other"].id not in tracer.origin:
        call.unifier.conflict(f"tensors are added that constants of the class make {factors} times the base's")
    if len(call.grown_in) == 1:  # a constant is added
        call.scale_by(0, 1.0)
        if call.grown_in[0].id in tracer.origin:
            tracer.origin.setdefault(call.grown_out[0].id, tracer.origin[call.grown_in[0].id])
    return dims


@rule("addcmul", "addcmul_")
def addcmul(call: Call) -> list[Dim]:
    """``self + tensor1 * tensor2``, where a parameter may be a factor."""
    dims = elementwise(call)
    tracer = call.tracer
    for scale, scaled in (("tensor1", "tensor2"), ("tensor2", "tensor1")):
        name = call.set_kind(scale, "scale")
        gain = tracer.gain.get(call.grown[scaled].id, 1.0)
        if name is not None and gain != 1.0:
            call.plan.gains[name] = 1 / gain
    call.set_kind("self", "shift")
    return dims


@rule("sqrt", "rsqrt", "reciprocal", "pow", "square")
def power(call: Call) -> list[Dim] | None:
    exponents = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0, "square": 2.0}
    exponent = exponents.get(call.name, call.grown.get("exponent"))
    if isinstance(exponent, (int, float)):
        call.scale_by(0, float(exponent))
    return elementwise(call)


@rule("copy_")
def copy_(call: Call) -> list[Dim]:
    """Writes into a tensor, whose dimensions may be those of what is written."""
    target, source = call.dims("self"), call.dims("src")
    for a, b in zip(reversed(target), reversed(source), strict=False):
        if size(a) == size(b):
            call.unify(a, b)
    return list(target)


@rule(
    *("new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like", "full_like"),
    *("rand_like", "randn_like", "zeros", "ones", "full", "empty", "arange", "scalar_tensor", "linspace"),
    *("new_empty_strided", "empty_strided", "eye"),
)
def constant(call: Call) -> list[Dim] | None:
    """A new tensor, whose dimensions what uses it will tell."""
    return [Leaf(*one) for one in call.out_sizes()]

"""Which channel of the grown model corresponds to which of the base: both run, and their operators are compared."""

from collections.abc import Callable, Iterator, Sequence

from .dims import Dim, Leaf, concat, leaves, same, size
from .plan import Plan
from .record import Op, Recording, Ref, refs
from .unify import Unifier

__all__ = ["RULES", "Call", "rule", "trace"]

Dims = list[Dim]

# What an operator does to dimensions: (call) -> the dimensions of its first output, or None where nothing is known.
RULES: dict[str, Callable[["Call"], Dims | None]] = {}


def rule(*names: str) -> Callable[[Callable[["Call"], Dims | None]], Callable[["Call"], Dims | None]]:
    """Register a rule for operators."""

    def add(function: Callable[["Call"], Dims | None]) -> Callable[["Call"], Dims | None]:
        RULES.update(dict.fromkeys(names, function))
        return function

    return add


class Tracer:
    """The state of a trace."""

    def __init__(self, plan: Plan, base: Recording, grown: Recording, deeper: bool) -> None:
        self.plan = plan
        self.unifier = Unifier(prefix=deeper)
        self.dims: dict[int, Dims] = {}  # by the number of a tensor of the grown model
        self.base_dims: dict[int, Dims] = {}  # the same dimensions, by the number of a tensor of the base
        self.origin: dict[int, str] = {}  # the parameter that a tensor is, or is a view of
        self.writer: dict[int, str] = {}  # the weight that made a tensor
        self.gain: dict[int, float] = {}  # by how much a tensor differs from the base's if new channels are zero
        self.factor: dict[int, float] = {}  # by how much constants of the class make a tensor differ from the base's
        self.contracted: dict[int, Dim] = {}  # the dimension that a product of queries and keys has summed over
        self.marked: list[tuple[str, Dim]] = []
        for name, ref in grown.parameters.items():
            mine = base.parameters.get(plan.names.get(name, ""))
            if mine is None or len(mine.shape) != len(ref.shape):
                continue
            if ref.id not in self.dims:
                self.set(mine, ref, None)
                self.origin[ref.id] = name
            plan.dims[name] = self.dims[ref.id]

    def pair(self, base: Ref, grown: Ref) -> Dims:
        """The dimensions of a tensor that an operator reads."""
        known = self.dims.get(grown.id)
        if known is None or list(map(size, known)) != list(zip(base.shape, grown.shape, strict=False)):
            # What an added module returned has the dimensions of what the base has there, perhaps with more channels.
            known = self.base_dims.get(base.id)
            if known is not None and len(known) == len(grown.shape):
                known = [_widen(dim, length) for dim, length in zip(known, grown.shape, strict=True)]
        self.set(base, grown, known)
        return self.dims[grown.id]

    def set(self, base: Ref, grown: Ref, dims: Dims | None) -> None:
        sizes = list(zip(base.shape, grown.shape, strict=False))
        if dims is None or list(map(size, dims)) != sizes:
            if dims is not None and grown.shape:
                self.unifier.conflict(f"{sizes} are not", *dims)
            dims = [Leaf(*one) for one in sizes]
        self.dims[grown.id] = self.base_dims[base.id] = dims


def _widen(dim: Dim, length: int) -> Dim:
    """A dimension with new channels after the others."""
    return concat([dim, Leaf(0, length - dim.grown)]) if length > dim.grown else dim


class Call:
    """One operator of both models.

    Attributes:
        name: the operator.
        base, grown: the arguments in either model, by name.
        plan, unifier: those of the trace.
    """

    def __init__(self, tracer: Tracer, base: Op, grown: Op) -> None:
        self.tracer = tracer
        self.name = grown.name
        self.base = base.args
        self.grown = grown.args
        self.base_out = refs(base.out if isinstance(base.out, list) else [base.out])
        self.grown_out = refs(grown.out if isinstance(grown.out, list) else [grown.out])
        self.base_in = refs(base.args)
        self.grown_in = refs(grown.args)
        self.inputs: list[Dims] = []
        if len(self.base_in) == len(self.grown_in):
            self.inputs = [tracer.pair(b, g) for b, g in zip(self.base_in, self.grown_in, strict=True)]
        self.others: dict[int, Dims] = {}

    @property
    def plan(self) -> Plan:
        return self.tracer.plan

    @property
    def unifier(self) -> Unifier:
        return self.tracer.unifier

    def unify(self, a: Dim, b: Dim) -> None:
        self.unifier.unify(a, b)

    def dims(self, argument: str) -> Dims:
        """The dimensions of a tensor argument."""
        return self.tracer.dims[self.grown[argument].id]

    def has(self, argument: str) -> bool:
        """Whether an argument is a tensor in both models."""
        return isinstance(self.grown.get(argument), Ref) and isinstance(self.base.get(argument), Ref)

    def sizes(self, argument: str) -> list[tuple[int, int]]:
        """(base, grown) sizes of a tensor argument."""
        return list(zip(self.base[argument].shape, self.grown[argument].shape, strict=False))

    def out_sizes(self, index: int = 0) -> list[tuple[int, int]]:
        """(base, grown) sizes of an output."""
        return list(zip(self.base_out[index].shape, self.grown_out[index].shape, strict=False))

    def axis(self, argument: str, rank: int) -> int:
        return int(self.grown[argument]) % max(rank, 1)

    def return_other(self, index: int, dims: Dims) -> None:
        """The dimensions of an output after the first."""
        self.others[index] = dims

    def parameter(self, argument: str) -> str | None:
        """The name of the parameter that an argument is, or is a view of."""
        value = self.grown.get(argument)
        return self.tracer.origin.get(value.id) if isinstance(value, Ref) else None

    def set_kind(self, argument: str, kind: str) -> str | None:
        name = self.parameter(argument)
        if name is not None:
            self.plan.kinds.setdefault(name, kind)
        return name

    def read(self, argument: str, dim: Dim, kind: str = "dense", factor: float = 1.0) -> str | None:
        """Note that a weight sums over a dimension of a tensor that differs by a factor; None for an activation."""
        name = self.parameter(argument)
        if name is not None:
            if factor != 1.0:
                self.plan.factors[self.plan.standard_gains.get(name, name)] = 1 / factor
            self.plan.reads.setdefault(name, []).append(dim)
            self.plan.kinds[name] = kind
            self.tracer.writer[self.grown_out[0].id] = name
        return name

    def add_bias(self, argument: str, dim: Dim, weight: str | None) -> None:
        """Note a bias, whose dimension is that of the output."""
        if not self.has(argument):
            return
        self.unify(self.dims(argument)[-1], dim)
        name = self.set_kind(argument, "bias")
        if name is not None and weight is not None:
            self.plan.bias_of[name] = weight

    def mark(self, what: str, *dims: Dim) -> None:
        """Note that the operator reads dimensions as a whole."""
        self.tracer.marked += [(what, dim) for dim in dims]

    def scale_by(self, argument: int, power: float) -> None:
        """The output has the gain of an input, to a power."""
        gain = self.tracer.gain.get(self.grown_in[argument].id, 1.0) ** power
        self.set_gain(gain)

    def factor(self, argument: int = 0) -> float:
        """By how much constants of the class make an input differ from the base's."""
        return self.tracer.factor.get(self.grown_in[argument].id, 1.0)

    def set_factor(self, factor: float) -> None:
        """The output differs by a factor."""
        if abs(factor - 1.0) > 1e-9:
            self.tracer.factor[self.grown_out[0].id] = factor

    def set_gain(self, gain: float) -> None:
        if gain != 1.0:
            self.tracer.gain[self.grown_out[0].id] = gain


def trace(plan: Plan, base: Recording, grown: Recording, deeper: bool = False) -> Plan:
    """Complete a plan that has names alone, from a forward of both models on the same images.

    Args:
        plan: the plan.
        base, grown: the forwards.
        deeper: whether depth alone grows.
    """
    tracer = Tracer(plan, base, grown, deeper)
    for ours, theirs in _matched(base.ops, grown.ops, plan):
        _step(tracer, ours, theirs)
    tracer.unifier.finish()
    for dim, factor in plan.contractions:
        plan.scale(dim, factor)
    for what, dim in tracer.marked:
        for leaf in leaves(dim):
            if leaf.base != leaf.grown:
                leaf.marks.add(what)
    returned = refs([grown.out])
    plan.outputs = [tracer.dims.get(ref.id) for ref in returned]
    for name, (inputs, outputs) in grown.added.items():
        plan.added[name] = [tracer.dims.get(ref.id) for ref in inputs], [tracer.dims.get(ref.id) for ref in outputs]
    factors = {tracer.factor[ref.id] for ref in returned if ref.id in tracer.factor}
    plan.conflicts = tracer.unifier.conflicts + [
        f"constants of the class make outputs {factor:.3g} times the base's" for factor in factors
    ]
    return plan


def _matched(base: Sequence[Op], grown: Sequence[Op], plan: Plan) -> Iterator[tuple[Op, Op]]:
    """Operators that correspond. Those that only one model calls, as a loop over its blocks does, are left out."""
    where = plan.modules
    i = 0
    for n, op in enumerate(grown):
        if i == len(base):
            plan.aligned = False
            return
        if _match(base[i], op, where):
            yield base[i], op
            i += 1
            continue
        plan.aligned = False
        # An operator of the base that the grown model does not call.
        ahead = next((k for k in range(i + 1, min(i + 9, len(base))) if _match(base[k], op, where)), None)
        later = any(_match(base[i], other, where) for other in grown[n + 1 : n + 200])
        if not later and ahead is not None:
            i = ahead
            yield base[i], op
            i += 1
    if i < len(base):
        plan.aligned = False


def _match(base: Op, grown: Op, where: dict[str, str]) -> bool:
    return base.name == grown.name and where.get(grown.module, grown.module) == base.module


def _step(tracer: Tracer, base: Op, grown: Op) -> None:
    call = Call(tracer, base, grown)
    function = RULES.get(call.name, _default)
    dims: Dims | None = None
    if len(call.base_in) != len(call.grown_in) and call.name not in ("cat", "stack", "concat"):
        tracer.unifier.conflict(f"{call.name} takes {len(call.base_in)} and {len(call.grown_in)} tensors")
    elif call.grown_in:
        try:
            dims = function(call)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
            tracer.unifier.conflict(f"{call.name}: {type(error).__name__}: {error}")
    for k, (ours, theirs) in enumerate(zip(call.base_out, call.grown_out, strict=False)):
        tracer.set(ours, theirs, call.others.get(k) if k else dims)
    _follow(tracer, call)


# Operators whose result is made by the same parameter as their first argument.
_PASSED_ON = {
    *("t", "permute", "transpose", "clone", "_to_copy", "unsqueeze", "squeeze", "view", "_unsafe_view", "expand"),
    *("reshape", "select", "slice", "roll", "constant_pad_nd", "index", "flip", "contiguous", "repeat"),
}
# Operators that multiply their result by what their argument is multiplied by.
_HOMOGENEOUS = _PASSED_ON | {"abs", "relu", "relu_", "neg", "linalg_vector_norm", "norm", "sum", "max", "amax"}
_HOMOGENEOUS |= {
    "avg_pool2d",
    "_adaptive_avg_pool2d",
    "max_pool2d_with_indices",
    "mean",
    "clamp_min",
    "constant_pad_nd",
}


# Operators between the product of queries and keys and its softmax.
_LOGITS = _PASSED_ON | {"mul", "mul_", "div", "div_", "add", "add_", "masked_fill", "masked_fill_", "sub"}


def _follow(tracer: Tracer, call: Call) -> None:
    """Which parameter made a tensor, and by how much it differs while new channels are zero."""
    if not call.grown_in or len(call.grown_out) != 1:
        return
    first, out = call.grown_in[0].id, call.grown_out[0].id
    if call.name in _PASSED_ON:
        for known in (tracer.origin, tracer.writer):
            if first in known:
                known[out] = known[first]
    if call.name in _HOMOGENEOUS:
        for numbers in (tracer.gain, tracer.factor):
            if first in numbers:
                numbers.setdefault(out, numbers[first])
    if call.name in _LOGITS and first in tracer.contracted:
        tracer.contracted.setdefault(out, tracer.contracted[first])


def _default(call: Call) -> Dims | None:
    """Elementwise operators; and those that keep the rank, such as pooling, padding and resizing."""
    base, grown = call.base_out, call.grown_out
    if len(grown) == 1 and _broadcasts([ref.shape for ref in call.grown_in], grown[0].shape):
        return elementwise(call)
    ranks = {len(ref.shape) for ref in grown}
    if ranks == {len(call.grown_in[0].shape)} and grown:
        for k in range(len(grown)):
            before, after = call.inputs[0], call.out_sizes(k)
            dims = [dim if size(dim) == one else Leaf(*one) for dim, one in zip(before, after, strict=True)]
            changed = [
                d for d, one in zip(before, after, strict=True) if size(d) != one and (not same(d) or one[0] != one[1])
            ]
            if changed:
                call.unifier.conflict(f"{call.name} changes", *changed)
            if k == 0:
                first = dims
            else:
                call.return_other(k, dims)
        return first
    if any(a.shape != b.shape for a, b in zip(base, grown, strict=False)):
        call.unifier.conflict(f"no rule for {call.name}")
    return None


def _broadcasts(shapes: Sequence[tuple[int, ...]], to: tuple[int, ...]) -> bool:
    rank = len(to)
    if any(len(shape) > rank for shape in shapes):
        return False
    for k in range(rank):
        sizes = {shape[k - rank] for shape in shapes if rank - k <= len(shape)}
        if not sizes <= {1, to[k]} or (to[k] not in sizes):
            return False
    return True


def elementwise(call: Call, inputs: Sequence[Dims] | None = None) -> Dims:
    """Unify the dimensions of tensors that are broadcast to each other."""
    inputs = call.inputs if inputs is None else inputs
    sizes = call.out_sizes()
    found: Dims = []
    for k, one in enumerate(sizes):
        here = [dims[k - len(sizes)] for dims in inputs if len(sizes) - k <= len(dims)]
        here = [dim for dim in here if size(dim) == one]
        for other in here[1:]:
            call.unify(here[0], other)
        found.append(here[0] if here else Leaf(*one))
    return found

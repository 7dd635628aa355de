"""Flops, parameters and activations of any module, counted at torch's dispatcher without allocating weights.

*Fast and Accurate Model Scaling*, §3: a k×k convolution of width w at resolution r has f = w²r²k², p = k²w²,
a = wr² (Eq. 1), a stage of d of them d times as much (Eq. 2); with groups of width g, and k = 1, it has f = wgr²,
p = wg, a = wr² (Eq. 3). Linear layers and matrix products are counted alike:

| word   | for one image                                                                                       |
|--------|-----------------------------------------------------------------------------------------------------|
| flops  | multiply-adds of convolutions, linear layers and matrix products, attention included; not of biases |
| params | elements of all parameters, a shared one once                                                       |
| acts   | elements of the outputs of those same operations                                                    |

>>> c = measure("regnety_002")
>>> c.flops, c.params, c.acts
(199514080, 3162996, 2168052)
>>> c.by_operator()["conv"].flops, c.by_module(depth=1)["s4"].params
(199146080, 2511454)
"""

import copy
import difflib
import functools
import operator
import textwrap
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import BuiltinFunctionType, FunctionType
from typing import Any, Literal, NamedTuple, overload

import torch
from timm.models import create_model, is_model, list_models
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

try:
    from timm.models import get_model_input_config
except ImportError:  # an older timm, which keeps no record of an input that differs from the pretrained one

    def get_model_input_config(model: nn.Module) -> dict[str, Any]:
        return getattr(model, "pretrained_cfg", {})


__all__ = ["Breakdown", "Complexity", "Counts", "Part", "ThopAnswer", "measure"]

InputSize = tuple[int, int, int]
Formula = Callable[[Any, Any], tuple[int, int]]  # (arguments, output) of an operator -> flops, acts


# ------------------------------------------------------------------------------------------------------- operators
# A module runs in inference mode: there the dispatcher shows `linear` or `scaled_dot_product_attention` whole, before
# a backend is chosen. Any other composite operator is taken apart.


def _conv(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, …) with weight (out, in / groups, *kernel)."""
    return out.numel() * args[1].shape[1:].numel(), out.numel()


def _conv_transpose(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, …) with weight (in, out / groups, *kernel); every element of the input meets whole kernels."""
    return args[0].numel() * args[1].shape[1:].numel(), out.numel()


def _convolution(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, bias, stride, padding, dilation, transposed, …)."""
    return (_conv_transpose if args[6] else _conv)(args, out)


def _product(args: Any, out: Tensor) -> tuple[int, int]:
    """(a, b, …); every element of the output is an inner product along the last dimension of a."""
    return out.numel() * args[0].shape[-1], out.numel()


def _product_added(args: Any, out: Tensor) -> tuple[int, int]:
    """(bias, a, b, …)."""
    return _product(args[1:], out)


def _attention(args: Any, out: Any) -> tuple[int, int]:
    """(query, key, value, …): QKᵀ and softmax(·)V as if written out. A fused kernel returns more than its output."""
    query, _, value = args[:3]
    out = out if isinstance(out, Tensor) else out[0]
    keys, width = value.shape[-2:]
    rows = out.numel() // width
    return rows * keys * (query.shape[-1] + width), rows * (keys + width)


_TABLE: tuple[tuple[str, Formula, str], ...] = (
    ("conv", _conv, "conv1d conv2d conv3d"),
    ("conv", _conv_transpose, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    ("conv", _convolution, "convolution _convolution convolution_overrideable"),
    ("linear", _product, "linear"),
    ("matmul", _product, "matmul mm bmm mv dot vdot"),
    ("matmul", _product_added, "addmm baddbmm addmv"),
    ("attention", _attention, "scaled_dot_product_attention _scaled_dot_product_attention_math"),
    ("attention", _attention, "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu"),
    ("attention", _attention, "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"),
    ("attention", _attention, "_scaled_dot_product_fused_attention_overrideable"),
)
FORMULAS = {name: (kind, formula) for kind, formula, names in _TABLE for name in names.split()}
KINDS = ("conv", "linear", "matmul", "attention", "other")

# Operators that do multiply-adds and have no formula; patterns, so that those of a later torch are named as well.
UNCOUNTED = (
    *("*conv[123]d*", "*convolution*", "conv_*", "*mm", "*mm_*", "*mv", "*matmul*", "*_linear*", "_trilinear"),
    *("addr*", "*attention*", "*encoder_layer*", "*rnn*", "_fft_*", "*linalg_*", "*cholesky*", "*solve"),
    *("geqrf", "ormqr", "*grid_sampler*", "_[cp]dist_forward"),
)
NOT_MULTIPLY_ADDS = {"linalg_vector_norm", "linalg_cross", "_linalg_check_errors"}
OWN_NAMESPACES = {"aten", "prim", "prims", "profiler"}  # nobody here knows what the operators of others do


# Outputs of operators on `meta` that torch takes ten to a hundred times as long to give; None leaves them to torch.


def _like(x: Tensor, *_: Any, **__: Any) -> Tensor | None:
    strides = x.stride()  # 0 where x is expanded, which an output is not
    return None if 0 in strides else torch.empty_strided(x.shape, strides, dtype=x.dtype, device="meta")


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> Tensor | None:
    return x.new_empty(x.shape) if list(x.shape[-len(shape) :]) == list(shape) else None


def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, *_: Any) -> Tensor | None:
    fits = x.dim() > 1 and all(t is None or t.numel() == x.shape[1] for t in (weight, mean))
    return _like(x) if fits else None


def _broadcast(x: Tensor, other: Any, **_: Any) -> Tensor | None:
    fits = x.is_floating_point()
    if isinstance(other, Tensor):
        pairs = zip(reversed(x.shape), reversed(other.shape), strict=False)
        fits &= other.dtype is x.dtype and other.dim() <= x.dim() and all(m in (1, n) for n, m in pairs)
    return _like(x) if fits else None


def _linear(x: Tensor, weight: Tensor, *_: Any) -> Tensor | None:
    fits = weight.dim() == 2 and weight.shape[1] == x.shape[-1] and weight.dtype is x.dtype
    return x.new_empty(*x.shape[:-1], weight.shape[0]) if fits else None


def _attended(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor | None:
    fits = q.shape[:-2] == k.shape[:-2] and k.shape[:-1] == v.shape[:-1] and q.shape[-1] == k.shape[-1]
    return q.new_empty(*q.shape[:-1], v.shape[-1]) if fits else None


OUTPUTS: dict[str, Callable[..., Tensor | None]] = {
    **dict.fromkeys(("relu", "gelu", "silu", "sigmoid", "hardswish", "hardsigmoid", "hardtanh", "dropout"), _like),
    **dict.fromkeys(("add", "sub", "mul", "div"), _broadcast),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "batch_norm": _batch_norm,
    "linear": _linear,
    "scaled_dot_product_attention": _attended,
}


class _Known(NamedTuple):
    """What the tables say about an operator."""

    counted: tuple[str, Formula] | None
    output: Callable[..., Tensor | None] | None
    composite: bool
    uncounted: bool


@functools.cache
def _known(func: Any) -> _Known:
    namespace, _, name = func._schema.name.partition("::")
    own = namespace in OWN_NAMESPACES
    counted = FORMULAS.get(name.removesuffix("_")) if own else None
    output = OUTPUTS.get(name) if own and "out" not in func._overloadname else None
    composite = not counted and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    multiplies = name not in NOT_MULTIPLY_ADDS and any(fnmatchcase(name, pattern) for pattern in UNCOUNTED)
    return _Known(counted, output, composite, not counted and not composite and (multiplies or not own))


# --------------------------------------------------------------------------------------------------------- results


def _short(number: int, unit: str = "") -> str:
    for scale, prefix in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= scale:
            return f"{number / scale:.4g} {prefix}{unit}"
    return f"{number} {unit}".rstrip()


def _times(size: InputSize) -> str:
    return "×".join(map(str, size))


@dataclass(frozen=True)
class Counts:
    """Exact integers for one image: ``flops`` in multiply-adds, ``params`` and ``acts`` in elements."""

    flops: int
    params: int
    acts: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.flops + other.flops, self.params + other.params, self.acts + other.acts)

    def __str__(self) -> str:
        return f"{_short(self.flops, 'F')}, {_short(self.params)} params, {_short(self.acts)} acts"


NOTHING = Counts(0, 0, 0)


class Breakdown(dict[str, Counts]):
    """Counts by name; printed, a table at most 80 columns wide."""

    def __str__(self) -> str:
        lines = [f"{'':<41}{'flops':>13}{'params':>13}{'acts':>13}"]
        for name, row in self.items():
            label = name if len(name) <= 40 else f"…{name[-39:]}"
            lines.append(f"{label or '(all)':<41}{_short(row.flops):>13}{_short(row.params):>13}{_short(row.acts):>13}")
        return "\n".join(lines)


class Part(NamedTuple):
    """What the operators of one kind did in one module, its children apart."""

    module: str
    kind: str
    counts: Counts


@dataclass(frozen=True)
class Complexity(Counts):
    """Flops, params and acts of a model for one image, as the head of this file defines them.

    Attributes:
        input_size: (channels, height, width) of the image.
        uncounted: operators that do, or may do, multiply-adds and have no formula here (custom operators, FFTs,
            matrix decompositions …), with the number of calls. ``flops`` and ``acts`` are without them.
        parts: what ``by_module`` and ``by_operator`` add up.
    """

    input_size: InputSize
    uncounted: Mapping[str, int] = field(default_factory=dict, hash=False)
    parts: tuple[Part, ...] = field(default=(), repr=False, compare=False)

    def by_module(self, depth: int | None = None) -> Breakdown:
        """Counts by dotted path, each with its children's; ``""``, the whole, comes first.

        A module used in several places counts where it is called, its parameters where they are first registered.

        Args:
            depth: leave out paths of more than this many names.
        """
        rows = Breakdown({"": NOTHING})
        for path, _, counts in self.parts:
            names = path.split(".") if path else []
            for end in range(len(names[:depth]) + 1):
                name = ".".join(names[:end])
                rows[name] = rows.get(name, NOTHING) + counts
        return rows

    def by_operator(self) -> Breakdown:
        """Counts by kind of operator: ``conv``, ``linear``, ``matmul``, ``attention`` and ``other``.

        Attention is ``attention`` where the model calls ``scaled_dot_product_attention``; written out, it is two of
        ``matmul``. Params go with the operators that take them as they are; those of norms, embeddings and scales,
        and those that weights are computed from, are ``other``.
        """
        rows = Breakdown()
        for _, kind, counts in sorted(self.parts, key=lambda part: KINDS.index(part.kind)):
            rows[kind] = rows.get(kind, NOTHING) + counts
        return rows

    def __str__(self) -> str:
        text = f"{super().__str__()} at {_times(self.input_size)}"
        if self.uncounted:
            calls = ", ".join(f"{name} ({n}×)" for name, n in self.uncounted.items())
            text += "\n" + textwrap.fill(f"not counted: {calls}", 80, subsequent_indent="  ", break_on_hyphens=False)
        return text

    def to_dict(self) -> dict[str, Any]:
        """The totals as plain values, for json."""
        fields = {"flops": self.flops, "params": self.params, "acts": self.acts}
        return fields | {"input_size": list(self.input_size), "uncounted": dict(self.uncounted)}


@dataclass(frozen=True)
class ThopAnswer:
    """What ``thop.profile`` says. Its flops have extras for norms and pooling; it does not know acts."""

    flops: int
    params: int
    input_size: InputSize


# -------------------------------------------------------------------------------------------------------- counting


class _Tally(TorchDispatchMode):
    """Adds up what passes the dispatcher, under the path of the module whose ``forward`` is running."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.path = ""
        self.paths: dict[nn.Module, list[str]] = {}
        for path, child in module.named_modules(remove_duplicate=False):
            self.paths.setdefault(child, []).append(path)
        # By storage, so that a view (a transpose, a third of an in-projection) is known as its parameter.
        self.params: dict[int, tuple[str, int]] = {}
        for child, (path, *_) in self.paths.items():
            for p in filter(torch.is_tensor, child._parameters.values()):
                self.params.setdefault(p.untyped_storage()._cdata, (path, p.numel()))
        self.counts: dict[str, dict[str, list[int]]] = {path: {} for path, _ in self.params.values()}
        self.uncounted: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counted, output, composite, uncounted = _known(func)
        kwargs = kwargs or {}
        out = output(*args, **kwargs) if output and args[0].is_meta else None
        if out is None and composite:
            with self:
                return func.decompose(*args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        if counted:
            self.count(*counted, args, out)
        elif uncounted:
            self.uncounted[func._schema.name] = self.uncounted.get(func._schema.name, 0) + 1
        return out

    def count(self, kind: str, formula: Formula, args: Any, out: Any) -> None:
        flops, acts = formula(args, out)
        if kind == "conv" and not acts:  # older versions of torch refuse this on every device but `meta`
            raise ValueError(f"the output of a convolution is empty: {tuple(out.shape)}")
        self.add(self.path, kind, flops, 0, acts)
        for arg in args[:3]:
            if isinstance(arg, Tensor) and (owned := self.params.pop(arg.untyped_storage()._cdata, None)):
                self.add(owned[0], kind, 0, owned[1], 0)

    def add(self, path: str, kind: str, flops: int, params: int, acts: int) -> None:
        counts = self.counts.setdefault(path, {}).setdefault(kind, [0, 0, 0])
        counts[0] += flops
        counts[1] += params
        counts[2] += acts

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For its length, every ``forward`` of the module, which is a throw-away copy, tells its path."""
        for child, paths in self.paths.items():
            vars(child)["forward"] = self.telling(child.forward, paths)
        try:
            with torch.inference_mode(), self:
                yield
        finally:  # a module that holds its own bound method keeps its weights until a garbage collection
            for child in self.paths:
                del vars(child)["forward"]

    def telling(self, forward: Callable[..., Any], paths: list[str]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            outer, self.path = self.path, paths[0]
            if len(paths) > 1:
                self.path = next((path for path in paths if path.startswith(f"{outer}.")), paths[0])
            try:
                return forward(*args, **kwargs)
            finally:
                self.path = outer

        return told

    def complexity(self, input_size: InputSize) -> Complexity:
        for path, numel in self.params.values():  # of those that no counted operator has taken
            self.add(path, "other", 0, numel, 0)
        parts = [Part(path, kind, Counts(*c)) for path, kinds in self.counts.items() for kind, c in kinds.items()]
        total = sum((part.counts for part in parts), NOTHING)
        return Complexity(total.flops, total.params, total.acts, input_size, self.uncounted, tuple(parts))


def _by_dispatcher(module: nn.Module, size: InputSize, image: Tensor) -> Complexity:
    tally = _Tally(module)
    with tally.listening():
        module(image)
    return tally.complexity(size)


def _by_thop(module: nn.Module, size: InputSize, image: Tensor) -> ThopAnswer:
    import thop

    flops, params = thop.profile(module, (image,), verbose=False)
    return ThopAnswer(int(flops), int(params), size)


_COUNTERS: dict[str, Callable[[nn.Module, InputSize, Tensor], Any]] = {"dispatcher": _by_dispatcher, "thop": _by_thop}


# ----------------------------------------------------------------------------------------------------------- copies

_AS_IS = {int, float, str, bool, type(None), type, torch.dtype, torch.device, FunctionType, BuiltinFunctionType}
_HOOKS = frozenset(name for name in vars(nn.Module()) if "hooks" in name)


class _Copier:
    """Copies a module without its hooks, with ``tensor(t)`` for every tensor t. ``copy.deepcopy`` is much slower."""

    def __init__(self, tensor: Callable[[Tensor], Tensor]) -> None:
        self.tensor = tensor
        self.memo: dict[int, Any] = {}

    def module(self, root: nn.Module) -> nn.Module:
        root = getattr(root, "_orig_mod", root)  # what torch.compile has wrapped
        new = [m for m in root.modules() if id(m) not in self.memo and "_orig_mod" not in m._modules]
        self.memo.update((id(m), object.__new__(type(m))) for m in new)
        for m in new:
            state = {k: type(v)() if k in _HOOKS else self.value(v) for k, v in vars(m).items()}
            state.pop("_compiled_call_impl", None)
            vars(self.memo[id(m)]).update(state)
        return self.memo[id(root)]

    def value(self, value: Any) -> Any:
        if type(value) in _AS_IS:
            return value
        if id(value) not in self.memo:
            self.memo[id(value)] = self.unseen(value)
        return self.memo[id(value)]

    def unseen(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            new = self.tensor(value)
            return nn.Parameter(new, value.requires_grad) if isinstance(value, nn.Parameter) else new
        if isinstance(value, nn.Module):
            return self.module(value)
        if type(value) in (dict, OrderedDict):
            return type(value)((k, self.value(v)) for k, v in value.items())
        if type(value) in (list, tuple, set):
            return type(value)(map(self.value, value))
        return copy.deepcopy(value, self.memo)


def _without_values(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _with_values(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


# ---------------------------------------------------------------------------------------------------------- measure


@overload
def measure(
    model: str | nn.Module,
    input_size: int | Sequence[int] | None = None,
    *,
    counter: Literal["dispatcher"] = "dispatcher",
) -> Complexity: ...


@overload
def measure(
    model: str | nn.Module, input_size: int | Sequence[int] | None = None, *, counter: Literal["thop"]
) -> ThopAnswer: ...


def measure(
    model: str | nn.Module, input_size: int | Sequence[int] | None = None, *, counter: str = "dispatcher"
) -> Complexity | ThopAnswer:
    """Flops, params and acts of a model for one image, in evaluation mode.

    What runs is a copy without weights, on the ``meta`` device; the module and torch's random state are left as they
    are. Where the module's code looks at values, a copy with weights runs on a random image instead, and a warning
    says so: the numbers hold for that image.

    Args:
        model: name of a timm model, or a module that takes images (N, channels, height, width).
        input_size: (channels, height, width), or the side of a square; by default the timm model's own.
        counter: ``dispatcher``, or ``thop`` for what that package says.

    Raises:
        ValueError: an unknown name or counter, a size that is none, no size for a module that has none of its own,
            or an image that the model refuses.
        TypeError: ``model`` is neither a name nor a module, or is TorchScript.
        ImportError: ``counter="thop"`` without thop.
    """
    if counter not in _COUNTERS:
        raise ValueError(f"unknown counter {counter!r}; there are {', '.join(map(repr, _COUNTERS))}")
    if counter == "thop":
        _require_thop()
    if not isinstance(model, (str, nn.Module)) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"model is a timm model's name or an eager torch.nn.Module, not {type(model).__name__}")
    module = _built(model, (torch.device("meta"), _WeightsOnMeta())) if isinstance(model, str) else model
    label = model if isinstance(model, str) else type(module).__name__
    size = _input_size(label, module, input_size)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    twin = _Copier(_without_values).module(module).eval()
    try:
        with torch.random.fork_rng([]):
            return _COUNTERS[counter](twin, size, torch.empty(1, *size, dtype=dtype, device="meta"))
    except Exception as error:
        if not _wants_values(error):
            raise _refusal(label, size, error) from error
        warnings.warn(f"{label}: counted for a random image, since {_first_line(error)}", stacklevel=2)
    twin = (
        _built(model, (torch.device("cpu"),)) if isinstance(model, str) else _Copier(_with_values).module(module)
    ).eval()
    device = next((p.device for p in twin.parameters()), torch.device("cpu"))
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        # In any function mode torch.nn's transformer layers leave their fused path, which would hide their products.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), BaseTorchFunctionMode():
            return _COUNTERS[counter](twin, size, image)
    except Exception as error:
        raise _refusal(label, size, error) from error


def _require_thop() -> None:
    try:
        import thop  # noqa: F401
    except ImportError as error:
        raise ImportError(f"counter='thop' needs thop: pip install 'timm-regnet-ds[thop]' ({error})") from error


class _WeightsOnMeta(TorchFunctionMode):
    """For constructors that compute with values: only ``torch.empty``, where layers have weights from, has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def _built(name: str, places: Iterable[AbstractContextManager[Any]]) -> nn.Module:
    """The named model, built in the first of the places that lets it look at the values it needs."""
    if ":" not in name and not is_model(name.partition(".")[0]):
        nearest = difflib.get_close_matches(name, list_models(), n=1, cutoff=0.0)
        raise ValueError(f"timm has no model {name!r}; the nearest name is {nearest[0]!r}")
    for place in places:
        try:
            with torch.random.fork_rng([]), place:
                return create_model(name)
        except Exception as error:
            failure = error
            if not _wants_values(error):
                break
    raise ValueError(f"timm cannot build {name!r}: {_first_line(failure)}") from failure


def _input_size(label: str, module: nn.Module, given: int | Sequence[int] | None) -> InputSize:
    own = get_model_input_config(module).get("input_size") if getattr(module, "pretrained_cfg", None) else None
    if given is None and own is None:
        raise ValueError(f"{label} has no input size of its own: pass input_size=(channels, height, width)")
    size = own if given is None else given
    if not isinstance(size, Sequence):
        size = (own[0] if own else 3, size, size)
    try:
        channels, height, width = map(operator.index, size)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1 or isinstance(given, (bool, str)):
        raise ValueError(f"input_size is (channels, height, width) or one side, all of them positive, not {given!r}")
    return channels, height, width


def _wants_values(error: Exception) -> bool:
    """Whether a model failed for want of the values that tensors on the ``meta`` device do not have."""
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or "meta" in text or "no fake impl" in text


def _refusal(label: str, size: InputSize, error: Exception) -> ValueError:
    return ValueError(f"{label} refuses an image of size {_times(size)}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

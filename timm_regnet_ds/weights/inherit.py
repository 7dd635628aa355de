"""`inherit`: a grown model takes over its base's weights, and computes what the base computes."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from timm_regnet_ds.common.text import count

from . import rules  # noqa: F401  # registers what operators do to dimensions
from .align import align, describe
from .assign import assign
from .checks import check_finite
from .dims import Leaf, leaves
from .free import free_zero_inputs
from .identities import become_identity, become_projection, captured
from .inherited import EXACT, Inherited, Widened
from .maps import Map, Policy
from .plan import Plan
from .record import record
from .trace import trace
from .verify import compare, outputs

__all__ = ["inherit"]


def inherit(
    base: nn.Module,
    grown: nn.Module,
    between: nn.Module | None = None,
    *,
    input_size: Sequence[int] = (3, 224, 224),
    policies: Iterable[Policy] = tuple(Policy),
    images: int = 2,
) -> Inherited:
    """Give a grown model the weights of its base.

    Args:
        base: a trained model; it stays as it is.
        grown: a larger model of the same class, freshly initialized; it is changed in place.
        between: a model of the base's depth and the grown model's widths, where both differ; it may be on ``meta``.
        input_size: (channels, height, width) of images that both models take.
        policies: what new channels may be; the one with the smallest error is kept. Policies that change nothing for
            these models are not tried; if none is left, ``Policy.MIXED`` is.
        images: number of random images on which outputs are compared.

    Returns:
        What was inherited, with the error that was measured.

    Raises:
        ValueError: weights that are not finite or on ``meta``, or models that do not run on such images.
    """
    for model, name in ((base, "the base"), (grown, "the grown model")):
        check_finite(name, model.state_dict(), {key for key, _ in model.named_parameters(remove_duplicate=False)})
    work = _Work(base, grown, between, input_size, images)
    first, *others = [policy for policy in policies if work.is_useful(policy)] or [Policy.MIXED]
    best = work.attempt(first)
    errors = {first.value: best.error}
    for policy in others:
        if best.error < EXACT:
            break
        if best.state is None:
            best.state = work.weights()
        result = work.attempt(policy)
        errors[policy.value] = result.error
        if result.error < best.error:
            best = result
    return work.finish(best, errors)


class _Result:
    """One policy's weights.

    Attributes:
        policy: what new channels are.
        error: of the outputs.
        maps: of each tensor that is partly new, the maps of its axes.
        added: how each added module became an identity.
        state: weights of the grown model; None as long as it has them itself.
    """

    def __init__(self, policy: Policy, error: float, maps: dict[str, list[Map]], added: dict[str, str | None]) -> None:
        self.policy = policy
        self.error = error
        self.maps = maps
        self.added = added
        self.state: dict[str, Tensor] | None = None


class _Work:
    """Both models in float64, aligned and traced."""

    def __init__(
        self, base: nn.Module, grown: nn.Module, between: nn.Module | None, input_size: Sequence[int], images: int
    ) -> None:
        self.grown = grown
        self.model = _in_float64(grown)
        reference = _evaluating(_in_float64(base))
        self.alignment = align(reference, self.model, between)
        self.deeper = between is None and bool(self.alignment.added)
        self.base_modules = [name for name, _ in reference.named_modules()]
        self.base_state = dict(reference.state_dict())
        self.own = dict(self.model.state_dict())  # the model's tensors themselves
        self.fresh = dict(grown.state_dict())
        generator = torch.Generator().manual_seed(0)
        self.x = [torch.randn(1, *input_size, generator=generator, dtype=torch.float64)]
        self.tests = [torch.randn(images, *input_size, generator=generator, dtype=torch.float64)]
        try:
            self.plan = self._trace(reference)
            self.wanted = outputs(reference, self.tests)
        except Exception as error:
            raise ValueError(
                f"{type(base).__name__} cannot be traced on images of {tuple(input_size)}: {error}"
            ) from error

    def _trace(self, reference: nn.Module) -> Plan:
        alignment = self.alignment
        known = self.base_state.keys() | {name for name, _ in reference.named_buffers(remove_duplicate=False)}
        names = {name: alignment.name(name) for name in _names(self.model)}
        plan = Plan(dict(alignment.modules), {name: old for name, old in names.items() if old in known})
        grown = record(_evaluating(self.model), self.x, list(alignment.added))
        self.shapes = {
            name: bool(ins and outs) and ins[0].shape == outs[0].shape for name, (ins, outs) in grown.added.items()
        }
        return trace(plan, record(reference, self.x), grown, self.deeper)

    def is_useful(self, policy: Policy) -> bool:
        """Whether a policy differs from those before it."""
        grows = [leaf for leaf in self.plan.leaves() if leaf.grown > leaf.base]
        marks = {mark for leaf in grows for mark in leaf.marks}
        if policy is Policy.ZERO:
            return "norm" in marks
        return policy is Policy.MIXED or (bool(marks) if policy is Policy.FRESH else bool(grows))

    def attempt(self, policy: Policy) -> _Result:
        """Give the model the weights of a policy."""
        plan, model = self.plan, self.model
        with torch.no_grad():
            maps = assign(plan, self.base_state, self.fresh, policy, self.own)
            self._copy_neighbours()
        _evaluating(model)
        added = self._make_identities(policy)
        error = self.error()
        freed = free_zero_inputs(model, self.x, plan, maps, self.fresh)
        if freed:
            again = self.error()
            if again <= max(error, EXACT / 10):
                error = again
            else:
                for part in freed:
                    part.undo()
        return _Result(policy, error, maps, added)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the model's weights, in the format of the grown model."""
        return {name: value.to(self.fresh[name], copy=True) for name, value in self.own.items()}

    def error(self) -> float:
        _evaluating(self.model)
        return compare(self.wanted, outputs(self.model, self.tests), self.plan.outputs)

    def _copy_neighbours(self) -> None:
        """Added blocks begin with the weights of a block like them."""
        for name, like in self.alignment.added.items():
            if like is None:
                continue
            for key, value in self.own.items():
                other = self.own.get(f"{like}{key[len(name) :]}") if key.startswith(f"{name}.") else None
                if other is not None and other.shape == value.shape:
                    value.copy_(other)

    def _make_identities(self, policy: Policy) -> dict[str, str | None]:
        names = list(self.alignment.added)
        calls = captured(self.model, self.x, names) if names else {}
        modules = dict(self.model.named_modules())
        shared = [
            id(p)
            for name, p in self.model.named_parameters(remove_duplicate=False)
            if self.alignment.added_module(name) is None
        ]
        found: dict[str, str | None] = {}
        known: dict[str, list[int]] = {}
        failed: set[str] = set()  # kinds of blocks that cannot be identities, so that each is tried once
        for name in names:
            how = None
            kind = describe(modules[name])
            if name in self.plan.added:
                before, after = self.plan.added[name]
                if before and after:
                    how = become_projection(modules[name], before[0], after[0], policy)
            if how is None and name in calls and kind not in failed:
                how = become_identity(modules[name], *calls[name], shared, known)
            if how is None:
                failed.add(kind)
            found[name] = how
        return found

    def finish(self, result: _Result, errors: Mapping[str, float]) -> Inherited:
        """Load the weights into the grown model, and say what they are."""
        self.grown.load_state_dict(result.state or self.own)
        new, inherited = [], []
        widened: dict[str, Widened] = {}
        for name, _ in self.grown.named_parameters():
            maps = result.maps.get(name)
            if name not in self.plan.dims or self.alignment.added_module(name):
                new.append(name)
            elif maps is None:
                inherited.append(name)
            else:
                fraction = any(not leaf.base or leaf.grown % leaf.base for leaf in self._leaves(name))
                widened[name] = Widened(tuple(maps), fraction)
        return Inherited(
            error=result.error,
            policy=result.policy.value,
            errors=dict(errors),
            added=result.added,
            new=tuple(new),
            inherited=tuple(inherited),
            widened=widened,
            reasons=() if result.error < EXACT else tuple(self._reasons(result)),
        )

    def _leaves(self, name: str) -> list[Leaf]:
        return [leaf for dim in self.plan.dims[name] for leaf in leaves(dim)]

    def _reasons(self, result: _Result) -> list[str]:
        """Why the outputs differ, as far as tracing and verification know."""
        if left_out := self._left_out():
            return left_out
        found: list[str] = []
        stuck = [name for name, how in result.added.items() if how is None and self._has_block(name)]
        if stuck:
            kinds = sorted({type(self.model.get_submodule(name)).__name__ for name in stuck})
            identities = "an identity" if len(stuck) == 1 else "identities"
            what = f"{count(len(stuck), 'added block')} cannot be {identities}"
            found.append(f"{what} ({', '.join(kinds)}; {stuck[0]})")
        marks: dict[str, str] = {}
        for leaf in sorted(self.plan.leaves(), key=lambda leaf: leaf.size):
            if leaf.base and leaf.grown % leaf.base:
                for mark in leaf.marks - {"contraction"}:
                    marks.setdefault(mark, f"{leaf.base} to {leaf.grown} channels")
        found += [f"{_READERS[mark]} over {what}" for mark, what in marks.items()]
        if len(self.plan.outputs) != len(self.wanted):
            found.append(f"the base returns {count(len(self.wanted), 'tensor')}, the model {len(self.plan.outputs)}")
        if not self.plan.aligned:
            found.append("the two models do not call the same operators")
        return found + list(dict.fromkeys(self.plan.conflicts))

    def _left_out(self) -> list[str]:
        """What of the base a smaller model does not have."""
        found = []
        kept = set(self.alignment.modules.values())
        gone = [name for name in self.base_modules if name not in kept and name.rpartition(".")[0] in kept]
        if gone:
            are = "is" if len(gone) == 1 else "are"
            found.append(f"{count(len(gone), 'module')} of the base {are} left out ({gone[0]})")
        narrower = [leaf for leaf in self.plan.leaves() if leaf.grown < leaf.base]
        if narrower:
            widest = max(narrower, key=lambda leaf: leaf.base)
            found.append(f"channels of the base are left out ({widest.base} to {widest.grown})")
        return found

    def _has_block(self, name: str) -> bool:
        """Whether an added module should return its input: what it returns has the shape of what it takes."""
        before, after = self.plan.added.get(name, ([], []))
        return bool(before and after) and self.shapes.get(name, False)


# What reads all channels of a dimension.
_READERS = {
    "norm": "a LayerNorm",
    "group norm": "a GroupNorm",
    "mean": "a mean, norm or softmax",
}


def _in_float64(model: nn.Module) -> nn.Module:
    """A copy on the CPU; parameters are converted as they are copied, so that no copy in their own format is made."""
    with torch.no_grad():
        memo: dict[int, Any] = {
            id(p): nn.Parameter(p.detach().to("cpu", torch.float64, copy=True), p.requires_grad)
            for p in model.parameters()
            if type(p) is nn.Parameter and p.is_floating_point()
        }
    return copy.deepcopy(model, memo).cpu().double()


def _evaluating(model: nn.Module) -> nn.Module:
    """In evaluation mode, by way of training mode: some attention layers keep a table of biases between the two."""
    return model.train().eval()


def _names(model: nn.Module) -> list[str]:
    return [
        name for named in (model.named_parameters, model.named_buffers) for name, _ in named(remove_duplicate=False)
    ]

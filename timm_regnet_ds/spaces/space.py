"""What every design space can do: sample, tell what it contains, count, build, write and read configurations."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from timm_regnet_ds._check import check_float, check_int
from timm_regnet_ds.scaling.fitting.target import MEASURES, MOST, parse_target

__all__ = ["Complexities", "Configs", "Limits", "Membership", "Sample", "Space"]

Ints = NDArray[np.int64]
Limit = tuple[float | str | None, float | str | None]

# Draws at a time, doubled from the first batch to the last. They are the same for every n, so that a smaller sample of
# a seed is the beginning of a larger one.
_FIRST_BATCH, _BATCH = 1 << 10, 1 << 17
# Draws in a row without one within the limits, after which there is taken to be none.
_PATIENCE = 1 << 22


class Complexities(NamedTuple):
    """Complexity of n models for one image, int64 of shape (n,) each."""

    flops: Ints
    params: Ints
    acts: Ints


class Configs(ABC):
    """Configurations of a space, held as arrays."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, place: Any) -> Any:
        """The configuration at a place."""

    @abstractmethod
    def take(self, places: NDArray[Any]) -> "Configs":
        """Those at ``places``, integers of shape (m,)."""

    @abstractmethod
    def joined(self, others: Any) -> "Configs":
        """These and those of ``others``, one after the other."""


@dataclass(frozen=True)
class Membership:
    """Whether a space contains a configuration; where it does not, ``reason`` says why."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


@dataclass(frozen=True, eq=False)
class Sample(Sequence[Any]):
    """Configurations drawn from a space: ``len(sample)``, ``sample[i]``, iteration.

    Attributes:
        configs: the configurations as arrays.
        flops, params, acts: their complexity for one image, int64 of shape (n,).
        drawn: how many configurations were drawn to get them.
    """

    configs: Configs
    flops: Ints
    params: Ints
    acts: Ints
    drawn: int

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, place: Any) -> Any:
        return self.configs[place]

    def __iter__(self) -> Iterator[Any]:
        return (self.configs[place] for place in range(len(self)))


@dataclass(frozen=True)
class Limits:
    """Bounds on complexity, both ends allowed: (measure, low, high) for each measure that has any."""

    bounds: tuple[tuple[str, float, float], ...]

    @classmethod
    def of(cls, **limits: Limit | None) -> "Limits":
        """From (low, high) of flops, params and acts: numbers, targets such as '360mf', or None where open.

        Raises:
            ValueError: no pair, a bound of another measure, or a low bound above the high one.
        """
        bounds = []
        for measure, limit in limits.items():
            if limit is None:
                continue
            if not isinstance(limit, (tuple, list)) or len(limit) != 2:
                raise ValueError(f"{measure} takes a pair (low, high), not {limit!r}")
            low, high = (_bound(measure, bound) for bound in limit)
            low, high = 0.0 if low is None else low, np.inf if high is None else high
            if low > high:
                raise ValueError(f"{measure}: the low bound {limit[0]!r} is above the high bound {limit[1]!r}")
            bounds.append((measure, low, high))
        return cls(tuple(bounds))

    def misses(self, found: Complexities) -> NDArray[np.float64]:
        """By how much each of n models misses the bounds: the largest |log ratio| to one, 0 within; shape (n,)."""
        worst = np.zeros(len(found.flops))
        for measure, low, high in self.bounds:
            values = np.maximum(getattr(found, measure), 1)
            below = np.log(max(low, 1) / np.minimum(values, max(low, 1)))
            above = np.log(np.maximum(values, high) / high) if np.isfinite(high) else 0.0
            worst = np.maximum(worst, below + above)
        return worst

    def hold(self, found: Complexities) -> NDArray[np.bool_]:
        """Which of n models are within the bounds, shape (n,)."""
        within = np.ones(len(found.flops), dtype=bool)
        for measure, low, high in self.bounds:
            values = getattr(found, measure)
            within &= (values >= low) & (values <= high)
        return within

    def __str__(self) -> str:
        return " and ".join(_interval(*bound) for bound in self.bounds)


def _bound(measure: str, bound: float | str | None) -> float | None:
    if bound is None:
        return None
    if not isinstance(bound, str):
        return check_float(measure, bound, minimum=0, maximum=MOST)
    target = parse_target(bound)
    if target.measure != measure:
        raise ValueError(f"{measure} takes a number or one such as '400m{measure[0]}', not {bound!r}")
    return target.value


def _interval(measure: str, low: float, high: float) -> str:
    if not low:
        return f"{measure} up to {high:,.0f}"
    return f"{measure} from {low:,.0f}" + (f" to {high:,.0f}" if np.isfinite(high) else "")


@dataclass(frozen=True)
class Space(ABC):
    """A set of configurations and a distribution over them.

    Args:
        name: its name in ``SPACES``, or another.
    """

    name: str

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> tuple[Configs, Ints]:
        """Draw n times: the valid configurations that come of it, and which of the draws, from 0, each was."""

    @abstractmethod
    def complexity(self, configs: Any) -> Complexities:
        """Of configurations that were drawn, equal to `timm_regnet_ds.measure` of the models built."""

    @abstractmethod
    def contains(self, config: Any) -> Membership:
        """Whether a configuration is one of the space's; a false answer has the reason."""

    @abstractmethod
    def count(self) -> int:
        """Number of configurations."""

    @abstractmethod
    def build(self, config: Any, **kwargs: Any) -> nn.Module:
        """The timm model of a configuration; ``kwargs`` go to ``timm.create_model``."""

    @abstractmethod
    def to_json(self, config: Any) -> dict[str, Any]:
        """A configuration as what json can hold."""

    @abstractmethod
    def from_json(self, row: dict[str, Any]) -> Any:
        """The configuration of which `to_json` gave ``row``.

        Raises:
            ValueError: keys or values that no configuration has.
        """

    def sample(
        self,
        n: int,
        seed: int = 0,
        *,
        flops: Limit | None = None,
        params: Limit | None = None,
        acts: Limit | None = None,
    ) -> Sample:
        """Draw configurations until n are within the limits, independently of each other.

        Args:
            n: how many.
            seed: of numpy's random generator; a smaller n gives the beginning of the same sample.
            flops, params, acts: (low, high), both allowed: each a number, a string such as '360mf', '25mp' or '12ma',
                or None where open.

        Raises:
            ValueError: limits that are none, or within which no configuration is found; the message says how many were
                drawn and what the nearest was.
        """
        n = check_int("n", n)
        limits = Limits.of(flops=flops, params=params, acts=acts)
        rng = np.random.default_rng(check_int("seed", seed, minimum=0))
        parts: list[tuple[Configs, Complexities]] = []
        found = drawn = vain = 0
        nearest: tuple[float, str] = (np.inf, "")
        for batch in _batches():
            configs, order = self.draw(rng, batch)
            if not limits.bounds:
                configs, order = configs.take(np.arange(min(len(configs), n - found))), order[: n - found]
            complexities = self.complexity(configs)
            places = np.flatnonzero(limits.hold(complexities))[: n - found]
            if len(places):
                parts.append((configs.take(places), _at(complexities, places)))
                found, vain = found + len(places), 0
                if found == n:
                    drawn += int(order[places[-1]]) + 1
                    break
            elif not found:
                nearest = min(nearest, _nearest(limits, complexities))
            drawn, vain = drawn + batch, vain + (0 if len(places) else batch)
            if vain >= _PATIENCE:
                raise ValueError(self._too_few(n, found, drawn, limits, nearest[1]))
        first, *rest = (configs for configs, _ in parts)
        counts = Complexities(*map(np.concatenate, zip(*(found for _, found in parts), strict=True)))
        return Sample(first.joined(rest), counts.flops, counts.params, counts.acts, drawn)

    def _too_few(self, n: int, found: int, drawn: int, limits: Limits, nearest: str) -> str:
        if found:
            return f"only {found} of {n} configurations of {self.name} with {limits} were found among {drawn:,} drawn"
        near = f"; the nearest has {nearest}" if nearest else ""
        return f"no configuration of {self.name} among {drawn:,} drawn has {limits}{near}"


def _batches() -> Iterator[int]:
    batch = _FIRST_BATCH
    while True:
        yield batch
        batch = min(2 * batch, _BATCH)


def _at(complexities: Complexities, places: Ints) -> Complexities:
    return Complexities(*(array[places] for array in complexities))


def _nearest(limits: Limits, complexities: Complexities) -> tuple[float, str]:
    misses = limits.misses(complexities)
    if not len(misses):
        return np.inf, ""
    place = int(misses.argmin())
    figures = zip(MEASURES, complexities, strict=True)
    return float(misses[place]), ", ".join(f"{array[place]:,} {measure}" for measure, array in figures)

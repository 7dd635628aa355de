"""What every design space can do: sample, tell what it contains, count, build, write and read configurations."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from timm_regnet_ds.common.check import check_int
from timm_regnet_ds.scaling.fitting.target import MEASURES

from ._types import Array, Ints
from .complexities import Complexities
from .limits import Limit, Limits

__all__ = ["ConfigBatch", "Membership", "Sample", "Space"]

# Configurations of a sample, which is kept in memory: some gigabytes.
MAX_SAMPLE = 10_000_000

# Draws in the first batch, and the most in one batch; each batch is twice the one before. The sizes do not depend on n,
# so that a smaller sample with the same seed is the beginning of a larger one.
_FIRST_BATCH, _MAX_BATCH = 1 << 10, 1 << 17
# Sampling ends with an error after this many consecutive draws outside the limits.
_MAX_MISSES = 1 << 22


class ConfigBatch(ABC):
    """n configurations of a space as arrays."""

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {len(self):,} configurations"

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: Any) -> Any:
        """The configuration at an index."""

    @abstractmethod
    def take(self, indices: Array) -> "ConfigBatch":
        """The configurations at ``indices``, integers of shape (m,)."""

    @abstractmethod
    def join(self, others: Any) -> "ConfigBatch":
        """This batch and the batches of ``others``, concatenated."""


@dataclass(frozen=True)
class Membership:
    """Whether a space contains a configuration, as a truth value. If it is false, ``reason`` says why."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


@dataclass(frozen=True, eq=False, repr=False)
class Sample(Sequence[Any]):
    """Configurations drawn from a space: ``len(sample)``, ``sample[i]``, iteration.

    Attributes:
        configs: the configurations as arrays.
        flops, params, acts: their complexity for one image, int64 of shape (n,).
        drawn: number of draws that were needed, those outside the limits included.
    """

    configs: ConfigBatch
    flops: Ints
    params: Ints
    acts: Ints
    drawn: int

    def __repr__(self) -> str:
        ranges = [
            f"{name} {values.min():,} to {values.max():,}"
            for name, values in (("flops", self.flops), ("params", self.params), ("acts", self.acts))
            if len(self)
        ]
        return f"Sample of {len(self):,} configurations ({'; '.join([*ranges, f'{self.drawn:,} drawn'])})"

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, index: Any) -> Any:
        return self.configs[index]

    def __iter__(self) -> Iterator[Any]:
        return (self.configs[index] for index in range(len(self)))


@dataclass(frozen=True)
class Space(ABC):
    """A set of configurations and a distribution over them.

    Args:
        name: its name in ``SPACES``, or a name of your own.
    """

    name: str

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int) -> tuple[ConfigBatch, Ints]:
        """Draw n configurations; return the valid ones and their indices among the n draws, ascending, shape (m,)."""

    @abstractmethod
    def complexity(self, configs: Any) -> Complexities:
        """Complexity of drawn configurations, equal to `timm_regnet_ds.measure` of the models built."""

    @abstractmethod
    def contains(self, config: Any) -> Membership:
        """Whether the space contains a configuration; if not, the result has the reason."""

    @abstractmethod
    def count(self) -> int:
        """Number of configurations."""

    @abstractmethod
    def build(self, config: Any, **kwargs: Any) -> nn.Module:
        """The timm model of a configuration; ``kwargs`` go to ``timm.create_model``."""

    @abstractmethod
    def to_json(self, config: Any) -> dict[str, Any]:
        """A configuration as a dict that can be written as JSON."""

    @abstractmethod
    def from_json(self, row: dict[str, Any]) -> Any:
        """The configuration that `to_json` wrote as ``row``.

        Raises:
            ValueError: unknown or missing keys, or invalid values.
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
            n: number of configurations, at most 10 million.
            seed: seed of NumPy's random generator; a smaller n gives the beginning of the same sample.
            flops, params, acts: limits (low, high), both included. Each is a number, a string such as '360mf', '25mp'
                or '12ma', or None if open.

        Raises:
            ValueError: invalid limits, or limits within which no configuration is found; the message says how many
                were drawn and what the nearest one was.
        """
        n = check_int("n", n, maximum=MAX_SAMPLE)
        limits = Limits.of(flops=flops, params=params, acts=acts)
        rng = np.random.default_rng(check_int("seed", seed, minimum=0))
        parts: list[tuple[ConfigBatch, Complexities]] = []
        found = drawn = misses = 0
        nearest: tuple[float, str] = (np.inf, "")
        for batch_size in _batch_sizes():
            configs, draw_index = self.draw(rng, batch_size)
            if not limits.bounds:
                configs = configs.take(np.arange(min(len(configs), n - found)))
            complexities = self.complexity(configs)
            indices = np.flatnonzero(limits.contain(complexities))[: n - found]
            if len(indices):
                parts.append((configs.take(indices), complexities.take(indices)))
                found, misses = found + len(indices), 0
                if found == n:
                    drawn += int(draw_index[indices[-1]]) + 1
                    break
            else:
                misses += batch_size
                if not found:
                    nearest = min(nearest, _nearest(limits, complexities))
            drawn += batch_size
            if misses >= _MAX_MISSES:
                raise ValueError(self._too_few(n, found, drawn, limits, nearest[1]))
        first, *rest = (configs for configs, _ in parts)
        counts = Complexities(*map(np.concatenate, zip(*(complexities for _, complexities in parts), strict=True)))
        return Sample(first.join(rest), counts.flops, counts.params, counts.acts, drawn)

    def _too_few(self, n: int, found: int, drawn: int, limits: Limits, nearest: str) -> str:
        if found:
            return f"only {found} of {n} configurations of {self.name} with {limits} were found among {drawn:,} drawn"
        near = f"; the nearest has {nearest}" if nearest else ""
        return f"no configuration of {self.name} among {drawn:,} drawn has {limits}{near}"


def _batch_sizes() -> Iterator[int]:
    batch = _FIRST_BATCH
    while True:
        yield batch
        batch = min(2 * batch, _MAX_BATCH)


def _nearest(limits: Limits, complexities: Complexities) -> tuple[float, str]:
    """Distance of the model nearest to the limits, and its complexity as text."""
    distances = limits.distances(complexities)
    if not len(distances):
        return np.inf, ""
    index = int(distances.argmin())
    counts = zip(MEASURES, complexities, strict=True)
    return float(distances[index]), ", ".join(f"{array[index]:,} {measure}" for measure, array in counts)

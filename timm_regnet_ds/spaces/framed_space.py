"""What the spaces of AnyNets and of RegNets have in common: a frame, and one resolution or several."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from timm_regnet_ds.common.check import check_choice
from timm_regnet_ds.models._blocks import BLOCKS
from timm_regnet_ds.models.anynet import STEM_STRIDES, AnyNetCfg

from ._types import Array, Ints
from .anynet_batch import AnyNetBatch
from .build import build_model
from .complexities import Complexities
from .frame import Frame
from .space import ConfigBatch, Membership, Space
from .values import Values

__all__ = ["ConfigAtResolution", "FramedSpace", "ResolutionBatch"]


class ConfigAtResolution(NamedTuple):
    """A configuration of a space with several resolutions, and the resolution drawn for it."""

    cfg: Any
    resolution: int


@dataclass(frozen=True, eq=False, repr=False)
class ResolutionBatch(ConfigBatch):
    """n configurations and their resolutions, shape (n,)."""

    configs: Any
    resolutions: Array

    def __len__(self) -> int:
        return len(self.configs)

    def __getitem__(self, index: Any) -> ConfigAtResolution:
        return ConfigAtResolution(self.configs[index], int(self.resolutions[index]))

    def take(self, indices: Array) -> "ResolutionBatch":
        return ResolutionBatch(self.configs.take(indices), self.resolutions[indices])

    def join(self, others: Any) -> "ResolutionBatch":
        resolutions = np.concatenate([self.resolutions, *(other.resolutions for other in others)])
        return ResolutionBatch(self.configs.join([other.configs for other in others]), resolutions)


@dataclass(frozen=True)
class FramedSpace(Space):
    """A space of networks that share a frame, at one resolution or at several.

    Args:
        frame: fields that all networks of the space share.
        resolution: side of the images, or the values that it may take; then configurations are `ConfigAtResolution`.
    """

    frame: Frame = field(default=Frame(), kw_only=True)
    resolution: int | Values = field(default=224, kw_only=True)

    def __post_init__(self) -> None:
        check_choice("block", self.frame.block, BLOCKS)
        check_choice("stem", self.frame.stem, STEM_STRIDES)

    # Subclasses define these, for configurations without their resolution.
    def _draw(self, rng: np.random.Generator, n: int) -> tuple[Any, Ints]:
        raise NotImplementedError

    def _contains(self, cfg: Any) -> str:
        raise NotImplementedError

    def _count(self) -> int:
        raise NotImplementedError

    def _arguments(self, cfg: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _nets(self, configs: Any) -> AnyNetBatch:
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, n: int) -> tuple[ConfigBatch, Ints]:
        configs, draw_index = self._draw(rng, n)
        if isinstance(self.resolution, Values):
            configs = ResolutionBatch(configs, self.resolution.draw(rng, len(configs)))
        return configs, draw_index

    def complexity(self, configs: Any) -> Complexities:
        if isinstance(configs, ResolutionBatch):
            return self._nets(configs.configs).complexity(configs.resolutions)
        assert not isinstance(self.resolution, Values)
        return self._nets(configs).complexity(self.resolution)

    def contains(self, config: Any) -> Membership:
        cfg, resolution = self._split(config)
        if isinstance(self.resolution, Values) and resolution not in self.resolution:
            return Membership(f"resolution {resolution} is not one of {self.resolution}")
        return Membership(self._contains(cfg))

    def count(self) -> int:
        return self._count() * (len(self.resolution) if isinstance(self.resolution, Values) else 1)

    def build(self, config: Any, **kwargs: Any) -> nn.Module:
        cfg, side = self._split(config)
        name = "anynet" if isinstance(cfg, AnyNetCfg) else "regnet"
        return build_model(
            name,
            self._arguments(cfg),
            kwargs,
            resolution=side,
            strides=(STEM_STRIDES[self.frame.stem], *self.frame.strides),
            num_classes=self.frame.num_classes,
            in_chans=self.frame.in_chans,
        )

    def to_json(self, config: Any) -> dict[str, Any]:
        cfg, resolution = self._split(config)
        row = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(cfg).items()}
        return row | ({"resolution": resolution} if isinstance(self.resolution, Values) else {})

    def _from_json(self, cfg_cls: type, row: dict[str, Any]) -> Any:
        known = {f.name for f in fields(cfg_cls)}
        resolution_key = {"resolution"} if isinstance(self.resolution, Values) else set()
        unknown, missing = row.keys() - known - resolution_key, (_required_keys(cfg_cls) | resolution_key) - row.keys()
        if unknown or missing:
            wrong = f"has no {', '.join(sorted(unknown))}" if unknown else f"needs {', '.join(sorted(missing))}"
            raise ValueError(
                f"a configuration of {self.name} {wrong} (allowed: {', '.join(sorted(known | resolution_key))})"
            )
        cfg = cfg_cls(**{key: value for key, value in row.items() if key in known})
        return ConfigAtResolution(cfg, row["resolution"]) if resolution_key else cfg

    def _split(self, config: Any) -> tuple[Any, int]:
        if not isinstance(self.resolution, Values):
            return config, self.resolution
        if not isinstance(config, ConfigAtResolution):
            raise ValueError(
                f"{self.name} has several resolutions: a configuration is ConfigAtResolution(cfg, resolution)"
            )
        return config


def _required_keys(cfg_cls: type) -> set[str]:
    """Keys that have no default; the others default to values of the block."""
    return {"depths", "widths"} if cfg_cls is AnyNetCfg else {"depth", "w0", "wa", "wm"}

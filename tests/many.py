"""How many random configurations of a space are built and measured; `make test-spaces` takes a thousand."""

import os
from dataclasses import replace

CONFIGS = int(os.environ.get("TIMM_REGNET_DS_CONFIGS", 10))


def mostly_shallow(space, seed):
    """Configurations with their flops, params and acts: a fifth from the space, the rest with few blocks in a stage."""
    name = "depth" if hasattr(space, "depth") else "depths"
    depths = getattr(space, name)
    values = depths if isinstance(depths, tuple) else depths.values
    few = values[: -(-len(values) // 4)]
    shallow = replace(space, **{name: few if depths is values else replace(depths, values=few)})
    for part, n in ((space, CONFIGS // 5), (shallow, CONFIGS - CONFIGS // 5)):
        sample = part.sample(n, seed=seed)
        yield from zip(sample, sample.flops, sample.params, sample.acts, strict=True)

"""How many random configurations of a space are built and measured; `make test-spaces` takes a thousand."""

import os

CONFIGS = int(os.environ.get("TIMM_REGNET_DS_CONFIGS", 10))

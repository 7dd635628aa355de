"""``python -m timm_regnet_ds``: the command ``timm-regnet-ds``."""

import sys

from .cli import main

sys.exit(main())

"""``python -m astro_galtrans``: the command ``galtrans``."""

import sys

from astro_galtrans.cli import main

sys.exit(main())

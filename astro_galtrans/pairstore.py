"""Where `astro_galtrans.pairs.store` was before the first release: scripts written then go on working."""

from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter

__all__ = ["PairHeader", "PairStore", "PairWriter"]

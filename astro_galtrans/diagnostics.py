"""Where `astro_galtrans.spectra` was before the first release: scripts written then go on working."""

from astro_galtrans import spectra

__all__ = ["spectra"]

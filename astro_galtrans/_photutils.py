"""What differs between the releases of photutils that the package runs with."""

import numpy as np
from astropy.utils import minversion

__all__ = ["NO_BAR", "aperture_sums"]

#: options of ``deblend_sources``: releases before 3.1 show a bar unless told not to, later ones warn of being told
NO_BAR = {} if minversion("photutils", "3.1") else {"progress_bar": False}


def aperture_sums(image, aperture):
    """Return exact sums ``[n]`` of an image ``[H, W]`` in the positions of a pixel aperture; 3.1 renamed the call."""
    masks = aperture.to_mask(method="exact")
    parts = (mask.multiply(image) for mask in ([masks] if aperture.isscalar else masks))
    return np.array([np.nan if part is None else part.sum() for part in parts])

"""Source, target and translations of the same galaxies: what comparisons that look at the source are given."""

import numpy as np

from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.stamps import same_galaxies, translations

__all__ = ["sides"]

SAME_FIELD = 0.1  # relative: survey files round pixel scales, but a wrong factor of a scale is 1.5 or more


def sides(source, target, translated):
    """
    Return stamps of source, target (if there is one) and translations by name, once they fit each other.

    Parameters
    ----------
    source : `~astro_galtrans.stamps.Stamps`
    target : `~astro_galtrans.stamps.Stamps` or None
        Real images; without them the translations must be `~astro_galtrans.stamps.Stamps`.
    translated : `~astro_galtrans.stamps.Stamps`, array-like or dict of str to these

    Returns
    -------
    dict of str to `~astro_galtrans.stamps.Stamps`

    Raises
    ------
    TypeError
        If source or target is no `~astro_galtrans.stamps.Stamps`, or nothing says whose images the translations are.
    ValueError
        If numbers of galaxies, bands, pixels or fields differ.
    """
    real = {"source": source} | ({} if target is None else {"target": target})
    for name, stamps in real.items():
        if not isinstance(stamps, Stamps):
            msg = f"{name} must be Stamps(images, survey), which know their survey, got {type(stamps).__name__}"
            raise TypeError(msg)
        if stamps.n_samples is not None:
            msg = f"{name} must be [N, C, H, W], one image per galaxy, got shape {stamps.images.shape}"
            raise ValueError(msg)
    like = next(iter(translated.values()), None) if isinstance(translated, dict) else translated
    like = like if target is None else target
    if like is not None and not isinstance(like, Stamps):
        msg = "nothing says of which survey the translations are: give Stamps, or target= (Stamps of that survey)"
        raise TypeError(msg)
    found = real | translations(like, translated)
    same_galaxies(**found)
    extents = [np.array(each.shape) * each.pixel_scale for each in (source, like)]
    if not np.allclose(*extents, rtol=SAME_FIELD):
        text = " and ".join(f"{extent[0]:.1f} x {extent[1]:.1f} arcsec" for extent in extents)
        msg = f"stamps of source and target cover {text}; is a pixel scale wrong?"
        raise ValueError(msg)
    return found

"""
The extent of galaxies, and the asymmetries of their outskirts and of their outline, in batches.

The outline is that of a detection mask made as statmorph makes it (after Pawlik et al. 2016, section 3.1): the image
smoothed over 3 x 3 pixels, above one sigma of the sky, the region around its brightest pixel.
"""

import numpy as np
import torch

from .asymmetry import sums_turned
from .compiled import kernels
from .cutouts import BAD, SUSPECT
from .filters import box_filter
from .flood import connected_region
from .kernels import on_arrays
from .petrosian import fraction_radii

__all__ = ["clipped_sky", "measure_shape", "segmap_shape"]

EXTENT_FLUX = 2.0  # statmorph's petro_extent_flux: Petrosian radii from which the sky is looked at, to twice that
LEAST_SKY = 32**2  # pixels, fewer than which are replaced by those of the sky box (statmorph's skybox_size)
BOXCAR = 3  # pixels
CLIP = 3.0  # sigma
INNER_ITERATIONS = 10  # of the clipping within photutils' ModeEstimatorBackground
OUT_OF_RANGE = 100.0  # what statmorph gives where there is no flux


def measure_shape(stamps, geometry):
    """
    Measure the galaxies' extent and the asymmetries beyond their half-light radius and of their outline.

    Parameters
    ----------
    stamps : `~astro_galtrans.measure.morphology.cutouts.Stamps`
        The galaxies; flags are raised.
    geometry : `~astro_galtrans.measure.morphology.core.Geometry`
        Centres of least asymmetry, shape about them, Petrosian radii and sky.

    Returns
    -------
    dict of str to `torch.Tensor`
        ``rmax_circ``, ``rmax_ellip``, ``rhalf_circ``, ``rhalf_ellip``, ``outer_asymmetry`` (Wen et al. 2014) and
        ``shape_asymmetry`` (Pawlik et al. 2016), ``[N]``; NaN where undefined.
    """
    segmap = segmap_shape(stamps, geometry)
    if loops := kernels("shape", stamps.image):
        circ, ellip = on_arrays(loops.farthest, segmap, geometry.ellipses.packed)
    else:
        circ, ellip = (_farthest(segmap, shape) for shape in (geometry.circles, geometry.ellipses))
    stamps.raise_flag((circ == 0) | (ellip == 0), BAD)
    half_circ, half_ellip = (
        _half_light(stamps, geometry.light, *of) for of in ((geometry.circles, circ), (geometry.ellipses, ellip))
    )
    outer = _asymmetry(stamps, stamps.image, geometry.ellipses, half_ellip, ellip, geometry.sky.asymmetry)
    outline = _asymmetry(stamps, segmap.double(), geometry.circles, torch.zeros_like(circ), circ)
    return {
        "rmax_circ": circ,
        "rmax_ellip": ellip,
        "rhalf_circ": half_circ,
        "rhalf_ellip": half_ellip,
        "outer_asymmetry": outer,
        "shape_asymmetry": torch.where(circ > 0, outline, torch.nan),
    }


def _half_light(stamps, light, ellipses, total):
    """The radius that holds half of the light in the largest; flag 2 where there is none."""
    radius, bad = fraction_radii(light, ellipses, total, (0.5,))
    stamps.raise_flag(bad, BAD)
    return radius[:, 0]


# -- the outline


def segmap_shape(stamps, geometry):
    """
    Make the detection masks, whose largest radius is ``rmax`` and whose asymmetry the shape asymmetry.

    Parameters
    ----------
    stamps : `~astro_galtrans.measure.morphology.cutouts.Stamps`
        The galaxies; flag 2 where there is no sky, or the brightest pixel is not above it.
    geometry : `~astro_galtrans.measure.morphology.core.Geometry`
        Centres of least asymmetry, Petrosian radii and sky boxes.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``, bool.
    """
    if loops := kernels("shape", stamps.image):
        sky, pixels = geometry.sky, (stamps.image, stamps.mask, stamps.ny, stamps.nx)
        places = geometry.x, geometry.y, EXTENT_FLUX * geometry.rpetro_ellip, torch.stack([sky.x, sky.y, sky.size], 1)
        region, undefined, alone = on_arrays(loops.segmap_shape, *pixels, *places)
    else:
        region, undefined, alone = _outline(stamps, geometry)
    stamps.raise_flag(undefined | alone, BAD)
    return torch.where(undefined[:, None, None], stamps.source, region)


def _outline(stamps, geometry):
    """The masks, where there is no sky for them, and where the brightest pixel is not above it."""
    sky = _sky_pixels(stamps, geometry)
    mode, sigma = clipped_sky(stamps.image, sky)
    smooth = box_filter(stamps.image, BOXCAR, stamps.ny, stamps.nx)
    flat = torch.where(stamps.frame, smooth, -torch.inf).flatten(1)
    brightest = flat.argmax(1)
    above = flat >= (mode + sigma)[:, None]
    alone = ~above.gather(1, brightest[:, None])[:, 0]
    above.scatter_(1, brightest[:, None], True)
    region = connected_region(above.view(smooth.shape), brightest)
    return region, ~sky.flatten(1).any(1), alone


def _sky_pixels(stamps, geometry):
    """The unmasked pixels in a ring around the galaxy; where they are few, those of the sky box."""
    y, x = (torch.arange(n, device=stamps.image.device, dtype=torch.float64) for n in stamps.image.shape[1:])
    distance2 = ((y - geometry.y[:, None]) ** 2)[:, :, None] + ((x - geometry.x[:, None]) ** 2)[:, None, :]
    radius = (EXTENT_FLUX * geometry.rpetro_ellip)[:, None, None]
    ring = (distance2 < 4 * radius**2) & (distance2 >= radius**2) & stamps.valid
    in_y, in_x = (
        (t >= low[:, None]) & (t < (low + geometry.sky.size)[:, None])
        for t, low in ((y, geometry.sky.y), (x, geometry.sky.x))
    )
    few = ring.sum((1, 2)) < LEAST_SKY
    return torch.where(few[:, None, None], in_y[:, :, None] & in_x[:, None, :], ring)


def clipped_sky(image, sky):
    """
    Estimate the level and noise of the sky: the mode of Bertin & Arnouts (1996) after clipping at three sigma of it.

    The clipped values are always a stretch of the sorted ones, so they are sorted once, and sums over a stretch are
    differences of running sums. The mode about which values are clipped comes from values clipped about their median,
    since that is what photutils' ``ModeEstimatorBackground`` does inside of astropy's ``sigma_clipped_stats``.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``.
    sky : `torch.Tensor`
        ``[N, H, W]``, bool: the pixels to use.

    Returns
    -------
    mode, sigma : `torch.Tensor`
        ``[N]``; NaN where there are no pixels.
    """
    values = _Stretches(image, sky)
    low, high = torch.zeros_like(values.number), values.number
    while True:
        centre, _ = values.mode(*values.clip(low, high, INNER_ITERATIONS))
        _, sigma = values.moments(low, high)
        new = values.within(low, high, centre, sigma)
        if torch.equal(new[0], low) and torch.equal(new[1], high):
            return values.mode(low, high)[0], sigma
        low, high = new


class _Stretches:
    """Sorted values of each galaxy, of which those from ``low`` to ``high`` (not included) are looked at."""

    def __init__(self, image, sky):
        self.number = sky.sum((1, 2))
        values = torch.where(sky, image, torch.inf).flatten(1)
        # numpy sorts with vector instructions, which torch's sort on a CPU has not
        values = values.sort(1).values if values.is_cuda else torch.from_numpy(np.sort(values.numpy(), axis=1))
        self.values = values[:, : max(int(self.number.max()), 1)].contiguous()
        finite = torch.where(torch.isfinite(self.values), self.values, 0.0)
        self.sums = [torch.nn.functional.pad(v.cumsum(1), (1, 0)) for v in (finite, finite**2)]

    def moments(self, low, high):
        """Mean and standard deviation."""
        number = high - low
        first, second = (_at(t, high) - _at(t, low) for t in self.sums)
        mean = first / number
        return mean, (second / number - mean**2).clamp(min=0).sqrt()

    def median(self, low, high):
        last = self.values.shape[1] - 1
        pair = ((low + high - 1) // 2, (low + high) // 2)
        return sum(_at(self.values, index.clamp(0, last)) for index in pair) / 2

    def mode(self, low, high):
        """Mode (Bertin & Arnouts 1996) and standard deviation."""
        mean, sigma = self.moments(low, high)
        return 2.5 * self.median(low, high) - 1.5 * mean, sigma

    def within(self, low, high, centre, sigma):
        """The stretch of those not farther than three sigma from a centre."""
        below = torch.searchsorted(self.values, (centre - CLIP * sigma)[:, None])[:, 0]
        above = torch.searchsorted(self.values, (centre + CLIP * sigma)[:, None], right=True)[:, 0]
        low = torch.maximum(low, below)
        return low, torch.maximum(torch.minimum(high, above), low)

    def clip(self, low, high, iterations):
        """Clip about the median, a number of times at most."""
        for _ in range(iterations):
            new = self.within(low, high, self.median(low, high), self.moments(low, high)[1])
            if torch.equal(new[0], low) and torch.equal(new[1], high):
                break
            low, high = new
        return low, high


def _at(values, index):
    return values.gather(1, index[:, None])[:, 0]


def _farthest(segmap, ellipses):
    """The semimajor axis of the smallest ellipse of this shape that holds all pixels of a segment."""
    e = {name: value[:, None, None] for name, value in vars(ellipses).items()}
    dy, dx = (torch.arange(n, device=segmap.device, dtype=ellipses.x.dtype) for n in segmap.shape[1:])
    dy, dx = dy[:, None] - e["y"], dx - e["x"]
    square = (dx * e["cos"] + dy * e["sin"]) ** 2 + (e["q"] * (dy * e["cos"] - dx * e["sin"])) ** 2
    return torch.where(segmap, square, 0.0).amax((1, 2)).sqrt()


# -- asymmetries


def _asymmetry(stamps, image, ellipses, inner, outer, sky=None):
    """
    Asymmetry (Lotz et al. 2004, eq. 10) about the centre of two ellipses, between them, less the sky's per pixel.

    Zero flux raises flag 1, as in statmorph.
    """
    difference, total, area = sums_turned(stamps, image, ellipses, outer, inner)[:, :3].unbind(1)
    background = 0.0 if sky is None else area * sky
    value = torch.where(total == 0, OUT_OF_RANGE, (difference - background) / total)
    stamps.raise_flag(value == OUT_OF_RANGE, SUSPECT)
    return value

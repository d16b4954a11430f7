"""
The extent of galaxies, and the asymmetries of their outskirts and of their outline, in batches.

The outline is that of a detection mask made as statmorph makes it (after Pawlik et al. 2016, section 3.1): the image
smoothed over 3 x 3 pixels, above one sigma of the sky, the region around its brightest pixel.
"""

import numpy as np
import torch

from .apertures import ellipse_weights, window
from .asymmetry import turned
from .concentration import light_radii
from .filters import box_filter
from .flood import connected_region
from .petrosian import by_reach
from .stamps import BAD, SUSPECT

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
    stamps : `~astro_galtrans.diagnostics.morphology.stamps.Stamps`
        The galaxies; flags are raised.
    geometry : `~astro_galtrans.diagnostics.morphology.core.Geometry`
        Centres of least asymmetry, shape about them, Petrosian radii and sky.

    Returns
    -------
    dict of str to `torch.Tensor`
        ``rmax_circ``, ``rmax_ellip``, ``rhalf_circ``, ``rhalf_ellip``, ``outer_asymmetry`` (Wen et al. 2014) and
        ``shape_asymmetry`` (Pawlik et al. 2016), ``[N]``; NaN where undefined.
    """
    segmap = segmap_shape(stamps, geometry)
    x, y, ellipse = geometry.x, geometry.y, (geometry.elongation, geometry.theta)
    circ, ellip = (_farthest(segmap, x, y, *shape) for shape in ((), ellipse))
    stamps.raise_flag((circ == 0) | (ellip == 0), BAD)
    half_circ = light_radii(stamps, x, y, circ, (0.5,))[:, 0]
    half_ellip = light_radii(stamps, x, y, ellip, (0.5,), *ellipse)[:, 0]
    outer = _Turned(stamps, stamps.image, x, y).measure(half_ellip, ellip, *ellipse, geometry.sky.asymmetry)
    outline = _Turned(stamps, segmap.double(), x, y).measure(None, circ)
    return {
        "rmax_circ": circ,
        "rmax_ellip": ellip,
        "rhalf_circ": half_circ,
        "rhalf_ellip": half_ellip,
        "outer_asymmetry": outer,
        "shape_asymmetry": torch.where(circ > 0, outline, torch.nan),
    }


# -- the outline


def segmap_shape(stamps, geometry):
    """
    Make the detection masks, whose largest radius is ``rmax`` and whose asymmetry the shape asymmetry.

    Parameters
    ----------
    stamps : `~astro_galtrans.diagnostics.morphology.stamps.Stamps`
        The galaxies; flag 2 where there is no sky, or the brightest pixel is not above it.
    geometry : `~astro_galtrans.diagnostics.morphology.core.Geometry`
        Centres of least asymmetry, Petrosian radii and sky boxes.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``, bool.
    """
    sky = _sky_pixels(stamps, geometry)
    mode, sigma = clipped_sky(stamps.image, sky)
    smooth = box_filter(stamps.image, BOXCAR, stamps.ny, stamps.nx)
    flat = torch.where(stamps.frame, smooth, -torch.inf).flatten(1)
    brightest = flat.argmax(1)
    above = flat >= (mode + sigma)[:, None]
    undefined = ~sky.flatten(1).any(1)
    stamps.raise_flag(undefined | ~above.gather(1, brightest[:, None])[:, 0], BAD)
    above.scatter_(1, brightest[:, None], True)
    region = connected_region(above.view(smooth.shape), brightest)
    return torch.where(undefined[:, None, None], stamps.source, region)


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


def _farthest(segmap, x, y, elongation=None, theta=None):
    """The largest distance of a segment's pixels from the centre, or semimajor axis of an ellipse through one."""
    dy, dx = (torch.arange(n, device=x.device) - c[:, None] for n, c in zip(segmap.shape[1:], (y, x), strict=True))
    dy, dx = dy[:, :, None], dx[:, None, :]
    if elongation is None:
        square = dx**2 + dy**2
    else:
        cos, sin, q = (t[:, None, None] for t in (torch.cos(theta), torch.sin(theta), elongation))
        square = (dx * cos + dy * sin) ** 2 + (q * (dy * cos - dx * sin)) ** 2
    return torch.where(segmap, square, 0.0).amax((1, 2)).sqrt()


# -- asymmetries


class _Turned:
    """Images beside themselves turned by 180 degrees about a point."""

    def __init__(self, stamps, image, x, y):
        self.stamps, self.image, self.x, self.y = stamps, image, x, y

    def measure(self, inner, outer, elongation=None, theta=None, sky=None):
        """
        Asymmetry (Lotz et al. 2004, eq. 10) between two ellipses, less that of the sky per pixel.

        Zero flux raises flag 1, as in statmorph.
        """
        value = torch.full_like(outer, OUT_OF_RANGE)
        for rows, half in by_reach(outer, self.stamps):
            shape = (t if t is None else t[rows] for t in (inner, outer, elongation, theta))
            difference, total, area = self._sums(rows, half, *shape)
            background = 0.0 if sky is None else area * sky[rows]
            value[rows] = torch.where(total == 0, OUT_OF_RANGE, (difference - background) / total)
        self.stamps.raise_flag(value == OUT_OF_RANGE, SUSPECT)
        return value

    def _sums(self, rows, half, inner, outer, elongation, theta):
        x, y = self.x[rows], self.y[rows]
        ix, iy = torch.round(x).long(), torch.round(y).long()
        weights = ellipse_weights(outer, x - ix, y - iy, half, elongation, theta)
        if inner is not None:
            weights = weights - ellipse_weights(inner, x - ix, y - iy, half, elongation, theta)
        straight, other = turned(self.image[rows], x, y, half)
        mask, opposite = turned(self.stamps.mask[rows], x, y, half)
        weights = weights * (window(self.stamps.frame[rows], ix, iy, half) & ~mask & ~opposite)
        sums = (other - straight).abs_(), straight.abs()
        return *((weights * value).sum((1, 2)) for value in sums), weights.sum((1, 2))

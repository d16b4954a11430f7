"""
Multimode, intensity and deviation of many galaxies at once (Freeman et al. 2013; Peth et al. 2016).

All three are measured within the MID segmentation map: the clump around the source's brightest pixel, above the
quantile of the source's pixel values at which a pixel has a fifth of the clump's mean flux.
"""

import math

import numpy as np
import torch
from torch.nn.functional import max_pool2d

from .compiled import kernels
from .cutouts import BAD
from .filters import gaussian_filter
from .flood import connected_region
from .kernels import on_arrays
from .multimode import multimode

__all__ = ["measure_mid", "segmap_mid"]

ETA = 0.2  # statmorph's: flux of the pixels at the segment's edge over its mean flux
SIGMA = 1.0  # statmorph's sigma_mid, of the smoothing before local maxima are looked for
MARGIN = 5  # pixels around the segment that smoothing reaches, and one more
RELATIVE = 4 * torch.finfo(torch.float64).eps  # scipy.optimize.brentq's rtol
ITERATIONS = 100


def measure_mid(stamps, segmap):
    """
    Measure multimode, intensity and deviation.

    Parameters
    ----------
    stamps : `~astro_galtrans.measure.morphology.cutouts.Stamps`
        The galaxies; flags of those that have no local maximum are raised.
    segmap : `torch.Tensor`
        ``[N, H, W]``, bool: what `segmap_mid` gives.

    Returns
    -------
    dict of str to `torch.Tensor`
        ``multimode``, ``intensity`` and ``deviation``, ``[N]`` float64; NaN where statmorph has -99.
    """
    if loops := kernels("mid", stamps.image):
        pixels = stamps.image, stamps.segment, stamps.mask, segmap
        values = on_arrays(loops.measure_mid, *pixels, stamps.ny, stamps.nx)
        stamps.raise_flag(torch.isnan(values[2]), BAD)
        return dict(zip(("multimode", "intensity", "deviation"), values, strict=True))
    whole = torch.where(segmap, stamps.source_image.clamp(min=0), 0.0)
    part = _Part(whole > 0, stamps)
    image = part.take(whole)
    found = {"multimode": multimode(image, stamps.source.sum((1, 2)))}
    flux, index = _peaks(gaussian_filter(image, SIGMA, part.ny, part.nx), part)
    found["intensity"] = torch.where(flux[:, 1] > 0, flux[:, 1] / flux[:, 0], 0.0)
    y, x = (index // image.shape[2]).double(), (index % image.shape[2]).double()
    total = image.sum((1, 2))
    yc, xc = (_along(image, axis) / total for axis in (1, 2))
    found["deviation"] = math.sqrt(math.pi) * torch.hypot(x - xc, y - yc) / segmap.sum((1, 2)).double().sqrt()
    bad = (flux[:, 0] <= 0) | (total <= 0)
    stamps.raise_flag(bad, BAD)
    found["deviation"] = torch.where(bad, torch.nan, found["deviation"])
    return found


def segmap_mid(stamps, segmap_gini):
    """
    Make the MID segmentation maps (Freeman et al. 2013, section 4.3).

    Parameters
    ----------
    stamps : `~astro_galtrans.measure.morphology.cutouts.Stamps`
        The galaxies; some flags are raised.
    segmap_gini : `torch.Tensor`
        ``[N, H, W]``, bool: used where the MID segmentation map is not defined, as statmorph does.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``, bool.
    """
    if loops := kernels("mid", stamps.image):
        region, pixels = segmap_gini.clone(), (stamps.image, stamps.segment, stamps.mask)
        stamps.raise_flag(on_arrays(loops.segmap_mid, *pixels, stamps.ny, stamps.nx, region), BAD)
        return region
    part = _Part(stamps.source, stamps)
    values = _Values(stamps, part)
    quantile, defined = values.solve()
    stamps.raise_flag(values.dark, BAD)
    clump, threshold = values.clump(quantile, slice(None))
    smooth = _more_than_half(clump, part)
    at_peak = smooth.flatten(1).gather(1, values.peak[:, None])[:, 0]
    stamps.raise_flag(defined & (threshold > 0) & ~at_peak, BAD)
    smooth.view(len(smooth), -1).scatter_(1, values.peak[:, None], True)
    region = part.put(connected_region(smooth, values.peak))
    region = torch.where((threshold > 0)[:, None, None], region, stamps.frame)
    return torch.where(defined[:, None, None], region, segmap_gini)


class _Part:
    """The part of each cutout around some pixels, with a margin, in the corner of a smaller canvas."""

    def __init__(self, pixels, stamps):
        self.shape, ends = pixels.shape, []
        for axis, length in ((2, stamps.ny), (1, stamps.nx)):
            line = pixels.any(axis)
            index = torch.arange(line.shape[1], device=line.device)
            last = torch.where(line, index, 0).amax(1)
            first = torch.minimum(torch.where(line, index, line.shape[1]).amin(1), last)
            ends.append(((first - MARGIN).clamp(min=0), torch.minimum(last + MARGIN + 1, length)))
        (self.y, y1), (self.x, x1) = ends
        self.ny, self.nx, self.bottom, self.left = y1 - self.y, x1 - self.x, self.y == 0, self.x == 0
        self.top, self.right = y1 == stamps.ny, x1 == stamps.nx
        height, width = int(self.ny.max()), int(self.nx.max())
        self.rows, self.columns = (torch.arange(n, device=pixels.device) for n in (height, width))
        self.inside = (self.rows < self.ny[:, None])[:, :, None] & (self.columns < self.nx[:, None])[:, None, :]
        iy = (self.rows + self.y[:, None]).clamp(max=self.shape[1] - 1)
        ix = (self.columns + self.x[:, None]).clamp(max=self.shape[2] - 1)
        self.index = (iy[:, :, None] * self.shape[2] + ix[:, None, :]).flatten(1)

    def take(self, full):
        """The parts of full canvases; zero (False) beyond."""
        return full.flatten(1).gather(1, self.index).view(self.inside.shape) * self.inside

    def put(self, part):
        """Full canvases that are False but for the parts."""
        full = torch.zeros(self.shape, dtype=torch.bool, device=part.device)
        row, y, x = torch.nonzero(part & self.inside, as_tuple=True)
        full[row, y + self.y[row], x + self.x[row]] = True
        return full

    def rim(self):
        """Which pixels are the outermost ones of the cutout, not only of the part."""
        low_y, low_x = self.rows == 0, self.columns == 0
        high_y, high_x = self.rows == self.ny[:, None] - 1, self.columns == self.nx[:, None] - 1
        y = (low_y & self.bottom[:, None]) | (high_y & self.top[:, None])
        x = (low_x & self.left[:, None]) | (high_x & self.right[:, None])
        return y[:, :, None] | x[:, None, :]


class _Values:
    """The sorted values of the sources' pixels, and the clump around the brightest above one of them."""

    def __init__(self, stamps, part):
        source = part.take(stamps.source)
        self.image = part.take(stamps.image).clamp(min=0) * source
        self.number = source.sum((1, 2))
        filled = torch.where(source, self.image, torch.inf).flatten(1)
        self.sorted = _sort(filled)[:, : int(self.number.max())]
        self.peak = self.image.flatten(1).argmax(1)
        self.total, self.area = self.image.sum((1, 2)), stamps.nx * stamps.ny
        self.dark = self.total <= 0

    def clump(self, quantile, rows):
        """The pixels above a quantile that are connected to the brightest, and the value there."""
        index = (quantile * (self.number[rows] - 1)).long().clamp(min=0)
        threshold = self.sorted[rows].gather(1, index[:, None])[:, 0]
        image = self.image[rows]
        return connected_region((image >= threshold[:, None, None]) & (image > 0), self.peak[rows]), threshold

    def excess(self, quantile, rows):
        """Flux at the quantile over the mean flux of the clump above it, minus eta (statmorph's function to solve)."""
        clump, threshold = self.clump(quantile, rows)
        mean = (self.image[rows] * clump).sum((1, 2)) / clump.sum((1, 2))
        mean = torch.where(threshold > 0, mean, self.total[rows] / self.area[rows])  # nothing is fainter than 0
        return threshold / mean - ETA

    def solve(self):
        """Find the quantiles, and whether there is one."""
        low = torch.zeros(len(self.image), dtype=torch.float64, device=self.image.device)
        at_zero = self.excess(low, slice(None))
        high = torch.ones_like(low)
        quantile = brent(self.excess, low, at_zero, high, self.excess(high, slice(None)), 1.0 / self.number)
        return quantile, at_zero <= 0


def brent(function, low, at_low, high, at_high, tolerance):
    """
    Find roots of many functions of one variable, by the steps of `scipy.optimize.brentq`.

    A quantile's function is a staircase: which of the values between two stairs is taken as the root depends on the
    steps, so they are the same.

    Parameters
    ----------
    function : callable
        Of abscissae ``[n]`` and the rows of their functions, ``[n]``, to the values.
    low, high : `torch.Tensor`
        ``[N]``: the brackets.
    at_low, at_high : `torch.Tensor`
        ``[N]``: the values there; where the first is not negative, what is returned means nothing.
    tolerance : `torch.Tensor`
        ``[N]``: absolute, of the root.
    """
    x_pre, f_pre, x_cur, f_cur = low, at_low, high, at_high
    x_blk, f_blk, s_pre, s_cur = (torch.zeros_like(low) for _ in range(4))
    done = f_pre >= 0
    x_cur, f_cur = torch.where(done, x_pre, x_cur), torch.where(done, 0.0, f_cur)
    for _ in range(ITERATIONS):
        crossed = (f_pre != 0) & (f_cur != 0) & (torch.signbit(f_pre) != torch.signbit(f_cur))
        x_blk, f_blk = torch.where(crossed, x_pre, x_blk), torch.where(crossed, f_pre, f_blk)
        s_pre, s_cur = (torch.where(crossed, x_cur - x_pre, s) for s in (s_pre, s_cur))
        swap = f_blk.abs() < f_cur.abs()
        x_pre, x_cur, x_blk = (torch.where(swap, a, b) for a, b in ((x_cur, x_pre), (x_blk, x_cur), (x_cur, x_blk)))
        f_pre, f_cur, f_blk = (torch.where(swap, a, b) for a, b in ((f_cur, f_pre), (f_blk, f_cur), (f_cur, f_blk)))
        delta, half = (tolerance + RELATIVE * x_cur.abs()) / 2, (x_blk - x_cur) / 2
        done = done | (f_cur == 0) | (half.abs() < delta)
        if done.all():
            break
        secant = -f_cur * (x_cur - x_pre) / (f_cur - f_pre)
        d_pre, d_blk = (f_pre - f_cur) / (x_pre - x_cur), (f_blk - f_cur) / (x_blk - x_cur)
        inverse = -f_cur * (f_blk * d_blk - f_pre * d_pre) / (d_blk * d_pre * (f_blk - f_pre))
        step = torch.where(x_pre == x_blk, secant, inverse)
        short = (s_pre.abs() > delta) & (f_cur.abs() < f_pre.abs())
        short &= 2 * step.abs() < torch.minimum(s_pre.abs(), 3 * half.abs() - delta)
        s_pre, s_cur = torch.where(short, s_cur, half), torch.where(short, step, half)
        x_pre, f_pre = torch.where(done, x_pre, x_cur), torch.where(done, f_pre, f_cur)
        moved = x_cur + torch.where(s_cur.abs() > delta, s_cur, torch.where(half > 0, delta, -delta))
        x_cur, left = torch.where(done, x_cur, moved), torch.nonzero(~done).ravel()
        f_cur = f_cur.index_put((left,), function(x_cur[left], left))
    return x_cur


def _sort(values):
    if values.is_cuda:
        return values.sort(1).values
    return torch.from_numpy(np.sort(values.numpy(), axis=1))  # with vector instructions, which torch's sort has not


def _more_than_half(clump, part):
    """More than half of the 3 x 3 pixels around, mirrored at the edges of the cutout, are of the clump."""
    count = clump.to(torch.uint8)
    for axis, length in ((1, part.ny), (2, part.nx)):
        size = count.shape[axis]
        last = torch.arange(size, device=clump.device) == length[:, None] - 1
        last = last[:, :, None] if axis == 1 else last[:, None, :]
        edge = count.narrow(axis, 0, 1)
        before = torch.cat((edge, count.narrow(axis, 0, size - 1)), axis)
        after = torch.cat((count.narrow(axis, 1, size - 1), torch.zeros_like(edge)), axis)
        count = before + count + torch.where(last, count, after)
    return count > 4


def _peaks(smooth, part):
    """
    Flux in the basins of the two brightest local maxima (by flux of the basin), and the pixel of the first.

    A watershed that starts from all local maxima gives each pixel to the brightest of its neighbours, and so does this.
    skimage takes no maxima from the rim of the stamp; their basins, which it floods from elsewhere, are left out here.
    """
    smooth = smooth * part.inside
    highest, index = max_pool2d(smooth, 3, 1, 1, return_indices=True)
    own = torch.arange(smooth[0].numel(), device=smooth.device).view(smooth[0].shape)
    above = torch.where(highest == smooth, own, index).flatten(1)
    while True:
        higher = above.gather(1, above)
        if torch.equal(higher, above):
            break
        above = higher
    flux = torch.zeros_like(smooth).flatten(1).scatter_add_(1, above, smooth.flatten(1))
    flux = torch.where(part.rim().flatten(1), 0.0, flux)
    return flux.topk(2, dim=1).values, flux.argmax(1)


def _along(image, axis):
    """First moment along an axis."""
    index = torch.arange(image.shape[axis], device=image.device, dtype=image.dtype)
    return (image.sum(3 - axis) * index).sum(1)

"""
Petrosian radii, and radii that hold a fraction of the light (Lotz et al. 2004, eq. 4 and section 3.1).

The Petrosian ratio need not fall monotonically, so the radius meant is that of the first root: the same 100 radii as
statmorph's are looked at in turn, from 1 pixel to the cutout's diagonal, and the root is found between two of them.
"""

import math

import torch

from .apertures import EllipticalSums, area_in_rectangle
from .compiled import kernels
from .kernels import on_arrays
from .roots import find_root

__all__ = ["ANNULUS", "ETA", "Light", "by_reach", "fraction_radii", "like_sized", "petrosian_radius"]

ANNULUS, ETA = 1.0, 0.2  # statmorph's annulus_width and eta
GRID = 100  # radii that statmorph looks at
CHUNK = 6  # of them in one go, while all galaxies are looked at
NODES = 11  # radii at which the curve of growth is known before roots are looked for
BEFORE = 3  # grid radii below a guess at which the search begins
TOLERANCE = 1e-3  # pixels, of what brackets the root; statmorph's is 1e-6
GROUPS, SMALLEST_GROUP = 4, 64
HALVES = 12, 20, 32, 48, 80  # half sizes of windows


class Light:
    """
    Flux and area of a batch of cutouts in ellipses.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    """

    def __init__(self, stamps):
        self.loops = kernels("petrosian", stamps.image)
        self.pixels = stamps.image, stamps.mask, stamps.nx, stamps.ny
        self.sums, self.masked = EllipticalSums(stamps.image), stamps.mask.flatten(1).any(1)
        self.valid = EllipticalSums(stamps.valid.double()) if bool(self.masked.any()) else None

    def flux(self, ellipses, a, rows):
        """
        Return the flux in ellipses; masked pixels count as zero.

        Parameters
        ----------
        ellipses : Ellipses
            Centres and shapes, M of them.
        a : `torch.Tensor`
            ``[M, K]``: semimajor axes.
        rows : `torch.Tensor`
            ``[M]``: of which galaxy each is.
        """
        return self.sums(ellipses, a, rows)

    def area(self, ellipses, a, rows):
        """
        Return the area of valid pixels in ellipses (photutils' ``area_overlap``).

        Parameters
        ----------
        ellipses, a, rows
            As of `flux`.
        """
        area = area_in_rectangle(ellipses, a, *(t[rows] for t in self.pixels[2:]))
        if self.valid is not None:
            some = torch.nonzero(self.masked[rows]).ravel()
            area[some] = self.valid(ellipses[some], a[some], rows[some])
        return area

    def petrosian(self, ellipses, a, rows):
        """
        Return the Petrosian ratio less eta, and whether there is no flux to divide by.

        Parameters
        ----------
        ellipses, a, rows
            As of `flux`.
        """
        radii = torch.cat([a, a - ANNULUS / 2, a + ANNULUS / 2], 1)
        flux, inner, outer = self.flux(ellipses, radii, rows).chunk(3, 1)
        area, inner_area, outer_area = self.area(ellipses, radii, rows).chunk(3, 1)
        disc, ring = _mean(flux, area), _mean(outer - inner, outer_area - inner_area)
        ratio = torch.where(disc == 0, (ring != 0).to(disc), ring / disc)
        return ratio - ETA, disc == 0


def _mean(flux, area):
    """Absolute flux per pixel, zero where there is no pixel."""
    return (flux / area.clamp(min=1e-9)).abs() * (area > 1e-9)


def like_sized(radius, rows=None):
    """
    Yield galaxies in groups of like radii, which few operations on short lines suffice for.

    Parameters
    ----------
    radius : `torch.Tensor`
        ``[M]``.
    rows : `torch.Tensor`, optional
        ``[M]``, int64: what to yield parts of; the indices of ``radius`` by default.
    """
    order = torch.argsort(radius)
    order = order if rows is None else rows[order]
    yield from order.split(_part(len(order))) if len(order) else ()


def _part(number):
    """How many galaxies of like size to measure in one go."""
    return max(math.ceil(number / GROUPS), SMALLEST_GROUP)


def _in_parts(function, rows, a):
    """A function of galaxies, which are in order of size, and semimajor axes, a part after the other."""
    number = _part(len(rows))
    return torch.cat([function(*part) for part in zip(rows.split(number), a.split(number), strict=True)])


def by_reach(reach, stamps):
    """
    Yield the rows of galaxies that a size of window suffices for, and half that size.

    Parameters
    ----------
    reach : `torch.Tensor`
        ``[N]``: the largest semimajor axis of each.
    stamps : Stamps
        The cutouts: no window need reach further than they do.
    """
    limit = max(stamps.image.shape[1:])
    left = torch.ones_like(reach, dtype=torch.bool)
    for half in (*(h for h in HALVES if h < limit), limit):
        rows = torch.nonzero(left if half == limit else left & (reach < half - 0.5)).ravel()
        if len(rows):
            left[rows] = False
            yield rows, half


def petrosian_radius(light, ellipses, outer, guess=None):
    """
    Find Petrosian radii.

    Parameters
    ----------
    light : Light
        The galaxies.
    ellipses : Ellipses
        Centres and shapes, N of them.
    outer : `torch.Tensor`
        ``[N]``: the largest semimajor axes to look at.
    guess : `torch.Tensor`, optional
        ``[N]``: about what they are. The search then begins a little below, and from the first radius only where the
        ratio is below eta there already.

    Returns
    -------
    radius : `torch.Tensor`
        ``[N]``: 1 pixel where the ratio is below eta there already, ``outer`` where it never is.
    bad : `torch.Tensor`
        ``[N]``, bool: either of these, or an ellipse without any flux (statmorph's flag 2).
    """
    step = (outer - ANNULUS) / (GRID - 1)
    start = torch.zeros_like(outer) if guess is None else ((guess - ANNULUS) / step - BEFORE).floor()
    start = start.nan_to_num(0.0).clamp(0, GRID)
    if light.loops is not None:
        settings = ETA, ANNULUS, GRID, TOLERANCE
        return on_arrays(light.loops.petrosian_radius, *light.pixels, ellipses.packed, outer, start.long(), settings)
    return _petrosian_together(light, ellipses, outer, step, start)


def _petrosian_together(light, ellipses, outer, step, start):
    """The same with all galaxies side by side."""
    radius = outer.clone()
    ends, values, bad = _first_roots(light, ellipses, step, start)
    radius[ends[:, 1] == ANNULUS] = ANNULUS
    between = torch.nonzero(torch.isfinite(values).all(1)).ravel()
    between = between[torch.argsort(ends[between, 1])]

    def ratio(r, which):
        return _in_parts(lambda rows, a: light.petrosian(ellipses[rows], a[:, None], rows)[0][:, 0], between[which], r)

    radius[between] = find_root(ratio, *ends[between].T, *values[between].T, TOLERANCE)
    bad |= ~torch.isfinite(values).all(1)
    return radius, bad


def _first_roots(light, ellipses, step, start):
    """
    Between which radii of the grid the ratio first falls below eta, the ratios there less eta, and what lacks flux.

    NaN where it never does, and where it does at the first radius.
    """
    ends, values = (torch.full((len(step), 2), torch.nan, dtype=step.dtype, device=step.device) for _ in range(2))
    dark = torch.zeros_like(step, dtype=torch.bool)
    chunk = torch.arange(CHUNK, device=step.device, dtype=step.dtype)
    groups = [torch.arange(len(step), device=step.device)] if not start.any() else like_sized(start * step)
    for left in groups:
        k = start[left]
        while len(left):
            grid = k[:, None] + chunk  # beyond the last radius the answer is not used
            radii = ANNULUS + step[left, None] * grid
            value, empty = light.petrosian(ellipses[left], radii, left)
            below = (value <= 0) & (grid < GRID)
            hit, first = below.any(1), below.to(torch.uint8).argmax(1, keepdim=True)
            dark[left] |= (empty & (chunk <= torch.where(hit[:, None], first, CHUNK)) & (grid < GRID)).any(1)
            again, inside = (first[:, 0] == 0) & hit & (k > 0), hit & (first[:, 0] > 0)
            pair = torch.cat([(first - 1).clamp(min=0), first], 1)
            ends[left[inside]], values[left[inside]] = (t.gather(1, pair)[inside] for t in (radii, value))
            ends[left[hit & (k + first[:, 0] == 0)], 1] = ANNULUS
            stay = again | ~hit & (k + CHUNK < GRID)
            left, k = left[stay], torch.where(again, 0.0, k + CHUNK - 1)[stay]
    return ends, values, dark


def fraction_radii(light, ellipses, total, fractions):
    """
    Find the radii that hold fractions of the light within a larger radius.

    Parameters
    ----------
    light : Light
        The galaxies.
    ellipses : Ellipses
        Centres and shapes, N of them.
    total : `torch.Tensor`
        ``[N]``: the radius that holds all; where it is not positive so is the answer.
    fractions : sequence of float
        Of the light.

    Returns
    -------
    radius : `torch.Tensor`
        ``[N, F]``; the total radius where there is no light.
    bad : `torch.Tensor`
        ``[N]``, bool: the total flux is not positive (statmorph's flag 2).
    """
    wanted = torch.as_tensor(fractions, device=total.device, dtype=total.dtype)
    if light.loops is not None:
        return on_arrays(light.loops.fraction_radii, light.pixels[0], ellipses.packed, total, wanted, NODES, TOLERANCE)
    return _fractions_together(light, ellipses, total, wanted)


def _fractions_together(light, ellipses, total, wanted):
    """The same with all galaxies side by side."""
    radius, bad = total[:, None].repeat(1, len(wanted)), torch.zeros_like(total, dtype=torch.bool)
    share = torch.linspace(0, 1, NODES + 1, device=total.device, dtype=total.dtype)[1:]
    rows = torch.argsort(total)
    rows = rows[total[rows] > 0]
    if not len(rows):
        return radius, bad

    def flux(a, rows):
        return _in_parts(lambda rows, a: light.flux(ellipses[rows], a, rows), rows, a)

    nodes = total[rows, None] * share
    growth = flux(nodes, rows)
    whole = growth[:, -1:]
    ends, values = _brackets(nodes, (growth / whole).abs(), wanted)
    found = find_root(lambda a, which: (flux(a, rows[which]) / whole[which]).abs() - wanted, *ends, *values, TOLERANCE)
    radius[rows] = torch.where(whole == 0, radius[rows], found)
    bad[rows] = whole[:, 0] <= 0
    return radius, bad


def _brackets(nodes, growth, wanted):
    """Between which nodes the curve of growth first exceeds each fraction, and by how much it is off at both."""
    beyond = growth[:, None, :] > wanted[:, None]
    high = torch.where(beyond.any(2), beyond.to(torch.uint8).argmax(2), NODES - 1)
    nodes, growth = (torch.nn.functional.pad(t, (1, 0)) for t in (nodes, growth))
    return [[t.gather(1, k) - shift for k in (high, high + 1)] for t, shift in ((nodes, 0), (growth, wanted))]

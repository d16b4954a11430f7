"""
Petrosian radii, and radii that hold a fraction of the light (Lotz et al. 2004, eq. 4 and section 3.1).

The Petrosian ratio need not fall monotonically, so the radius meant is that of the first root: the same 100 radii as
statmorph's are looked at in turn, from 1 pixel to the cutout's diagonal, and the root is found between two of them.
"""

from dataclasses import dataclass, replace

import torch

from .apertures import EllipticalSums, area_in_rectangle, window
from .roots import find_root

__all__ = ["ANNULUS", "ETA", "Profile", "by_reach", "fraction_radii", "petrosian_radius"]

ANNULUS, ETA = 1.0, 0.2  # statmorph's annulus_width and eta
GRID = 100  # radii that statmorph looks at
CHUNK = 6  # of them in one go
NODES = 11  # of which the curve of growth is known before roots are looked for
HALVES = 12, 20, 32, 48, 80  # half sizes of windows


@dataclass
class Profile:
    """
    Flux and area in ellipses around one centre per galaxy.

    Parameters
    ----------
    flux : EllipticalSums
        Of the image.
    valid : EllipticalSums or None
        Of the pixels that count, where some are masked; otherwise the area is that of the ellipse in the frame.
    x, y : `torch.Tensor`
        ``[N, 2]``: the frame's sides relative to the centre.
    elongation, theta : `torch.Tensor` or None
        ``[N]``: the ellipses' shape; None for circles.
    """

    flux: EllipticalSums
    valid: EllipticalSums | None
    x: torch.Tensor
    y: torch.Tensor
    elongation: torch.Tensor | None
    theta: torch.Tensor | None

    @classmethod
    def around(cls, stamps, x, y, half, elongation=None, theta=None):
        """
        Prepare the sums of a batch of cutouts.

        Parameters
        ----------
        stamps : Stamps
            The cutouts.
        x, y : `torch.Tensor`
            ``[N]``: the centres, in pixels of the cutouts.
        half : int
            Of the largest semimajor axis to come.
        elongation, theta : `torch.Tensor`, optional
            ``[N]``: ratio and angle of the axes.
        """
        ix, iy = torch.round(x).long(), torch.round(y).long()
        shape = x - ix, y - iy, elongation, theta
        masked = bool(stamps.mask.any())
        valid = EllipticalSums(window(stamps.valid.double(), ix, iy, half), *shape) if masked else None
        flux = EllipticalSums(window(stamps.image, ix, iy, half), *shape)
        sides = (torch.stack([-0.5 - c, n - 0.5 - c], 1) for c, n in ((x, stamps.nx), (y, stamps.ny)))
        return cls(flux, valid, *sides, elongation, theta)

    def select(self, rows):
        """Return the profiles of some galaxies: ``rows``, bool ``[N]`` or indices."""
        valid = None if self.valid is None else self.valid.select(rows)
        shape = (None if t is None else t[rows] for t in (self.elongation, self.theta))
        return replace(self, flux=self.flux.select(rows), valid=valid, x=self.x[rows], y=self.y[rows],
                       **dict(zip(("elongation", "theta"), shape, strict=True)))  # fmt: skip

    def area(self, a):
        """
        Return the area of valid pixels in ellipses (photutils' ``area_overlap``).

        Parameters
        ----------
        a : `torch.Tensor`
            ``[N, K]``: semimajor axes.
        """
        if self.valid is not None:
            return self.valid(a)
        many = (t.repeat_interleave(a.shape[1], 0) if t is not None else None
                for t in (self.x, self.y, self.elongation, self.theta))  # fmt: skip
        return area_in_rectangle(a.flatten(), *many).view(a.shape)

    def mean(self, inner, outer):
        """
        Return the mean flux per valid pixel between two ellipses, zero where there is none.

        Parameters
        ----------
        inner, outer : `torch.Tensor`
            ``[N, K]``: semimajor axes; the inner may be None.
        """
        radii = outer if inner is None else torch.cat([outer, inner], 1)
        flux, area = self.flux(radii), self.area(radii)
        if inner is not None:
            flux, area = (t[:, : outer.shape[1]] - t[:, outer.shape[1] :] for t in (flux, area))
        return torch.where(area > 1e-9, flux / area, 0.0)

    def petrosian(self, a):
        """
        Return the Petrosian ratio less eta, and whether there is no flux to divide by.

        Parameters
        ----------
        a : `torch.Tensor`
            ``[N, K]``: semimajor axes.
        """
        ring, disc = self.mean(a - ANNULUS / 2, a + ANNULUS / 2).abs(), self.mean(None, a).abs()
        ratio = torch.where(disc == 0, (ring != 0).double(), ring / disc)
        return ratio - ETA, disc == 0


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


def petrosian_radius(stamps, x, y, elongation=None, theta=None):
    """
    Find Petrosian radii, and flag those that are undefined (2) as statmorph does.

    Parameters
    ----------
    stamps : Stamps
        The cutouts.
    x, y : `torch.Tensor`
        ``[N]``: the centres, in pixels of the cutouts.
    elongation, theta : `torch.Tensor`, optional
        ``[N]``: ratio and angle of the axes, for a semimajor axis rather than a radius.

    Returns
    -------
    `torch.Tensor`
        ``[N]``: 1 pixel where the ratio is below eta there already, the largest radius where it never is.
    """
    outer = stamps.diagonal if elongation is None else stamps.diagonal * elongation
    radius, bad = outer.clone(), torch.ones_like(outer, dtype=torch.bool)
    dark = torch.zeros_like(bad)
    left, k = torch.arange(len(stamps), device=x.device), 0
    limit = max(stamps.image.shape[1:])
    for half in (*(h for h in HALVES if h < limit), limit):
        step = (outer[left] - ANNULUS) / (GRID - 1)
        stop = GRID if half == limit or not len(left) else int((half - 0.5 - 1.5 * ANNULUS) / float(step.max())) + 1
        if not len(left) or stop - k < 2:
            continue
        shape = (t if t is None else t[left] for t in (elongation, theta))
        profile = Profile.around(stamps.select(left, shrink=False), x[left], y[left], half, *shape)
        found, radius[left], bad[left], dark_here = _scan(profile, ANNULUS, step, k, min(stop, GRID), outer[left])
        dark[left] |= dark_here
        left, k = left[~found], min(stop, GRID) - 1
    stamps.raise_flag(bad | dark, 2)
    return radius


def _scan(profile, inner, step, start, stop, outer):
    """Look for the first root from grid radius ``start`` to ``stop``: is there one, it, is it bad, is there no flux."""
    radius, bad = outer.clone(), torch.ones_like(outer, dtype=torch.bool)
    found, left = torch.zeros_like(bad), torch.arange(len(outer), device=outer.device)
    dark = torch.zeros_like(bad)
    k = start
    while k < stop and len(left):
        grid = torch.arange(k, min(k + CHUNK, stop), device=outer.device, dtype=outer.dtype)
        here = profile if len(left) == len(outer) else profile.select(left)
        radii = inner + step[left, None] * grid
        value, empty = here.petrosian(radii)
        below = value <= 0
        hit, first = below.any(1), below.to(torch.uint8).argmax(1)
        seen = torch.arange(len(grid), device=outer.device) <= torch.where(hit, first, len(grid))[:, None]
        dark[left] |= (empty & seen).any(1)
        at_once = hit & (first == 0) & (k == 0)  # below eta at the first radius of all
        low = first.clamp(min=1)[:, None]
        ends = [torch.cat([t.gather(1, low - 1), t.gather(1, low)], 1) for t in (radii, value)]
        rows = torch.nonzero(hit & ~at_once).ravel()
        if len(rows):
            chosen = here.select(rows)
            radius[left[rows]] = find_root(
                lambda r, chosen=chosen: chosen.petrosian(r[:, None])[0][:, 0], *ends[0][rows].T, *ends[1][rows].T
            )
        radius[left[at_once]] = inner
        bad[left[hit & ~at_once]] = False
        found[left[hit]] = True
        left, k = left[~hit], k + CHUNK - 1  # the last radius begins the next chunk, as the lower end of its bracket
        if k >= stop - 1:
            break
    return found, radius, bad, dark


def fraction_radii(profile, total_radius, fractions):
    """
    Find the radii that hold fractions of the light within a larger radius.

    Parameters
    ----------
    profile : Profile
        The galaxies' sums.
    total_radius : `torch.Tensor`
        ``[N]``: the radius that holds all, positive.
    fractions : sequence of float
        Of the light.

    Returns
    -------
    radius : `torch.Tensor`
        ``[N, F]``; the total radius where there is no light.
    bad : `torch.Tensor`
        ``[N]``, bool: the total flux is not positive (statmorph's flag 2).
    """
    share = torch.linspace(0, 1, NODES + 1, device=total_radius.device, dtype=total_radius.dtype)[1:]
    nodes = total_radius[:, None] * share
    flux = profile.flux(nodes)
    total = flux[:, -1:]
    growth = (flux / total).abs()
    wanted = torch.as_tensor(fractions, device=nodes.device, dtype=nodes.dtype)
    beyond = growth[:, None, :] > wanted[:, None]
    high = torch.where(beyond.any(2), beyond.to(torch.uint8).argmax(2), NODES - 1)
    nodes, growth = (torch.cat([torch.zeros_like(t[:, :1]), t], 1) for t in (nodes, growth))
    ends = [nodes.gather(1, high), nodes.gather(1, high + 1)]
    values = [growth.gather(1, high) - wanted, growth.gather(1, high + 1) - wanted]
    radius = find_root(lambda r: (profile.flux(r) / total).abs() - wanted, *ends, *values)
    return torch.where(total == 0, total_radius[:, None], radius), total[:, 0] <= 0

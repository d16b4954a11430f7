"""
The batch of cutouts that every measurement of morphology works on, and the checks that make it.

statmorph measures on a cutout around the source, 2.5 times as large as the source's bounding box and of 48 pixels or
more, and several of its filters mirror the image at the edges of that cutout. Cutouts differ in size from galaxy to
galaxy, so each lies in the lower left corner of a canvas that holds the largest; ``frame`` has its pixels.
"""

from dataclasses import dataclass, fields, replace

import torch

from .compiled import kernels
from .kernels import on_arrays

__all__ = ["CATASTROPHIC", "CENTRAL", "GOOD", "BAD", "SUSPECT", "Stamps", "central_label", "cut_out"]

GOOD, SUSPECT, BAD, CATASTROPHIC = 0, 1, 2, 4  # statmorph's flags
CENTRAL = 1  # the label of the source to measure where a segmentation map is boolean
EXTENT, SMALLEST = 2.5, 48  # statmorph's cutout_extent and min_cutout_size
OUTLIER = 10  # statmorph's n_sigma_outlier


@dataclass
class Stamps:
    """
    A batch of cutouts, ``[N, H, W]``, in float64; pixel [0, 0] of a canvas is the lower left one of its cutout.

    Parameters
    ----------
    image : `torch.Tensor`
        Flux, zero where masked and outside the cutout (statmorph's ``_cutout_stamp_maskzeroed``).
    frame : `torch.Tensor`
        Bool: the pixels of the cutout.
    mask : `torch.Tensor`
        Bool: pixels of the cutout to ignore: other sources, the user's mask, NaN, outliers (``_mask_stamp``).
    segment : `torch.Tensor`
        Bool: the source's pixels, masked ones too.
    empty : `torch.Tensor`
        Bool: pixels of the cutout that belong to no source and are not in the user's mask: where the sky may be found.
    raw : `torch.Tensor`
        The image without its masked pixels set to zero, but with those that are not finite: for the weight map.
    sigma : `torch.Tensor` or None
        Standard deviation of each pixel, if the user gave it.
    gain : `torch.Tensor` or None
        ``[N]``: electrons per unit of flux, which makes the weight map where ``sigma`` is missing.
    nx, ny : `torch.Tensor`
        ``[N]``, int64: size of each cutout.
    xmin, ymin : `torch.Tensor`
        ``[N]``, int64: where it begins in the input image.
    row : `torch.Tensor`
        ``[N]``, int64: the row of the input.
    flag : `torch.Tensor`
        ``[N]``, int64: statmorph's flag as it stands; changed in place by `raise_flag`.
    """

    image: torch.Tensor
    frame: torch.Tensor
    mask: torch.Tensor
    segment: torch.Tensor
    empty: torch.Tensor
    raw: torch.Tensor
    sigma: torch.Tensor | None
    gain: torch.Tensor | None
    nx: torch.Tensor
    ny: torch.Tensor
    xmin: torch.Tensor
    ymin: torch.Tensor
    row: torch.Tensor
    flag: torch.Tensor

    def __len__(self):
        return len(self.image)

    @property
    def valid(self):
        """Bool ``[N, H, W]``: pixels of the cutout that are not masked, over which statmorph counts areas."""
        return self.frame & ~self.mask

    @property
    def source(self):
        """Bool ``[N, H, W]``: unmasked pixels of the source (the complement of ``_mask_stamp_no_bg``)."""
        return self.segment & ~self.mask

    @property
    def source_image(self):
        """Flux of the source's pixels, zero elsewhere (``_cutout_stamp_maskzeroed_no_bg``)."""
        return torch.where(self.segment, self.image, 0.0)

    @property
    def diagonal(self):
        """Length of each cutout's diagonal, ``[N]`` float64: statmorph's largest radius."""
        return torch.hypot(self.nx.double(), self.ny.double())

    def weightmap(self, sky_sigma):
        """
        Return the standard deviation of each pixel, zero where masked (statmorph's ``_weightmap_stamp``).

        Parameters
        ----------
        sky_sigma : `torch.Tensor`
            ``[N]``: of the sky box; used only where the user gave no ``sigma``.
        """
        sigma = self.sigma
        if sigma is None:
            sigma = torch.sqrt(self.raw.abs() / self.gain[:, None, None] + sky_sigma[:, None, None] ** 2)
        return torch.where(self.valid, sigma, 0.0)

    def raise_flag(self, where, level):
        """
        Raise the flag of some galaxies to a level, never lowering it.

        Parameters
        ----------
        where : `torch.Tensor`
            ``[N]``, bool.
        level : int
            `SUSPECT`, `BAD` or `CATASTROPHIC`.
        """
        torch.where(where, self.flag.clamp(min=level), self.flag, out=self.flag)

    def select(self, rows, *, shrink=True):
        """
        Return the batch of some rows.

        Parameters
        ----------
        rows : `torch.Tensor`
            Bool ``[N]`` or indices.
        shrink : bool, optional
            To the smallest canvas that holds their cutouts?
        """
        height, width = self.image.shape[1:]
        if shrink and len(self.ny[rows]):
            height, width = int(self.ny[rows].max()), int(self.nx[rows].max())
        changes = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in changes.items():
            if value is not None:
                value = value[:, :height, :width] if value.ndim == 3 else value
                changes[name] = value[rows]
        return replace(self, **changes)


def central_label(segmap):
    """
    Return the label of the source at the centre of each stamp.

    Parameters
    ----------
    segmap : `torch.Tensor`
        ``[N, H, W]``: labels, or bool.

    Returns
    -------
    `torch.Tensor`
        ``[N]``, int64: the label of pixel (H // 2, W // 2), else the largest of the 3 x 3 pixels around it (a hole or
        a masked pixel may sit in the centre), else 0: the segmentation map misses the centre.
    """
    height, width = segmap.shape[1:]
    y, x = height // 2, width // 2
    middle = segmap[:, y, x].long()
    around = segmap[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].long().amax((1, 2))
    return torch.where(middle > 0, middle, around)


def cut_out(images, segmap, *, mask=None, sigma=None, gain=None):
    """
    Make the batch of cutouts.

    Parameters
    ----------
    images : `torch.Tensor`
        ``[N, H, W]``, background-subtracted.
    segmap : `torch.Tensor`
        ``[N, H, W]``: bool (the source), or labels, of which that in the centre is the source (`central_label`).
    mask, sigma : `torch.Tensor`, optional
        ``[N, H, W]``: pixels to ignore (bool); standard deviation of each pixel.
    gain : `torch.Tensor`, optional
        ``[N]``: electrons per unit of flux.

    Returns
    -------
    stamps : Stamps
        Those galaxies that can be measured.
    row : `torch.Tensor`
        Int64: the rows of those that cannot, because there is no source in the centre or its flux is not positive:
        statmorph's flag 4.
    """
    label = central_label(segmap)
    found = torch.nonzero(label > 0).ravel()
    make = _cut if len(found) and kernels("stamps", images) else _gathered
    stamps, flux = make(images.double(), segmap, label, mask, None if sigma is None else sigma.double(), found)
    stamps.gain = None if gain is None else gain[found]
    every = torch.ones(len(images), dtype=torch.bool, device=images.device)
    every[found[flux > 0]] = False
    return stamps if bool((flux > 0).all()) else stamps.select(flux > 0), torch.nonzero(every).ravel()


def _cut(images, segmap, label, mask, sigma, found):
    """All cutouts, and the flux of each source; in compiled loops."""
    loops, nothing = kernels("stamps", images), images[:0]
    segmap = segmap.view(torch.uint8) if segmap.dtype == torch.bool else segmap.long()
    box = on_arrays(loops.boxes, segmap, label, found)
    size = len(found), *box[:, [3, 2]].amax(0).tolist()
    values, marks = (
        images.new_zeros(3 if sigma is not None else 2, *size),
        nothing.new_zeros(4, *size, dtype=torch.bool),
    )
    given = nothing.bool() if mask is None else mask, nothing if sigma is None else sigma
    flux = on_arrays(loops.cut, images, segmap, label, *given, found, box, values, marks)
    fields = dict(zip(("image", "raw", "sigma"), (*values, None), strict=False))  # None: no sigma was given
    fields |= dict(zip(("frame", "mask", "segment", "empty"), marks, strict=True))
    fields |= dict(zip(("xmin", "ymin", "nx", "ny"), box.T.contiguous(), strict=True))
    return Stamps(**fields, gain=None, row=found, flag=torch.zeros_like(found)), flux


def _gathered(images, segmap, label, mask, sigma, found):
    """The same in torch."""
    mine = segmap[found].long() == label[found, None, None]
    box = _boxes(mine)
    pick = _picker(box, images.shape[1:])
    image, segment = pick(images[found], torch.nan), pick(mine, False)
    taken = pick((segmap[found] != 0) & ~mine, True)
    frame = pick(torch.ones_like(mine), False)
    user = torch.zeros_like(frame) if mask is None else pick(mask[found], False)
    sigma = None if sigma is None else pick(sigma[found], torch.nan)
    unusable = ~torch.isfinite(image) if sigma is None else ~(torch.isfinite(image) & torch.isfinite(sigma))
    ignored = frame & (taken | user | unusable | _outliers(image, box))
    stamps = Stamps(
        image=torch.where(frame & ~ignored, image, 0.0),
        frame=frame,
        mask=ignored,
        segment=segment,
        empty=frame & ~segment & ~taken & ~user,
        raw=image,
        sigma=sigma,
        gain=None,
        **box,
        row=found,
        flag=torch.zeros_like(found),
    )
    return stamps, stamps.source_image.sum((1, 2))


def _boxes(mine):
    """Corner and size of each cutout: statmorph's ``_slice_stamp``."""
    y0, y1 = _extent(mine.any(2))
    x0, x1 = _extent(mine.any(1))
    longest = torch.maximum(y1 - y0, x1 - x0)
    reach = (longest * (EXTENT / 2)).long().clamp(min=SMALLEST // 2)
    y, x = y0 + (y1 - y0) // 2, x0 + (x1 - x0) // 2
    height, width = mine.shape[1:]
    ymin, xmin = (y - reach).clamp(min=0), (x - reach).clamp(min=0)
    ny, nx = (y + reach).clamp(max=height) - ymin, (x + reach).clamp(max=width) - xmin
    return {"xmin": xmin, "ymin": ymin, "nx": nx, "ny": ny}


def _extent(line):
    """First True of each row, and one past the last."""
    index = torch.arange(line.shape[1], device=line.device)
    first = torch.where(line, index, line.shape[1]).amin(1) if line.numel() else line.sum(1)
    return first, torch.where(line, index + 1, 0).amax(1) if line.numel() else first


def _picker(box, shape):
    """A function that moves the cutouts of full stamps to the corners of canvases."""
    size = [int(box[n].max()) if len(box[n]) else length for n, length in zip(("ny", "nx"), shape, strict=True)]
    y, x = (torch.arange(n, device=box["nx"].device) for n in size)
    inside = (y < box["ny"][:, None])[:, :, None] & (x < box["nx"][:, None])[:, None, :]
    iy = (y + box["ymin"][:, None]).clamp(max=shape[0] - 1)
    ix = (x + box["xmin"][:, None]).clamp(max=shape[1] - 1)
    index = (iy[:, :, None] * shape[1] + ix[:, None, :]).flatten(1)

    def pick(full, outside):
        return torch.where(inside, full.flatten(1).gather(1, index).view(inside.shape), outside)

    return pick


def _outliers(image, box):
    """Pixels 10 sigma from the mean of their eight neighbours (statmorph's ``_get_badpixels``; Lotz et al. 2004)."""
    height, width = image.shape[1:]
    y, x = (torch.arange(-1, n + 1, device=image.device) for n in (height, width))
    iy = torch.minimum(y.clamp(min=0), box["ny"][:, None] - 1)  # the edge pixel repeats
    ix = torch.minimum(x.clamp(min=0), box["nx"][:, None] - 1)
    filled = torch.where(torch.isnan(image), 0.0, image)  # only NaN: an infinite pixel spoils its neighbourhood
    padded = filled.flatten(1).gather(1, (iy[:, :, None] * width + ix[:, None, :]).flatten(1))
    padded = padded.view(-1, height + 2, width + 2)
    mean = _around(padded)
    spread = torch.sqrt(_around(padded**2) - mean**2)
    return (image - mean).abs() > OUTLIER * spread


def _around(padded):
    """The mean of each inner pixel's eight neighbours."""
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (total - padded[:, 1:-1, 1:-1]) / 8

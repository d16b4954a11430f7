"""The stack of bands, and the door in."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from astropy import units as u

from astro_galtrans._warn import warn
from astro_galtrans.bands import parse_bands
from astro_galtrans.geometry import same_grid
from astro_galtrans.units import flux_factor, flux_zeropoint, parse_unit

from ._cards import PROVENANCE_CARDS, add_provenance, common_meta, set_card, stated_seeing
from ._layers import load, narrowed
from ._opening import Origin

__all__ = ["BandStack", "Plane", "read", "select", "to_unit"]


class Plane(NamedTuple):
    """One band of a stack on its own grid."""

    data: np.ndarray  #: flux, [H, W]
    variance: np.ndarray | None  #: [H, W], in the unit of the flux squared
    mask: np.ndarray | None  #: [H, W] bool, True where the pixel is bad
    wcs: object  #: celestial 2-D WCS, astropy's or any APE 14 one

    @property
    def good(self):
        """Pixels that are finite and not masked, bool [H, W]."""
        return np.isfinite(self.data) if self.mask is None else np.isfinite(self.data) & ~self.mask


@dataclass(frozen=True)
class BandStack:
    """
    Images of the same sky in several bands, as plain arrays.

    While the bands lie on different grids, ``data``, ``variance``, ``mask`` and ``wcs`` are tuples, one item per band.

    Attributes
    ----------
    data : `~numpy.ndarray`, [C, H, W]
        Flux per pixel, float32 or float64 in the machine's byte order.
    variance : `~numpy.ndarray` or None, [C, H, W]
        Variance of the flux.
    mask : `~numpy.ndarray` or None, [C, H, W] bool
        True where a pixel is bad.
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        Celestial, two pixel axes.
    bands : tuple of str
        Short names in the order of the planes.
    unit : `~astropy.units.UnitBase`
        Unit of all planes.
    zeropoint : float
        AB magnitude of one flux unit, for all planes.
    meta : `~astropy.io.fits.Header` or dict
        Cards that hold for every band and do not go stale when the image is translated.
    origin : `Origin`
        The kind of object that came in.
    notes : dict of str to str
        How the files were understood, by names of `PROVENANCE_CARDS`: ``bad_planes`` (what was taken as bad),
        ``noise`` (where the variance is from), ``zeropoint`` (card, system and time base) and ``pixels`` (what was done
        to their values). They are in ``meta``, too.
    psf : `~numpy.ndarray`, dict or None
        Image of the PSF of each band, ``[C, k, k]`` of sum 1, which `write_like` puts where ``CCDData`` has it; of
        stamps what `psf_by_band` returns. It is that of these pixels, and a stack with other images is without.
    labels : dict of str to str
        What each band was read from, for messages.
    seeing : dict of str to float
        FWHM of stars (arcsec) by band, where a header states it in a card `SEEING_CARDS` that names its unit.
    """

    data: np.ndarray | tuple
    variance: np.ndarray | tuple | None
    mask: np.ndarray | tuple | None
    wcs: object
    bands: tuple[str, ...]
    unit: u.UnitBase
    zeropoint: float
    meta: object = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    notes: dict = field(default_factory=dict)
    psf: np.ndarray | None = None
    labels: dict = field(default_factory=dict)
    seeing: dict = field(default_factory=dict)

    @property
    def planes(self):
        """List of one `Plane` per band."""
        none = (None,) * len(self.bands)
        variance, mask = (none if column is None else column for column in (self.variance, self.mask))
        return [Plane(*plane) for plane in zip(self.data, variance, mask, self.grids, strict=True)]

    @property
    def grids(self):
        """Tuple of one WCS per band."""
        return self.wcs if isinstance(self.wcs, tuple) else (self.wcs,) * len(self.bands)

    @property
    def on_one_grid(self):
        """Whether all bands have one shape, and WCS that agree to 1e-3 pixel across the image."""
        return not isinstance(self.wcs, tuple)

    def with_planes(self, planes, bands=None, **changes):
        """
        Return a new stack with other images.

        Parameters
        ----------
        planes : iterable of `Plane` or of (data, variance, mask, wcs)
            One per band; all or none have a variance, and planes without a mask among masked ones are taken as good.
        bands : iterable of str, optional
            Their names; those of this stack by default.
        **changes
            Other attributes to replace: ``unit``, ``zeropoint``, ``meta``, ``origin``, ``psf``.

        Returns
        -------
        `BandStack`
            With arrays of shape [C, H, W] if the planes share a grid, else with tuples.

        Raises
        ------
        ValueError
            If the number of planes and of bands differ, or some planes have a variance and some not.
        """
        bands = self.bands if bands is None else tuple(bands)
        changes = {"psf": None, **changes}
        return replace(self, **_gather([Plane(*plane) for plane in planes], bands), **changes)

    def with_provenance(self, **provenance):
        """
        Return a new stack whose ``meta`` says how it was made.

        Parameters
        ----------
        **provenance
            Any of the names in `PROVENANCE_CARDS`: ``translator``, ``weights_hash``, ``version``, ``seed``, ``date``,
            ``alignment`` and others. Each goes to the card given there; None is left out.

        Returns
        -------
        `BandStack`

        Raises
        ------
        ValueError
            If a name is not one of `PROVENANCE_CARDS`.
        """
        return replace(self, meta=add_provenance(self.meta, provenance))


def read(image, bands=None, *, zeropoint=None, unit=None, align=True, bad_planes=None, strict=False):
    """
    Read an image of any accepted kind.

    Parameters
    ----------
    image : `~astropy.nddata.NDData`, FITS HDU, `~astropy.io.fits.HDUList`, path, or list or dict of them
        One object may hold one band (2-D) or several (3-D: band, y, x). Paths may end in ``.fits``, ``.fz``, ``.gz`` or
        ``.bz2`` and name an extension, ``"file.fits[SCI]"``. The keys of a dict are band names.
    bands : str or iterable of str, optional
        The bands to take, in order. Where an image says which bands it holds (keys of a dict, names of extensions,
        ``FILTER``-like cards, ``BANDS`` or ``BAND1``... for a cube) they are found by name; else they name the planes.
    zeropoint : float or mapping of str to float, optional
        AB magnitude of one count, for all bands or by band; for an image in counts whose header has none.
    unit : str or `~astropy.units.UnitBase`, optional
        Unit of the pixels. It overrides what the image says.
    align : bool, optional
        Whether bands may lie on different grids. This function never resamples: such a stack holds tuples.
    bad_planes : str, int or iterable of these, optional
        Which planes of a mask of bits mark bad pixels: their names or bit numbers; ``"nonzero"`` or ``"zero"`` for
        masks without planes in which that is bad; ``"none"`` to leave masks out. By default what the survey's
        convention says, see :ref:`formats`.
    strict : bool, optional
        Raise, instead of warning, if a file does not match its checksums.

    Returns
    -------
    `BandStack`
        In the unit and zero point of the first band. The arrays are the stack's own; ``image`` is not touched.

    Raises
    ------
    ValueError
        If bands, unit, zero point or a celestial WCS are missing, shapes do not match, a band has no usable pixel, or
        grids differ with ``align=False``; if a file holds several images that are no bands, a mask calls all bad, or a
        zero point is not AB.
    TypeError
        If the object is of none of these kinds.
    OSError
        If a file does not exist or is empty, truncated or not FITS.

    Warns
    -----
    GaltransWarning
        If a file holds an extension as large as the image that is not understood, or planes of a mask of which no
        convention says what they mean; or if the files of some bands only say how noisy they are.
    """
    layers, origin = load(image, bands, unit=unit, zeropoint=zeropoint, bad_planes=bad_planes, strict=strict)
    layers = _with_noise_in_all(layers)
    first = layers[0]
    gathered = _gather([_in_unit_of(first, layer) for layer in layers], tuple(layer.band for layer in layers))
    meta = common_meta([layer.meta for layer in layers], [layer.band for layer in layers])
    notes = _joined_notes(layers)
    for name, text in notes.items():
        set_card(meta, PROVENANCE_CARDS[name][0], text)
    stack = BandStack(
        **gathered, unit=first.unit, zeropoint=first.zeropoint, meta=meta, origin=origin, notes=notes,
        labels={layer.band: layer.label for layer in layers},
        seeing={layer.band: fwhm for layer in layers if (fwhm := stated_seeing(layer.meta))},
    )  # fmt: skip
    if not (align or stack.on_one_grid):
        off = ", ".join(_off_grid(stack))
        msg = f"bands on another grid than {stack.bands[0]}: {off}; align=True resamples them to one"
        raise ValueError(msg)
    return stack


def select(stack, bands):
    """
    Take some bands of a stack, in a given order.

    Parameters
    ----------
    stack : `BandStack`
    bands : str or iterable of str
        Names as in `~astro_galtrans.bands.parse_bands`.

    Returns
    -------
    `BandStack`
        Of the named bands only, in that order.

    Raises
    ------
    ValueError
        If the stack lacks some of them; the message names these.
    """
    wanted = parse_bands(bands)
    if wanted == stack.bands:
        return stack
    missing = [band for band in wanted if band not in stack.bands]
    if missing:
        has, needs = ", ".join(stack.bands), ", ".join(wanted)
        msg = f"missing bands: {', '.join(missing)}; the image has {has}, and {needs} are needed"
        raise ValueError(msg)
    planes = dict(zip(stack.bands, stack.planes, strict=True))
    return stack.with_planes([planes[band] for band in wanted], bands=wanted)


def to_unit(stack, unit, zeropoint=None):
    """
    Convert flux and variance to another unit.

    Parameters
    ----------
    stack : `BandStack`
    unit : str or `~astropy.units.UnitBase`
    zeropoint : float, optional
        AB magnitude of one unit; needed for counts.

    Returns
    -------
    `BandStack`
    """
    unit = parse_unit(unit)
    zeropoint = flux_zeropoint(unit, zeropoint=zeropoint)
    if zeropoint == stack.zeropoint:
        return replace(stack, unit=unit)
    factor = flux_factor(stack.zeropoint, zeropoint)
    return stack.with_planes([_scaled(plane, factor) for plane in stack.planes], unit=unit, zeropoint=zeropoint)


def _with_noise_in_all(layers):
    """Leave out the noise that files have of some bands only; of objects that is an error, since it can be given."""
    without = [layer.band for layer in layers if layer.variance is None]
    found = [layer for layer in layers if layer.variance is not None]
    if not without or not found or not all("noise" in layer.notes for layer in found):
        return layers
    have = ", ".join(layer.band for layer in found)
    msg = f"the files of bands {', '.join(without)} do not say how noisy they are: the noise of {have} is not used"
    warn(msg, stacklevel=4)
    quiet = [{name: text for name, text in layer.notes.items() if name != "noise"} for layer in layers]
    return [layer._replace(variance=None, notes=notes) for layer, notes in zip(layers, quiet, strict=True)]


def _joined_notes(layers):
    """Notes of all bands by name: once where they are the same, else band by band."""
    notes = {}
    for name in dict.fromkeys(name for layer in layers for name in layer.notes):
        texts = {layer.band: layer.notes[name] for layer in layers if name in layer.notes}
        same = len(set(texts.values())) == 1 and len(texts) == len(layers)
        parts = [next(iter(texts.values()))] if same else [f"{band}: {text}" for band, text in texts.items()]
        notes[name] = "; ".join(parts)
    return notes


def _gather(planes, bands):
    """Attributes of a stack that come from its planes."""
    if len(planes) != len(bands) or not planes:
        msg = f"{len(planes)} images for {len(bands)} bands ({', '.join(bands)}); expected one image per band"
        raise ValueError(msg)
    columns = {
        "data": _one_dtype([plane.data for plane in planes]),
        "variance": _variances(planes, bands),
        "mask": _masks(planes),
    }
    grids = tuple(plane.wcs for plane in planes)
    if all(_same_grid(plane, planes[0]) for plane in planes[1:]):
        columns = {name: None if column is None else np.stack(column) for name, column in columns.items()}
        grids = grids[0]
    return {**columns, "wcs": grids, "bands": bands}


def _same_grid(plane, first):
    return plane.data.shape == first.data.shape and same_grid(plane.wcs, first.wcs, first.data.shape)


def _off_grid(stack):
    first, *others = stack.planes
    return [band for band, plane in zip(stack.bands[1:], others, strict=True) if not _same_grid(plane, first)]


def _one_dtype(arrays):
    dtype = np.result_type(*arrays)
    return tuple(array.astype(dtype, copy=False) for array in arrays)


def _variances(planes, bands):
    without = [band for plane, band in zip(planes, bands, strict=True) if plane.variance is None]
    if len(without) == len(bands):
        return None
    if without:
        msg = f"bands {', '.join(without)} have no uncertainty while others have one; give all bands one, or none"
        raise ValueError(msg)
    return _one_dtype([plane.variance for plane in planes])


def _masks(planes):
    if all(plane.mask is None for plane in planes):
        return None
    return tuple(np.zeros(p.data.shape, bool) if p.mask is None else np.asarray(p.mask, bool) for p in planes)


def _in_unit_of(first, layer):
    """Plane of a layer, in the unit of the first one."""
    plane = Plane(layer.data, layer.variance, layer.mask, layer.wcs)
    same = layer.zeropoint == first.zeropoint
    return plane if same else _scaled(plane, flux_factor(layer.zeropoint, first.zeropoint))


def _scaled(plane, factor):
    # the factor takes the dtype of the data, so that float32 stays float32; its square may not fit in there
    data = plane.data * plane.data.dtype.type(factor)
    variance = plane.variance
    if variance is not None:
        variance = narrowed(variance.astype(np.float64) * factor**2, data.dtype)
    return plane._replace(data=data, variance=variance)

"""`Stamps`: images of many galaxies from one survey, with all that is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from os import PathLike

import numpy as np
from astropy import units as u

from astro_galtrans.bands import parse_bands
from astro_galtrans.surveys import Survey, get_survey
from astro_galtrans.units import flux_factor, flux_zeropoint, parse_unit

from .lazy import as_array, middle

__all__ = ["Stamps", "as_stamps", "check_noise", "same_galaxies", "translations"]

BUDGET = 2**23  # pixels in memory at once: 32 MiB
RESERVED = "source", "target"  # names that tables of results use


@dataclass(frozen=True, eq=False)
class Stamps:
    """
    Images of N galaxies from one survey, with all that is known of them.

    They are checked once, when made, and read in blocks: ``images``, ``mask`` and ``variance`` may be numpy or dask
    arrays, memory maps, HDF5 data sets, or anything else with a shape, a dtype and slices.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``, or ``[N, S, C, H, W]`` with S samples of each galaxy: background-subtracted flux per pixel in
        the survey's unit, the galaxy in the middle.
    survey : str, path-like or `~astro_galtrans.surveys.Survey`
        Limited to the C bands of the images, in this order.
    pixel_scale : float, optional
        In arcsec; the survey's by default.
    sky_rms : array-like, optional
        ``[C]`` or ``[N, C]``: sky noise of a pixel; the survey's, scaled to these pixels, by default.
    psf : float, array-like or PSF, optional
        FWHM (arcsec): one, ``[C]`` or ``[N, C]``; or images, ``[C, h, w]`` or ``[N, C, h, w]``; or an object of
        `astro_galtrans.psf`. The survey's typical FWHMs by default.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True for bad pixels. Those that are not finite are bad too.
    variance : array-like, optional
        ``[N, C, H, W]``: noise variance of each pixel; of translations, the variance that they state (of samples, of
        their mean), noise of the true pixel included.
    name : str, optional
        What errors call them.

    Raises
    ------
    ValueError
        If numbers, axes, bands or shapes do not fit; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.stamps import Stamps
    >>> Stamps(np.zeros((10, 5, 64, 64), "f4"), "sdss")
    <Stamps stamps: 10, sdss ugriz, 64 x 64, 0.396 arcsec>
    """

    images: object
    survey: Survey
    pixel_scale: float = None  #: arcsec
    sky_rms: np.ndarray = None  #: ``[1 or N, C]``
    psf: object = None
    mask: object = None
    variance: object = None
    name: str = "stamps"

    def __post_init__(self):
        put = {"survey": get_survey(self.survey)}
        images, factor, put["mask"] = _plain(self.images, put["survey"], self.mask, self.name)
        put["images"] = as_array(images) * factor if factor != 1 else as_array(images)
        put |= {
            name: None if (plane := put.get(name, getattr(self, name))) is None else as_array(plane) for name in PLANES
        }
        for name, value in put.items():
            object.__setattr__(self, name, value)
        _check_images(self)
        object.__setattr__(self, "pixel_scale", _scale(self))
        object.__setattr__(self, "sky_rms", _sky(self))
        object.__setattr__(self, "psf", _psf(self))
        _check_planes(self)

    @classmethod
    def from_pairs(cls, store, side, *, crop=None):
        """
        Take the stamps of one side of a store of pairs, bad pixels filled from their surroundings.

        Parameters
        ----------
        store : `~astro_galtrans.pairs.store.PairStore`
        side : {"source", "target"}
        crop : int, optional
            Side of the middle part to take, in source pixels; all by default.

        Raises
        ------
        ValueError
            If the part is larger than the stamps, or not in their middle to the pixel.
        """
        from .files import from_pairs

        if side not in RESERVED or not hasattr(store, "header"):
            msg = f"stamps are of a PairStore and its side 'source' or 'target', got {store!r} and {side!r}"
            raise ValueError(msg)
        return cls(**from_pairs(store, side, crop))

    @classmethod
    def from_files(cls, paths, survey, *, bands=None, **known):
        """
        Open stamps in files.

        FITS files are read as `astro_galtrans.bandstack.read` does: undefined and scaled pixels, masks and noise in
        other extensions, units and zero points, which are converted to the survey's.

        Parameters
        ----------
        paths : path-like or list of path-like
            A ``.npy`` file or a FITS image ``[N, C, H, W]`` or ``[N, S, C, H, W]``; a folder of stamps that were
            translated by `Stamps.from_translator`; or a folder of one FITS or ``.npy`` file per galaxy,
            ``[C, H, W]`` or ``[S, C, H, W]``, in the order of their names. Several are taken one after the other. What
            states no unit is in the survey's; so are counts without a zero point, if the survey's unit is that.
        survey : str, path-like or `~astro_galtrans.surveys.Survey`
        bands : str or sequence of str, optional
            Bands of the stamps, in the survey's order; all of it by default.
        **known
            Other arguments of `Stamps`.

        Raises
        ------
        FileNotFoundError
            If there is nothing.
        OSError
            If a file is damaged.
        ValueError
            If a file holds no stamps, or its unit or zero point cannot be converted.
        """
        from .files import from_files

        survey = _select(survey, bands)
        return cls(survey=survey, **from_files(paths, survey) | known)

    @classmethod
    def from_cutouts(cls, cutouts, survey, *, bands=None, column=None, **known):
        """
        Take cutouts: `~astropy.nddata.NDData`, `~astropy.nddata.CCDData`, `~astropy.nddata.Cutout2D` or arrays.

        Units are converted to the survey's; masks and uncertainties are kept.

        Parameters
        ----------
        cutouts : sequence or `~astropy.table.Table`
            One per galaxy, ``[C, H, W]``, or ``[H, W]`` where there is one band; or a table with such a column.
        survey : str, path-like or `~astro_galtrans.surveys.Survey`
        bands : str or sequence of str, optional
            Bands of the cutouts, in the survey's order; all of it by default.
        column : str, optional
            Of the table: the only one with images by default.
        **known
            Other arguments of `Stamps`.

        Raises
        ------
        ValueError
            If shapes or units differ, or the table has no such column.
        """
        from .files import from_cutouts

        survey = _select(survey, bands)
        return cls(survey=survey, **from_cutouts(cutouts, survey, column) | known)

    @classmethod
    def from_translator(cls, translator, stamps, like=None, *, n_samples=None, seed=0, directory=None, progress=True):
        """
        Translate stamps, samples apart; ``variance`` is that of the error of their mean, which the translator states.

        Parameters
        ----------
        translator : `~astro_galtrans.Translator`
        stamps : `Stamps`
            Of the source survey. Bands that the translator does not need are left out, zero points are converted.
        like : `Stamps`, optional
            Real images of the target survey, whose bands, zero point and noise the translations get; by default those
            of the translator's card, noise unknown.
        n_samples, seed : int, optional
            Of a translator that samples.
        directory : path-like, optional
            Where translated stamps are kept, and found again by a later call with the same stamps, translator and
            settings; in memory by default.
        progress : bool, optional
            Show a progress bar on a terminal.

        Raises
        ------
        ValueError
            If the translator is for other bands or pixels.
        """
        from .translated import translated

        return translated(
            translator, stamps, like, n_samples=n_samples, seed=seed, directory=directory, progress=progress
        )

    def __len__(self):
        return len(self.images)

    def __repr__(self):
        samples = "" if self.n_samples is None else f" of {self.n_samples} samples"
        size = " x ".join(map(str, self.shape))
        scale = f"{self.pixel_scale:.4g} arcsec"
        return f"<Stamps {self.name}: {len(self)}{samples}, {self.survey.name} {''.join(self.bands)}, {size}, {scale}>"

    def _repr_html_(self):
        also = [name for name in ("variance", "mask", "psf") if getattr(self, name) is not None]
        page = {"survey": self.survey.name, "unit": self.survey.flux_unit, "also": ", ".join(also) or "nothing else"}
        rows = "".join(f"<tr><th>{name}</th><td>{escape(str(text))}</td></tr>" for name, text in page.items())
        return f"<pre>{escape(repr(self))}</pre><table>{rows}</table>"

    @property
    def bands(self):
        """Names of the bands."""
        return self.survey.band_names

    @property
    def shape(self):
        """Height and width in pixels."""
        return tuple(self.images.shape[-2:])

    @property
    def n_samples(self):
        """Number of samples, or None for images without that axis."""
        return self.images.shape[1] if self.images.ndim == 5 else None

    @property
    def electrons(self):
        """Electrons per flux unit of each band, NaN where not known, ``[C]``."""
        return np.array([band.electrons for band in self.survey.bands])

    def __getitem__(self, rows):
        """Return the stamps of some galaxies: a slice, row numbers or one bool per galaxy."""
        rows = rows if isinstance(rows, slice) else np.atleast_1d(rows)
        found = {name: None if plane is None else plane[rows] for name, plane in self._planes().items()}
        if len(self.sky_rms) > 1:
            found["sky_rms"] = self.sky_rms[rows]
        if _per_galaxy(self.psf, self):
            found["psf"] = self.psf[rows]
        return replace(self, **found)

    def middle(self, side):
        """Return the middle ``side`` x ``side`` pixels of all stamps."""
        cut = {name: None if plane is None else middle(plane, side) for name, plane in self._planes().items()}
        return replace(self, **cut)

    def sample(self, which=0):
        """
        Return stamps without an axis of samples.

        Parameters
        ----------
        which : int or "mean", optional
            One of the samples, or the mean of all.
        """
        if self.n_samples is None:
            return self
        images = self.images.mean(axis=1) if which == "mean" else self.images[:, which]
        return replace(self, images=images)

    def like(self, images, **known):
        """
        Return other images of the same galaxies on the same pixels, such as translations.

        Parameters
        ----------
        images : array-like
            ``[N, C, H, W]`` or ``[N, S, C, H, W]``.
        **known
            What else is known of them: ``name``, ``variance``. PSF, mask and variance of the originals are not theirs.
        """
        return Stamps(images, self.survey, self.pixel_scale, self.sky_rms, **known)

    def blocks(self, size=None):
        """
        Yield slices of rows that hold no more pixels than fit in memory.

        Parameters
        ----------
        size : int, optional
            Galaxies in a block; by default what fills 32 MiB.
        """
        size = size or max(1, BUDGET // int(np.prod(self.images.shape[1:])))
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    def read(self, rows=slice(None)):
        """Return the images of some galaxies, float32, a copy."""
        return np.array(self.images[rows], dtype=np.float32, order="C")

    def bad(self, rows=slice(None)):
        """Return which pixels of some galaxies are masked, bool ``[n, C or 1, H, W]``; those not finite are not."""
        if self.mask is None:
            return np.zeros((1, 1, 1, 1), bool)
        mask = np.asarray(self.mask[rows]).astype(bool)
        return mask if mask.ndim == 4 else mask[:, None]

    def sky(self, rows=slice(None)):
        """Return the sky noise of some galaxies, float32 ``[n or 1, C, 1, 1]``."""
        values = self.sky_rms if len(self.sky_rms) == 1 else self.sky_rms[rows]
        return values[:, :, None, None].astype(np.float32)

    def noise(self, rows=slice(None)):
        """Return the noise of each pixel of some galaxies: of the variance, or else of the sky; NaN where negative."""
        if self.variance is None:
            return self.sky(rows)
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.asarray(self.variance[rows], dtype=np.float32))

    def _planes(self):
        return {name: getattr(self, name) for name in PLANES}


PLANES = "images", "mask", "variance"


def as_stamps(images, like, name="translated"):
    """`Stamps` as they are; arrays, and files as of `Stamps.from_files`, as images on the pixels of others."""
    if isinstance(images, Stamps):
        return replace(images, name=name)
    first = images[0] if isinstance(images, list | tuple) and images else images
    if isinstance(first, str | PathLike):
        from .files import from_files

        found = from_files(images, like.survey)
        found.pop("pixel_scale", None)  # which shards of a survey state, to the digits of their translator
        return like.like(**found, name=name)
    if not hasattr(images, "shape") and not isinstance(images, list | tuple):
        msg = f"{name} must be Stamps, an array or files, got {images!r}"
        raise ValueError(msg)
    return like.like(images, name=name)


def translations(target, translated):
    """
    `Stamps` by name, once they are of the target's galaxies, bands and pixels; else ValueError.

    One translation, `Stamps` or an array, is called by its name or "translated"; a dict has names for several.
    """
    if not isinstance(translated, Mapping):
        name = translated.name if isinstance(translated, Stamps) and translated.name != "stamps" else "translated"
        translated = {name: translated}
    if not translated:
        msg = "translated is an empty dict; give at least one set of translated images"
        raise ValueError(msg)
    reserved = [name for name in translated if name in RESERVED]
    if reserved:
        msg = f"a translation cannot be called {reserved[0]!r}; choose another name"
        raise ValueError(msg)
    found = {str(name): as_stamps(images, target, str(name)) for name, images in translated.items()}
    same_galaxies(target=target, **found)
    for name, stamps in found.items():
        if stamps.bands != target.bands:
            msg = f"{name} is in bands {', '.join(stamps.bands)}, the target in {', '.join(target.bands)}"
            raise ValueError(msg)
        if stamps.shape != target.shape:
            ours, theirs = (" x ".join(map(str, shape)) for shape in (stamps.shape, target.shape))
            msg = f"stamps of {name} have {ours} pixels, those of the target {theirs}; both must show the same field"
            raise ValueError(msg)
    return found


def same_galaxies(**sets):
    """Check that sets of stamps, or columns, have a row for each galaxy of the first, of which there must be some."""
    first, *others = sets
    number = len(sets[first])
    if number == 0:
        msg = f"{first} has no images"
        raise ValueError(msg)
    for name in others:
        if len(sets[name]) != number:
            msg = f"{name} has {len(sets[name])} rows, {first} {number}; give both of the same galaxies, in order"
            raise ValueError(msg)


def check_noise(stamps):
    """Raise ValueError unless there are `Stamps`, and their sky noise, which a survey need not say, is known."""
    if not isinstance(stamps, Stamps):
        msg = f"expected Stamps, got {type(stamps).__name__}; Stamps(images, survey) makes them of an array"
        raise ValueError(msg)
    same_galaxies(**{stamps.name: stamps})
    unknown = np.array(stamps.bands)[~np.isfinite(stamps.sky_rms).all(axis=0)]
    if len(unknown):
        msg = f"the sky noise of {stamps.name} in {', '.join(unknown)} is not known; give sky_rms to Stamps"
        raise ValueError(msg)


def _select(survey, bands):
    """A survey limited to bands, which must be named in its order: that of the images."""
    survey = get_survey(survey).select(bands)
    if bands is not None and tuple(parse_bands(bands)) != survey.band_names:
        order = ", ".join(survey.band_names)
        msg = f"name the bands in the order of the survey, {order}, and bring the images into it; got {bands!r}"
        raise ValueError(msg)
    return survey


def _plain(images, survey, mask, name):
    """Images without unit and mask of their own, the factor to the survey's unit, and the mask with theirs."""
    factor = 1.0
    if isinstance(images, u.Quantity):
        same = images.unit == parse_unit(survey.flux_unit)  # counts of the survey, whose zero point is known
        factor = 1.0 if same else flux_factor(flux_zeropoint(images.unit), survey.zeropoint)
        images = images.value
    if isinstance(images, np.ma.MaskedArray):
        own = np.ma.getmaskarray(images)
        if mask is not None:
            given = np.asarray(mask, bool)
            own = own | (given if given.ndim == own.ndim else given[:, None])
        images, mask = images.data, own
    kind = getattr(getattr(images, "dtype", None), "kind", "f")
    if kind not in "fiu":
        msg = f"{name} must be real numbers, got {images.dtype}"
        raise ValueError(msg)
    return images, factor, mask


def _check_images(stamps):
    shape, bands = stamps.images.shape, stamps.bands
    if len(shape) not in {4, 5} or 0 in shape[1:]:
        msg = f"{stamps.name} must be [N, C, H, W] or, with S samples, [N, S, C, H, W]; got shape {shape}"
        raise ValueError(msg)
    if shape[-3] != len(bands):
        which = f"the survey {stamps.survey.name} has {len(bands)}: {', '.join(bands)}"
        msg = f"{stamps.name} has {shape[-3]} bands, {which}; limit it to those of the stamps (Survey.select)"
        raise ValueError(msg)


def _scale(stamps):
    scale = np.asarray(stamps.survey.pixel_scale if stamps.pixel_scale is None else stamps.pixel_scale, dtype=float)
    if scale.ndim or not (np.isfinite(scale) and scale > 0):
        msg = f"pixel_scale of {stamps.name} must be a positive number of arcsec, got {stamps.pixel_scale!r}"
        raise ValueError(msg)
    return float(scale)


def _sky(stamps):
    """Sky noise ``[1 or N, C]``; what no survey knows is NaN, what is given must be positive."""
    if stamps.sky_rms is None:
        return np.atleast_2d(stamps.survey.sky_rms(stamps.pixel_scale))
    sky = np.atleast_2d(np.asarray(stamps.sky_rms, dtype=float))
    number, bands = len(stamps), stamps.bands
    if sky.shape not in {(1, len(bands)), (number, len(bands))} or (sky <= 0).any():
        wanted = f"one positive number per band ({', '.join(bands)}), or per galaxy and band"
        msg = f"sky_rms of {stamps.name} must be {wanted}, got {stamps.sky_rms!r}"
        raise ValueError(msg)
    return sky


def _psf(stamps):
    psf = [band.fwhm for band in stamps.survey.bands] if stamps.psf is None else stamps.psf
    if hasattr(psf, "transform") or hasattr(psf, "dask"):
        return psf
    psf, bands, number = np.asarray(psf, dtype=float), len(stamps.bands), len(stamps)
    if psf.ndim < 3:
        right = psf.shape in {(), (bands,), (1, bands), (number, bands)} and not (psf <= 0).any()
    else:
        right = psf.ndim < 5 and psf.shape[-3] == bands and (psf.ndim == 3 or len(psf) in {1, number})
    if not right:
        msg = (
            f"psf of {stamps.name} must be positive FWHMs, one, [C] or [N, C], or images, [C, h, w] or [N, C, h, w], "
            f"for {number} galaxies and {bands} bands; got shape {psf.shape}"
        )
        raise ValueError(msg)
    return psf


def _per_galaxy(psf, stamps):
    """Whether the first axis of a PSF is that of galaxies."""
    if hasattr(psf, "transform"):
        return len(psf) > 1
    ndim = getattr(psf, "ndim", 0)
    return ndim == 4 or (ndim == 2 and len(psf) == len(stamps))


def _check_planes(stamps):
    full = (len(stamps), *stamps.images.shape[-3:])
    for name, allowed in (("variance", {full}), ("mask", {full, (full[0], *full[2:])})):
        plane = getattr(stamps, name)
        if plane is not None and tuple(plane.shape) not in allowed:
            without = ", with or without bands" if name == "mask" else ""
            msg = f"{name} of {stamps.name} must have the shape of its images, {full}{without}, got {plane.shape}"
            raise ValueError(msg)

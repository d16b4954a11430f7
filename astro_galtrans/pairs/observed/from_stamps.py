"""
Pairs from stamps that have no world coordinates: cutouts of the same objects, paired by their centres.

Each stamp gets a made-up place on the sky, with its centre there and north up; from then on it is an image like others.
Only two are in memory at a time.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

import numpy as np
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm
from astro_galtrans.bands import parse_bands
from astro_galtrans.bandstack import Pixels, open_fits, read, read_pixels
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.surveys import Survey, get_survey
from astro_galtrans.units import parse_unit

from .build import pair_header, pair_options, write_pairs
from .catalogue import found_objects, read_catalogue
from .describe import describe
from .frames import Frames, measured_frame
from .journal import DAMAGED
from .pairing import PairMaker, Side
from .split import split_by_name, split_on_sky
from .tiles import Tile

__all__ = ["StampSet", "pairs_from_stamps"]

DESCRIBED = 64  # stamps from which a survey is described: medians of so many no longer change
PLACE = (180.0, 0.0)  # where on the sky all stamps are put, one at a time


@dataclass
class StampSet:
    """
    The ready-cut stamps of one survey, and what is known of them.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.pairs.observed import StampSet
    >>> stamps = StampSet([np.zeros((2, 32, 32))] * 5, 0.396, "gr", unit="nmgy", sigma=[np.ones((2, 32, 32))] * 5)
    >>> len(stamps), stamps.bands
    (5, ('g', 'r'))
    """

    images: list  #: arrays ``[H, W]`` or ``[C, H, W]``, FITS files, HDUs or NDData; or mappings of band to these
    pixel_scale: float  #: side of a pixel (arcsec)
    bands: str | tuple[str, ...]  #: names of the planes, in order
    _: KW_ONLY
    unit: str | None = None  #: of the pixels; by default what the image says
    zeropoint: float | None = None  #: AB magnitude of one count
    sigma: list | None = None  #: as ``images``: standard deviations,
    mask: list | None = None  #: masks (nonzero is bad),
    psf: list | None = None  #: and PSFs on the pixels of the images
    survey: str | os.PathLike | Survey | None = None  #: description of the survey; made from the stamps by default

    def __post_init__(self):
        self.bands = parse_bands(self.bands)
        self.survey = None if self.survey is None else get_survey(self.survey)
        for name in ("sigma", "mask", "psf"):
            extra = getattr(self, name)
            if extra is not None and len(extra) != len(self.images):
                msg = f"{len(self.images)} images but {len(extra)} in {name}=; expected one each"
                raise ValueError(msg)
        if not self.pixel_scale > 0:
            msg = f"the pixel scale must be positive, in arcsec, got {self.pixel_scale}"
            raise ValueError(msg)

    def __len__(self):
        return len(self.images)

    def label(self, index):
        """Return the file of a stamp; or its number and a checksum, which tells it from another of that number."""
        image = self.images[index]
        image = next(iter(image.values())) if isinstance(image, Mapping) else image
        if isinstance(image, str | os.PathLike):
            return os.fspath(image)
        pixels = np.ascontiguousarray(getattr(image, "data", image))
        return f"stamp {index} {crc32(pixels.reshape(-1, *pixels.shape[-2:])):08x}"

    def frames(self, index):
        """Return a stamp as ``Frames`` of its bands, and its PSFs by band or None."""
        entry = self.label(index), index, None
        stack, psfs = self.read(entry), self._psfs(index)
        planes = zip(stack.bands, stack.planes, strict=True)
        frames = [measured_frame(entry, band, stack, plane, level=0.0) for band, plane in planes]
        return Frames([_with_seeing(frame, psfs) for frame in frames], {}, self.read), psfs

    def read(self, entry):
        """Return the `~astro_galtrans.bandstack.BandStack` of a stamp."""
        index = entry[1]
        unit = None if self.unit is None else parse_unit(self.unit)
        pixels = _cube(self.images[index], self.bands, unit=unit, zeropoint=self.zeropoint, default=("adu", None))
        if len(pixels.data) != len(self.bands):
            msg = f"{self.label(index)} has {len(pixels.data)} planes for the bands {', '.join(self.bands)}"
            raise ValueError(msg)
        sigma = None if pixels.variance is None else VarianceUncertainty(pixels.variance)
        if self.sigma is not None:
            sigma = StdDevUncertainty(_array(self.sigma[index]))
        mask = pixels.mask
        if self.mask is not None:
            given = _array(self.mask[index]) != 0
            mask = given if mask is None else mask | given
        wcs = _made_up_wcs(pixels.data.shape[1:], self.pixel_scale)
        ccd = CCDData(pixels.data, unit=pixels.unit, uncertainty=sigma, mask=mask, wcs=wcs)
        return read(ccd, self.bands, zeropoint=pixels.zeropoint)

    def _psfs(self, index):
        if self.psf is None:
            return None
        planes = _array(self.psf[index])
        return {band: plane / plane.sum() for band, plane in zip(self.bands, planes, strict=True)}


def _cube(image, bands, **settings):
    """`~astro_galtrans.bandstack.Pixels` ``[C, H, W]`` of an image of any kind."""
    pixels = read_pixels(image, bands, **settings)
    if pixels.data.ndim not in {2, 3}:
        msg = f"a stamp has the shape {pixels.data.shape}; expected [H, W] or [C, H, W]"
        raise ValueError(msg)
    cubes = [None if plane is None else plane.reshape(-1, *plane.shape[-2:]) for plane in pixels[:3]]
    return Pixels(*cubes, *pixels[3:])


def _array(image):
    """Array ``[C, H, W]`` of what has no flux unit, such as a PSF or a mask."""
    if isinstance(image, Mapping):
        return np.concatenate([_array(part) for part in image.values()])
    if isinstance(image, str | os.PathLike):
        hdu = next((h for h in open_fits(Path(image)) if h.is_image and h.header.get("NAXIS", 0) >= 2), None)
        if hdu is None:
            msg = f"{image} holds no image"
            raise ValueError(msg)
        image = hdu.data
    data = np.asarray(getattr(image, "data", image), dtype=float)
    if data.ndim not in {2, 3}:
        msg = f"a stamp has the shape {data.shape}; expected [H, W] or [C, H, W]"
        raise ValueError(msg)
    return data.reshape(-1, *data.shape[-2:])


def _made_up_wcs(shape, pixel_scale):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], PLACE, "ICRS"
    wcs.wcs.crpix = [(n + 1) / 2 for n in reversed(shape)]
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    wcs.wcs.set()
    return wcs


def _with_seeing(frame, psfs):
    """Frame whose seeing is that of the PSF given, if one is."""
    if psfs is None:
        return frame
    psf = psfs[frame.band]
    odd = psf[tuple(slice(n - 1 + n % 2) for n in psf.shape)]
    fwhm = gaussian_fwhm(odd)
    return frame if fwhm is None else replace(frame, fwhm=fwhm * frame.pixel_scale)


def pairs_from_stamps(
    source, target, directory, catalogue=None, *, scale=None, size=64, minimum=1, shard=64, progress=True, **options
):
    """
    Make a `~astro_galtrans.pairs.store.PairStore` from stamps of the same objects without world coordinates.

    The centres of two stamps are taken for the same place, to the search radius; the offset that is found is corrected
    (``register="each"``, unless asked for otherwise).

    Parameters
    ----------
    source, target : `StampSet`
        As many of each, in the same order, north up in both or turned alike.
    directory : path-like
        Folder of the store; an interrupted run goes on.
    catalogue : `~astropy.table.Table` or path-like, optional
        A row per stamp: positions and redshifts. Stamps without a position are split by the name of the file.
    scale, size, minimum, shard, progress
        As for `build_pairs`.
    **options
        Fields of `PairOptions`; those about detection have no meaning here.

    Raises
    ------
    ImportError
        If the package h5py, which writes the store, is not installed.
    ValueError
        If the numbers of stamps differ, or fewer than ``minimum`` pairs are usable.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from astro_galtrans.pairs.observed import StampSet, pairs_from_stamps
    >>> rng = np.random.default_rng(1)
    >>> def stamps(pixels):  # a Gaussian galaxy in r, 12.8 arcsec
    ...     x = 12.8 * ((np.arange(pixels) + 0.5) / pixels - 0.5)
    ...     clean = 5 * np.exp(-0.5 * (x**2 + x[:, None] ** 2))
    ...     return StampSet(list(clean + rng.normal(0, 0.02, (12, *clean.shape))), 12.8 / pixels, "r", unit="nmgy")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs = pairs_from_stamps(stamps(32), stamps(64), folder, size=32, progress=False)
    ...     print(len(pairs), pairs.header.scale)
    12 2
    """
    require("h5py", extra="train")  # asked for before the work starts, whose result it writes
    settings = pair_options({"register": "each"} | options, size)
    if len(source) != len(target) or not len(source):
        msg = f"{len(source)} source and {len(target)} target stamps; expected as many of each, and some"
        raise ValueError(msg)
    objects = None if catalogue is None else read_catalogue(catalogue)
    if objects is not None and len(objects) != len(source):
        msg = f"the catalogue has {len(objects)} rows for {len(source)} stamps; expected one each"
        raise ValueError(msg)
    sets = source, target
    sides = [_described(stamps, name) for stamps, name in zip(sets, ("source", "target"), strict=True)]
    header = pair_header(*sides, directory, settings, scale, size)
    write = partial(_write_one, sets, sides, header, settings, objects)
    jobs = ((f"{source.label(k)} {k}", partial(write, k)) for k in range(len(source)))
    bar = tqdm(jobs, desc="pairs", total=len(source), unit="stamp", disable=None if progress else True)
    return write_pairs(directory, header, bar, settings, minimum=minimum, shard=shard)


def _described(stamps, name):
    """`Side` with the description of a survey that its first readable stamps give."""
    frames, why = [], ""
    for k in range(min(len(stamps), DESCRIBED)):
        try:
            frames.extend(stamps.frames(k)[0].frames)
        except (OSError, ValueError) as err:
            why = f"{stamps.label(k)}: {err}"
    if not frames:
        msg = f"none of the {name} stamps can be used: {why}"
        raise ValueError(msg)
    return Side(None, describe(Frames(frames, {}, stamps.read), stamps.survey, stamps.bands, name))


def _write_one(sets, sides, header, settings, objects, k, writer):
    """Write the pair of two stamps; return counts and rejected objects."""
    own = []
    try:
        for stamps, side in zip(sets, sides, strict=True):
            frames, psfs = stamps.frames(k)
            own.append(replace(side, frames=frames, psf=psfs))
    except (OSError, ValueError) as err:
        return Counter({"objects": 1, DAMAGED: 1}), [[None, None, k, DAMAGED, str(err)]]
    frame = next(f for f in own[0].frames.frames if f.band == own[0].reference)
    row = _row(sets[0].label(k), k, objects, header, settings)
    tile = Tile(frame, found_objects([PLACE[0]], [PLACE[1]]), row)
    return PairMaker(*own, header, settings, [tile]).write_tile(tile, None, writer)


def _row(label, k, objects, header, settings):
    """Columns of a pair that do not come from its images."""
    # a store may get more stamps later, whose numbers begin at 0 again: the name tells them apart
    row = {"index": int.from_bytes(blake2b(label.encode(), digest_size=6).digest(), "big"), "row": k}
    ra, dec, z = (np.nan,) * 3 if objects is None else (objects.ra[k], objects.dec[k], objects.redshift[k])
    if np.isfinite(ra):
        half = header.size * header.source.pixel_scale / 7200
        corner_ra = ra + half / np.cos(np.radians(dec)) * np.array([[-1, 1, 1, -1]])
        corner_dec = dec + half * np.array([[-1, -1, 1, 1]])
        (part,) = split_on_sky(corner_ra, corner_dec, settings.cell, settings.fractions, settings.seed)
    else:
        (part,) = split_by_name([label], settings.fractions, settings.seed)
    known = {"ra": ra, "dec": dec} | ({} if objects is None else {"z": z})
    return row | {"split": part} | {name: float(value) for name, value in known.items()}

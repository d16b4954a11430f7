"""
Pairs from stamps that have no world coordinates: cutouts of the same objects, paired by their centres.

Each stamp gets a made-up place on the sky, with its centre there and north up; from then on it is an image like others.
Only two are in memory at a time.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from zlib import crc32

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, NDData, StdDevUncertainty
from astropy.wcs import WCS
from tqdm.auto import tqdm

from astro_galtrans.bands import parse_bands
from astro_galtrans.bandstack import read
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.surveys import get_survey
from astro_galtrans.units import parse_unit

from .build import check_options, nearest_band, pair_header, too_few, warn_of_empty_parts, write_pairs
from .catalogue import found_objects, read_catalogue
from .describe import describe
from .frames import Frames, measured_frame
from .journal import DAMAGED
from .pairing import PairMaker, Side
from .split import split_by_name, split_on_sky
from .tiles import Tile

__all__ = ["Stamps", "pairs_from_stamps"]

DESCRIBED = 64  # stamps from which a survey is described
PLACE = (180.0, 0.0)  # where on the sky all stamps are put, one at a time


class Stamps:
    """
    The stamps of one survey.

    Parameters
    ----------
    images : list
        Arrays ``[H, W]`` or ``[C, H, W]``, paths of FITS files, HDUs or NDData; or mappings of band to any of these.
    pixel_scale : float
        Side of a pixel (arcsec).
    bands : str or iterable of str
        Names of the planes, in order.
    unit : str, optional
        Unit of the pixels; by default what the image says.
    zeropoint : float, optional
        AB magnitude of one count.
    sigma, mask, psf : list, optional
        As ``images``: standard deviations, masks (nonzero is bad), and PSFs on the pixels of the images.
    survey : str, path-like or `~astro_galtrans.surveys.Survey`, optional
        Description of the survey; made from the stamps by default.
    """

    def __init__(
        self, images, pixel_scale, bands, *, unit=None, zeropoint=None, sigma=None, mask=None, psf=None, survey=None
    ):
        self.images, self.pixel_scale, self.bands = images, float(pixel_scale), parse_bands(bands)
        self.unit, self.zeropoint = unit, zeropoint
        self.sigma, self.mask, self.psf = sigma, mask, psf
        self.survey = None if survey is None else get_survey(survey)
        for name in ("sigma", "mask", "psf"):
            extra = getattr(self, name)
            if extra is not None and len(extra) != len(images):
                msg = f"{len(images)} images but {len(extra)} in {name}=; expected one each"
                raise ValueError(msg)
        if not self.pixel_scale > 0:
            msg = f"the pixel scale must be positive, in arcsec, got {pixel_scale}"
            raise ValueError(msg)

    def __len__(self):
        return len(self.images)

    def label(self, index):
        """Return the file of a stamp; or its number, and a checksum that tells it from another of that number."""
        image = self.images[index]
        image = next(iter(image.values())) if isinstance(image, Mapping) else image
        if isinstance(image, str | os.PathLike):
            return os.fspath(image)
        return f"stamp {index} {crc32(np.ascontiguousarray(_planes(image)[0])):08x}"

    def frames(self, index):
        """Return a stamp as `Frames`."""
        entry = self.label(index), index, None
        stack, psfs = self.read(entry), self.psfs(index) or {}
        planes = zip(stack.bands, stack.planes, strict=True)
        frames = [measured_frame(entry, band, stack, plane, level=0.0) for band, plane in planes]
        return Frames([_with_seeing(frame, psfs.get(frame.band)) for frame in frames], {}, self.read)

    def read(self, entry):
        """Return the `~astro_galtrans.bandstack.BandStack` of a stamp."""
        index = entry[1]
        data, unit = _planes(self.images[index])
        if len(data) != len(self.bands):
            msg = f"{self.label(index)} has {len(data)} planes for the bands {', '.join(self.bands)}"
            raise ValueError(msg)
        sigma = None if self.sigma is None else StdDevUncertainty(_planes(self.sigma[index])[0].astype(float))
        mask = None if self.mask is None else _planes(self.mask[index])[0] != 0
        unit = self.unit or unit or "adu"
        wcs = _made_up_wcs(data.shape[1:], self.pixel_scale)
        ccd = CCDData(data, unit=parse_unit(unit), uncertainty=sigma, mask=mask, wcs=wcs)
        return read(ccd, self.bands, zeropoint=self.zeropoint)

    def psfs(self, index):
        """Return the PSFs of a stamp by band, or None."""
        if self.psf is None:
            return None
        planes = _planes(self.psf[index])[0].astype(float)
        return {band: plane / plane.sum() for band, plane in zip(self.bands, planes, strict=True)}


def _planes(image):
    """Array ``[C, H, W]`` of an image of any kind, and its unit if it says one."""
    if isinstance(image, Mapping):
        parts = [_planes(part) for part in image.values()]
        return np.concatenate([data for data, _ in parts]), parts[0][1]
    if isinstance(image, str | os.PathLike):
        with fits.open(image, memmap=False) as hdus:
            hdu = next((h for h in hdus if h.is_image and h.header.get("NAXIS", 0) >= 2), None)
            if hdu is None:
                msg = f"{image} holds no image"
                raise ValueError(msg)
            data, unit = np.array(hdu.data), hdu.header.get("BUNIT")
    elif isinstance(image, NDData):
        data, unit = np.asarray(image.data), image.unit
    else:
        data, unit = np.asarray(getattr(image, "data", image)), None
    if data.ndim not in {2, 3}:
        msg = f"a stamp has the shape {data.shape}; expected [H, W] or [C, H, W]"
        raise ValueError(msg)
    return data.reshape(-1, *data.shape[-2:]), unit


def _made_up_wcs(shape, pixel_scale):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], PLACE, "ICRS"
    wcs.wcs.crpix = [(n + 1) / 2 for n in reversed(shape)]
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    wcs.wcs.set()
    return wcs


def pairs_from_stamps(
    source, target, directory, catalogue=None, *, scale=None, size=64, minimum=1, shard=64, progress=True, **options
):
    """
    Make pairs from stamps of the same objects that have no world coordinates.

    The centres of two stamps are taken for the same place, to the search radius; the offset that is found is corrected
    (``register="each"``, unless asked for otherwise).

    Parameters
    ----------
    source, target : `Stamps`
        As many of each, in the same order, north up in both or turned alike.
    directory : path-like
        Folder of the store; an interrupted run goes on.
    catalogue : `~astropy.table.Table` or path-like, optional
        A row per stamp: positions and redshifts. Without positions, pairs are split by the name of the file.
    scale, size, minimum, shard, progress
        As for `build_pairs`.
    **options
        Fields of `PairOptions`; those about detection have no meaning here.

    Returns
    -------
    `~astro_galtrans.pairs.store.PairStore`

    Raises
    ------
    ValueError
        If the numbers of stamps differ, or fewer than ``minimum`` pairs are usable.
    """
    settings = check_options({"register": "each"} | options, size)
    if len(source) != len(target) or not len(source):
        msg = f"{len(source)} source and {len(target)} target stamps; expected as many of each, and some"
        raise ValueError(msg)
    objects = None if catalogue is None else read_catalogue(catalogue)
    if objects is not None and len(objects) != len(source):
        msg = f"the catalogue has {len(objects)} rows for {len(source)} stamps; expected one each"
        raise ValueError(msg)
    sides = [_described(stamps, name) for stamps, name in ((source, "source"), (target, "target"))]
    sides[1].reference = nearest_band(sides[0].reference, *(side.survey.band_names for side in sides))
    header = pair_header(*sides, directory, settings, scale, size)
    rows = _rows(source, objects, header, settings)

    def jobs():
        for k in range(len(source)):
            yield f"{source.label(k)} {k}", lambda writer, k=k: _write_one(k, sides, header, settings, rows(k), writer)

    bar = tqdm(jobs(), desc="pairs", total=len(source), unit="stamp", disable=None if progress else True)
    journal = write_pairs(directory, header, bar, {}, shard)
    if journal.counts["pairs"] < max(1, minimum):
        raise ValueError(too_few(journal, minimum, directory))
    warn_of_empty_parts(journal, settings)
    return PairStore(directory)


def _described(stamps, name):
    """Describe a survey from its first readable stamps."""
    frames, why = [], ""
    for k in range(min(len(stamps), DESCRIBED)):
        try:
            frames.extend(stamps.frames(k).frames)
        except (OSError, ValueError) as err:
            why = f"{stamps.label(k)}: {err}"
    if not frames:
        msg = f"none of the {name} stamps can be used: {why}"
        raise ValueError(msg)
    survey = describe(Frames(frames, {}, stamps.read), stamps.survey, stamps.bands, name)
    return Side(None, survey, survey.band_names[len(survey.band_names) // 2], stamps=stamps)


def _rows(source, objects, header, settings):
    """Function of a stamp's number: the columns that its pair gets from elsewhere."""
    half = header.size * header.source.pixel_scale / 7200

    def row(k):
        # a store may get more stamps later: their numbers would begin at 0 again
        name = blake2b(source.label(k).encode(), digest_size=6).digest()
        index = {"index": int.from_bytes(name, "big"), "row": k}
        if objects is None:
            (part,) = split_by_name([source.label(k)], settings.fractions, settings.seed)
            return index | {"split": part, "ra": np.nan, "dec": np.nan}
        ra, dec = objects.ra[k], objects.dec[k]
        corner_ra = ra + half / np.cos(np.radians(dec)) * np.array([[-1, 1, 1, -1]])
        corner_dec = dec + half * np.array([[-1, -1, 1, 1]])
        (part,) = split_on_sky(corner_ra, corner_dec, settings.cell, settings.fractions, settings.seed)
        known = {"ra": ra, "dec": dec, "z": objects.redshift[k]}
        return index | {"split": part} | {name: float(value) for name, value in known.items()}

    return row


def _write_one(k, sides, header, settings, row, writer):
    try:
        own = []
        for side, survey in zip(sides, (header.source, header.target), strict=True):
            own.append(replace(side, frames=side.stamps.frames(k), survey=survey, psf=side.stamps.psfs(k)))
    except (OSError, ValueError) as err:
        return Counter({"objects": 1, DAMAGED: 1}), [[None, None, k, DAMAGED, str(err)]]
    frame = next(f for f in own[0].frames.frames if f.band == own[0].reference)
    tile = Tile(frame, found_objects([PLACE[0]], [PLACE[1]]), row)
    return PairMaker(*own, header, settings, [tile]).write_tile(tile, None, writer)


def _with_seeing(frame, psf):
    """Frame whose seeing is that of the PSF given, if one is."""
    if psf is None:
        return frame
    odd = psf[: psf.shape[0] - 1 + psf.shape[0] % 2, : psf.shape[1] - 1 + psf.shape[1] % 2]
    fwhm = gaussian_fwhm(odd)
    return frame if fwhm is None else replace(frame, fwhm=fwhm * frame.pixel_scale)

"""
Pairs of stamps from the images of two surveys.

The work goes image by image (a tile is a source image in the reference band): its objects are found, the offsets of all
are measured and corrected, and those that pass are cut in all bands and written. Memory holds one tile at a time.
"""

import warnings
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm
from astro_galtrans.bands import parse_bands
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.pairs.store import SPLITS, PairHeader, PairStore, PairWriter, default_scale, header_of_pairs

from .catalogue import detect, distinct, read_catalogue
from .describe import describe
from .frames import open_frames
from .journal import BEYOND, DAMAGED, EDGE, NOTHING, OUTSIDE, Journal
from .pairing import PairMaker, Side
from .registration import METHODS
from .tiles import Tile

__all__ = ["PairOptions", "build_pairs", "nearest_band", "pair_header", "pair_options", "write_pairs"]

LARGEST_SCALE = 16  # target pixels per source pixel: that of a card's network
#: Lowest and highest value of options: a search over more than an arcminute, or cells of a hemisphere, are mistakes.
RANGES = {
    "search": (1e-3, 60.0), "max_offset": (0.0, 60.0), "bright": (-30.0, 60.0), "faint": (-30.0, 60.0),
    "detection": (0.1, 1e6), "blank": (0.0, 1e3), "max_bad": (0.0, 1.0), "cell": (1e-3, 5400.0), "seed": (0, 2**63),
}  # fmt: skip
SMALLEST = 8  # pixels: a stamp in which registration and networks still have something to work on
CRPIX = "Check the world coordinates: a cutout that kept the CRPIX of its frame claims to lie elsewhere"
SHIFT_LIMIT = 60.0  # arcsec up to which a common offset is looked for when nothing matches


@dataclass(frozen=True)
class PairOptions:
    """
    How pairs are made; all that a store's pairs have in common beside surveys, scale and size.

    Examples
    --------
    >>> from astro_galtrans.pairs.observed import PairOptions
    >>> options = PairOptions(search=1.5, faint=21.0)
    >>> options.register, options.fractions
    ('local', (0.8, 0.1, 0.1))
    """

    search: float = 2.0  #: radius within which a counterpart is looked for (arcsec)
    max_offset: float | None = None  #: largest offset after registration (arcsec); half a source pixel by default
    register: str = "local"  #: which correction is applied: "local", "global", "each" (its own) or "none"
    bright: float | None = None  #: limits (AB) of objects that are detected, or that have a magnitude
    faint: float | None = None
    detection: float = 3.0  #: threshold of detection, in sigma of the smoothed sky
    blank: float = 0.0  #: stamps of blank sky, per object
    max_bad: float = 0.1  #: largest share of bad pixels, in any band
    cell: float = 3.0  #: side of the cells of the sky that are split (arcmin)
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)  #: shares of training, validation, test
    seed: int = 0  #: of the split and of the places of blank stamps
    bad_planes: str | int | tuple | None = None  #: planes of masks that are bad, see `astro_galtrans.bandstack.read`
    subtract_background: bool | int = False  #: subtract the sky of every image; a number is the side of the boxes


def build_pairs(
    source, target, directory, catalogue=None, *, source_survey=None, target_survey=None, source_bands=None,
    target_bands=None, scale=None, size=64, source_unit=None, target_unit=None, source_zeropoint=None,
    target_zeropoint=None, source_psf=None, target_psf=None, redshift=None, magnitude=None, minimum=10, shard=64,
    progress=True, **options,
):  # fmt: skip
    """
    Make pairs of stamps from images of the same sky in two surveys.

    Parameters
    ----------
    source, target : path, glob, folder, object, mapping of band to any of these, or list of any of these
        Images as `astro_galtrans.bandstack.read` takes them, with world coordinates. Bands may be in files of their own
        and on grids of their own, tiles may overlap.
    directory : path-like
        Folder of the store. If it holds pairs of the same surveys and settings, what is missing is added: images that
        are done are skipped, so that an interrupted run goes on, and more images can be added later.
    catalogue : `~astropy.table.Table`, path-like or `~astropy.coordinates.SkyCoord`, optional
        Objects, with sky coordinates in any usual form, and a redshift if there is one. Rows without a position and
        rows within 1 arcsec of another are left out, with a warning that names them. Without a catalogue, objects are
        found in the source's reference band, the middle one.
    source_survey, target_survey : str, path-like or `~astro_galtrans.surveys.Survey`, optional
        Description of the surveys by name or file; made from the images by default. Pixel scale, noise and seeing are
        those of the images in any case.
    source_bands, target_bands : str or iterable of str, optional
        Bands to use, in order; all by default.
    scale : int, optional
        Target pixels per source pixel; by default the whole number nearest to the ratio of the pixel scales, 1 to 4.
    size : int, optional
        Side of the source stamps (pixels).
    source_unit, target_unit, source_zeropoint, target_zeropoint : optional
        For images that do not say, as for `astro_galtrans.bandstack.read`.
    source_psf, target_psf : mapping or callable, optional
        PSF images on the pixels of the images: by band, or ``(band, ra, dec)`` to array. By default they are measured
        from stars.
    redshift, magnitude : str, optional
        Columns of the catalogue; found by their usual names by default.
    minimum : int, optional
        Fewest pairs that are worth going on with.
    shard : int, optional
        Pairs per file.
    progress : bool, optional
        Show progress bars on a terminal.
    **options
        Fields of `PairOptions`.

    Returns
    -------
    `~astro_galtrans.pairs.store.PairStore`
        What became of every object is in ``summary.ecsv`` and ``progress.jsonl`` in the folder.

    Raises
    ------
    ImportError
        If the package h5py, which writes the store, is not installed.
    ValueError
        If the images do not overlap, the catalogue has no coordinates, bands are missing, fewer than ``minimum`` pairs
        are usable, or the folder holds other pairs.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from importlib.resources import files
    >>> from astro_galtrans.pairs.observed import build_pairs, read_summary
    >>> data = files("astro_galtrans") / "data"
    >>> images = [data / "sample_sdss.fits.fz"], [data / "sample_cfhtls-wide.fits.fz"]
    >>> surveys = dict(source_survey="sdss", target_survey="cfhtls-wide")
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # five objects in one place are too few to set some apart for tests
    ...     pairs = build_pairs(*images, folder, size=32, minimum=1, progress=False, **surveys)
    >>> len(pairs), pairs.header.scale
    (4, 2)
    """
    require("h5py", extra="train")  # asked for before the work starts, whose result it writes
    settings = pair_options(options, size)
    if scale is not None and scale not in range(1, 1 + LARGEST_SCALE):
        msg = f"scale={scale!r} must be a whole number from 1 to {LARGEST_SCALE}"
        raise ValueError(msg)
    objects = None if catalogue is None else distinct(read_catalogue(catalogue, redshift, magnitude))
    sides = []
    for name, images, survey, bands, unit, zeropoint, psf in (
        ("source", source, source_survey, source_bands, source_unit, source_zeropoint, source_psf),
        ("target", target, target_survey, target_bands, target_unit, target_zeropoint, target_psf),
    ):
        what = f"{name} images"
        frames = open_frames(
            images, bands, unit=unit, zeropoint=zeropoint, bad_planes=settings.bad_planes,
            subtract_background=settings.subtract_background, progress=progress, what=what,
        )  # fmt: skip
        wanted = None if bands is None else tuple(band for band in frames.bands if band in parse_bands(bands))
        sides.append(Side(frames, describe(frames, survey, wanted, name), psf=psf))
    _check_overlap(*(side.frames for side in sides))
    header = pair_header(*sides, directory, settings, scale, size)
    for side in sides:
        side.typical = _typical_psfs(side)
    tiles = [Tile(frame) for frame in sides[0].frames.of_band(sides[0].reference)]
    maker = PairMaker(*sides, header, settings, tiles)
    kind = "found" if objects is None else objects.fingerprint
    keys = [f"{tile.frame.label} {tile.frame.fingerprint} {kind}" for tile in tiles]
    jobs = [(key, partial(maker.write_tile, tile, objects)) for key, tile in zip(keys, tiles, strict=True)]
    bar = tqdm(jobs, desc="pairs", unit="image", disable=None if progress else True)
    failures = sides[0].frames.failures | sides[1].frames.failures
    hint = partial(_hint, *sides)
    return write_pairs(directory, header, bar, settings, minimum=minimum, shard=shard, failures=failures, hint=hint)


def pair_options(options, size):
    """`PairOptions` of keywords; ValueError if one is unknown, or it or the stamps' ``size`` impossible."""
    known = PairOptions.__dataclass_fields__
    unknown = [name for name in options if name not in known]
    if unknown:
        msg = f"unknown options {', '.join(unknown)}; known are {', '.join(known)}"
        raise ValueError(msg)
    settings = PairOptions(**options)
    for name, (lowest, highest) in RANGES.items():
        value = getattr(settings, name)
        if value is not None and not lowest <= value <= highest:
            msg = f"{name}={value!r} must be from {lowest:g} to {highest:g}"
            raise ValueError(msg)
    if settings.register not in METHODS:
        msg = f"register={settings.register!r} must be one of {', '.join(METHODS)}"
        raise ValueError(msg)
    if size < SMALLEST:
        msg = f"stamps of {size} pixels are too small; the least is {SMALLEST}"
        raise ValueError(msg)
    return settings


def nearest_band(band, source_bands, target_bands):
    """Band of the target to register a band of the source with: the same, or that at the same place among its bands."""
    if band in target_bands:
        return band
    place = source_bands.index(band) / max(1, len(source_bands) - 1)
    return target_bands[round(place * (len(target_bands) - 1))]


def _check_overlap(source, target):
    for frame in source.frames:
        lattice = _lattice(frame)
        for other in target.frames:
            if not other.near(frame):
                continue
            # a small image may lie between the points of a large one
            if (other.edge_distance(*lattice) > 0).any() or (frame.edge_distance(*_lattice(other)) > 0).any():
                return
    msg = f"source and target images share no sky. Source: {source.footprint()}. Target: {target.footprint()}. {CRPIX}"
    raise ValueError(msg)


def _lattice(frame):
    height, width = frame.shape
    x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
    return frame.sky(x.ravel(), y.ravel())


def pair_header(source, target, directory, settings, scale, size):
    """
    Header of a store for two `Side`; that of the store in ``directory``, if its surveys are of the same kind.

    Both sides get their band to register with, and the header's description of their survey. ``scale`` None is the
    default.
    """
    bands = source.survey.band_names, target.survey.band_names
    source.reference = bands[0][len(bands[0]) // 2]
    target.reference = nearest_band(source.reference, *bands)
    scale = default_scale(source.survey, target.survey) if scale is None else int(scale)
    observed = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
    observed |= {"register_bands": [source.reference, target.reference]}
    there = header_of_pairs(directory)
    # more images have another median noise: the store keeps its description if they are of the same kind
    if there is not None and (_kind(there.source), _kind(there.target)) == (_kind(source.survey), _kind(target.survey)):
        source.survey, target.survey = there.source, there.target
    return PairHeader(source.survey, target.survey, scale, size, observation=observed)


def _kind(survey):
    return survey.name, round(survey.pixel_scale, 3), survey.flux_unit, survey.zeropoint, survey.band_names


def _typical_psfs(side):
    """Median PSF of each band's frames, for frames with too few stars of their own."""
    typical = {}
    for band in side.survey.band_names:
        known = [frame.psf for frame in side.frames.of_band(band) if frame.psf is not None]
        same = [psf for psf in known if psf.shape == known[0].shape]
        typical[band] = np.median(same, axis=0) if same else None
    return typical


def write_pairs(directory, header, jobs, settings, *, minimum, shard, failures=None, hint=lambda _counts: ""):
    """
    Make the pairs that a store does not have yet, record what became of the objects, and return the `PairStore`.

    ``jobs`` yields the name of each job and a function that is called with the writer and returns counts and rejected
    objects, as `Journal.record` takes them. ``failures`` says of each image that could not be read why; ``hint`` turns
    the counts into advice if there are too few pairs. Raises ValueError if there are fewer than ``minimum`` pairs.
    """
    with PairWriter(directory, header, shard) as writer:
        journal = Journal(directory, fresh=not len(writer))
        for key, job in jobs:
            if key not in journal.finished:
                journal.record(key, *job(writer), len(writer))
                journal.settle(writer.written)
        writer.close()
        for label, why in (failures or {}).items():
            warnings.warn(f"{label} is left out: {why}", GaltransWarning, stacklevel=3)
            if f"unreadable {label}" not in journal.finished:
                journal.record(f"unreadable {label}", {"unreadable": 1}, [[None, None, -1, DAMAGED, why]], len(writer))
        journal.settle(writer.written)
    journal.write_summary()
    if journal.counts["pairs"] < max(1, minimum):
        raise ValueError(_too_few(journal, minimum, directory) + hint(journal.counts))
    empty = [part for part in SPLITS if not journal.counts[part]]
    if empty and all(settings.fractions):
        msg = f"no pair is in {' or '.join(empty)}: the pairs cover few cells of {settings.cell:g} arcmin; lower cell="
        warnings.warn(msg, GaltransWarning, stacklevel=3)
    return PairStore(directory)


def _too_few(journal, minimum, directory):
    lines = ", ".join(f"{row['what'].strip()} {row['number']}" for row in journal.summary() if row["number"])
    return (
        f"only {journal.counts['pairs']} usable pairs, {minimum} are the fewest to go on with: {lines}. What there is"
        f" is kept in {directory}, and the reason for each in {journal.path.name} there"
    )


def _hint(source, target, counts):
    """Text on what may be wrong, if most objects were lost for one reason."""
    covered = counts["objects"] - counts[EDGE] - counts[OUTSIDE]
    if counts[OUTSIDE] > 0.5 * counts["objects"]:
        return f". Source: {source.frames.footprint()}. Target: {target.frames.footprint()}. {CRPIX}"
    if counts[NOTHING] + counts[BEYOND] > 0.5 * covered:
        return (
            ". Most objects have no counterpart within the search radius: the world coordinates of one survey may be"
            f" off. {CRPIX}{_common_shift(source, target)}"
        )
    return ""


def _common_shift(source, target):
    """Text on the one shift (arcsec) that makes the brightest objects of two frames match, if there is one."""
    edges = np.arange(-SHIFT_LIMIT, SHIFT_LIMIT + 1, 2.0)
    for frame in source.frames.of_band(source.reference)[:3]:
        for other in target.frames.of_band(target.reference):
            if not other.near(frame):
                continue
            (ra, dec), (other_ra, other_dec) = _brightest(source, frame), _brightest(target, other)
            around = (other_ra - ra[:, None] + 180) % 360 - 180  # across the zero of right ascension
            east = 3600 * np.cos(np.radians(dec))[:, None] * around
            north = 3600 * (other_dec - dec[:, None])
            counts, _, _ = np.histogram2d(east.ravel(), north.ravel(), [edges, edges])
            if counts.max() >= max(4, 0.3 * min(len(ra), len(other_ra))):  # by chance hardly two fall into one cell
                k, m = np.unravel_index(np.argmax(counts), counts.shape)
                shift = f"{edges[k] + 1:+.0f} arcsec east and {edges[m] + 1:+.0f} north"
                return f". The objects of the target seem to lie {shift} of those of the source"
    return ""


def _brightest(side, frame, number=60):
    data, _, mask = side.frames.pixels(frame)
    found, _ = detect(frame, data, mask, threshold=10.0)
    order = np.argsort(found.magnitude)[:number]
    return found.ra[order], found.dec[order]

"""
Simulated pairs on disk: a `~astro_galtrans.pairs.store.PairStore` whose table is the truth.

A shard appears whole, so that an interrupted run continues where it stopped. Pair ``i`` depends on the seed and ``i``
only, whatever the number of workers.
"""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple

import numpy as np

from astro_galtrans._locks import die_with_parent
from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.pairs.store import (
    MAX_SCALE,
    PairHeader,
    PairStore,
    PairWriter,
    default_scale,
    shard_path,
    write_shard,
)  # fmt: skip
from astro_galtrans.surveys import Survey, get_survey

from .colours import galaxy_colours, star_colours
from .noise import saturate
from .population import Sample, draw_scene
from .render import draw_seeing, render_pair

__all__ = [
    "SHARD", "SIGNAL", "PairSettings", "default_size", "default_spread", "simulate_pair", "simulate_pairs",
    "simulate_shard",
]  # fmt: skip

SIGNAL = 3.0  #: sigma of the target's sky above which a noise-free pixel counts as signal
SHARD = 64  # pairs in a file: 27 MB for five bands of SDSS and CFHTLS
EXTENT = 25.0  # side of a stamp (arcsec): a galaxy of r = 17 with the sky around it; 64 pixels of SDSS
SPACE_FWHM = 0.5  # arcsec: no survey from the ground has a sharper typical PSF in all bands


@dataclass(frozen=True)
class PairSettings:
    """
    Settings of a simulated set; a pair is a function of them and its index.

    Surveys are names, descriptions, or paths of the user's descriptions (see `~astro_galtrans.surveys.get_survey`).
    Settings that are None are chosen to suit the surveys.

    Examples
    --------
    >>> from astro_galtrans.pairs.simulated import PairSettings
    >>> settings = PairSettings("sdss", "hsc-wide", target_bands="gri")
    >>> settings.scale, settings.size
    (2, 64)
    """

    source: str | Survey = "sdss"
    target: str | Survey = "cfhtls-wide"
    scale: int | None = None  #: target pixels per source pixel; None: `default_scale`
    size: int | None = None  #: side of the source stamp (source pixels); None: `default_size`
    seed: int = 1
    seeing_spread: float | None = None  #: log-normal scatter of the source's seeing; None: 0.13, or 0.02 from space
    long_end: float | None = None  #: share of exposures with a seeing anywhere in its range; None: 0.4, or 0 from space
    kind: str | None = None  #: one kind of stamp for all ("galaxy", "field", "star" or "blank")
    sample: Sample = field(default_factory=Sample)  #: which central galaxies
    blends: float = 0.0  #: share of the central galaxies with a fainter one over them in the source only
    source_bands: tuple[str, ...] | None = None  #: None: all of the survey's
    target_bands: tuple[str, ...] | None = None

    def __post_init__(self):
        for end in ("source", "target"):
            survey, bands = get_survey(getattr(self, end)), getattr(self, f"{end}_bands")
            if not isinstance(getattr(self, end), str) or survey.name != getattr(self, end):  # not a shipped one
                object.__setattr__(self, end, survey)
            object.__setattr__(self, f"{end}_bands", None if bands is None else survey.select(bands).band_names)
            _check_complete(self.surveys[end == "target"])
        if self.seed < 0:
            msg = f"seed must be 0 or more, got {self.seed}"
            raise ValueError(msg)
        if not 0 <= self.blends <= 1:
            msg = f"blends is a share of the central galaxies, from 0 to 1, got {self.blends}"
            raise ValueError(msg)
        chosen = {"scale": default_scale, "size": default_size, "seeing_spread": default_spread}
        for name, choose in (chosen | {"long_end": default_long_end}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, choose(*self.surveys))
        for name, allowed in (("scale", range(1, 1 + MAX_SCALE)), ("size", range(8, 2049, 2))):
            if getattr(self, name) not in allowed:
                msg = f"{name} must be one of {allowed[0]}, {allowed[1]}, ... {allowed[-1]}, got {getattr(self, name)}"
                raise ValueError(msg)

    @classmethod
    def from_dict(cls, content):
        """Make settings of what `to_dict` returned."""
        ends = {end: content[end] for end in ("source", "target") if end in content}
        surveys = {k: Survey.from_dict(end) if isinstance(end, dict) else end for k, end in ends.items()}
        bands = {k: tuple(content[k]) for k in ("source_bands", "target_bands") if content.get(k) is not None}
        return cls(**content | surveys | bands | {"sample": Sample(**content.get("sample", {}))})

    def to_dict(self):
        """Return plain values that JSON can hold; a survey that does not ship with the package is written out."""
        content = {f.name: getattr(self, f.name) for f in fields(self)} | {"sample": asdict(self.sample)}
        surveys = {k: content[k].to_dict() for k in ("source", "target") if isinstance(content[k], Survey)}
        bands = {k: content.pop(k) for k in ("source_bands", "target_bands")}
        return content | surveys | {k: list(v) for k, v in bands.items() if v is not None}

    @property
    def surveys(self):
        """Source and target survey, each limited to the bands of the pairs."""
        ends = (self.source, self.source_bands), (self.target, self.target_bands)
        return tuple(get_survey(survey).select(bands) for survey, bands in ends)

    @property
    def target_pixel_scale(self):
        """Pixel scale of the target images (arcsec)."""
        return self.surveys[0].pixel_scale / self.scale


def default_size(source, _target=None):
    """
    Side of a source stamp in its pixels: about `EXTENT` arcsec, in steps of 16 from 64 to 128 pixels.

    Surveys with fine pixels get a smaller part of the sky.
    """
    return min(max(16 * round(EXTENT / get_survey(source).pixel_scale / 16), 64), 128)


def default_spread(source, _target=None):
    """Scatter of the seeing of a survey: 0.13, or 0.02 where all PSFs are sharper than the atmosphere allows."""
    return 0.13 if _from_the_ground(source) else 0.02


def default_long_end(source, _target=None):
    """Share of exposures of a survey whose seeing is drawn from its whole range: 0.4, or 0 from space."""
    return 0.4 if _from_the_ground(source) else 0.0


def _from_the_ground(survey):
    return max(band.fwhm for band in get_survey(survey).bands) > SPACE_FWHM


def _check_complete(survey):
    """Raise ValueError if a survey lacks what simulated images need."""
    for name in ("fwhm", "sky_rms"):
        lacking = [band.name for band in survey.bands if not np.isfinite(getattr(band, name))]
        if lacking:
            msg = f"survey {survey.name!r} has no {name} for {', '.join(lacking)}; simulated images need one"
            raise ValueError(msg)


class SimulatedPair(NamedTuple):
    """A pair and its truth; images are float32, in the flux unit of their survey per pixel."""

    source: np.ndarray  #: ``[C, size, size]``
    target: np.ndarray  #: ``[C', scale*size, scale*size]``
    clean: np.ndarray  #: the target without noise
    source_mask: np.ndarray  #: bool ``[C, size, size]``, True where the source is saturated
    truth: dict  #: one row of the truth table


def simulate_pair(settings, index):
    """
    Simulate one pair.

    Parameters
    ----------
    settings : `PairSettings`
    index : int
        Which pair: the same index gives the same pair.

    Returns
    -------
    `SimulatedPair`

    Examples
    --------
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
    >>> pair = simulate_pair(PairSettings(size=32), 0)
    >>> pair.source.shape, pair.target.shape, pair.truth["kind"]
    ((5, 32, 32), (5, 64, 64), 'galaxy')
    """
    rng = np.random.default_rng([settings.seed, index])
    surveys = settings.surveys
    extent = settings.size * surveys[0].pixel_scale
    scene = draw_scene(rng, surveys, extent, settings.kind, settings.sample, settings.blends)
    source = draw_seeing(rng, surveys[0], settings.seeing_spread, settings.long_end)
    seeings = source, draw_seeing(rng, surveys[1], 0.0)
    images = render_pair(scene, rng, surveys, seeings, settings.size, settings.scale)
    bad = saturate(rng, images[0], surveys[0])
    return SimulatedPair(*images, bad, _truth_row(settings, index, scene, seeings[0]))


def _truth_row(settings, index, scene, seeing):
    empty = dict.fromkeys(("z", "r", "half_light_radius", "bulge_fraction", "x", "y", "ebv"), np.nan)
    if settings.blends:
        empty |= {"blend_r": np.nan, "separation": np.nan}
    row = {"index": index, "kind": scene.kind} | empty | scene.truth
    names = [f"mag_{survey.name}_{band}" for survey in settings.surveys for band in survey.band_names]
    magnitudes = row.pop("magnitudes", np.full(len(names), np.nan))
    row |= dict(zip(names, map(float, magnitudes), strict=True))
    source = settings.surveys[0]
    row |= {name: getattr(seeing, name) for name in ("beta", "wings", "wing_width", "resampling")}
    stars = seeing.measured_fwhm(source.pixel_scale)
    for name, values in (("fwhm", seeing.fwhm), ("star_fwhm", stars), ("noise", seeing.sky_rms(source))):
        row |= {f"{name}_{b}": float(v) for b, v in zip(source.band_names, values, strict=True)}
    return row


def simulate_pairs(directory, count, settings=None, *, workers=None, progress=True):
    """
    Write a `~astro_galtrans.pairs.store.PairStore` of simulated pairs, or add what is missing of it; return it.

    Parameters
    ----------
    directory : path-like
        Folder of the set; created if missing.
    count : int
        Number of pairs; rounded up to whole shards of 64.
    settings : `PairSettings`, optional
        SDSS to CFHTLS Wide by default.
    workers : int, optional
        Processes; as many as there are cores by default. The pairs do not depend on it.
    progress : bool, optional
        Show a progress bar on a terminal.

    Raises
    ------
    ValueError
        If ``count`` is not positive, or if the folder holds pairs made with other settings.
    OSError
        If another process writes to the folder.

    Warns
    -----
    GaltransWarning
        If the folder holds more pairs than asked for, all of which its readers will use.

    Examples
    --------
    >>> import tempfile
    >>> from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(simulate_pairs(folder, 64, PairSettings(kind="star", size=16), workers=1, progress=False))
    <PairStore ...: 64 pairs sdss ugriz -> cfhtls-wide ugriz, scale 2, 16 pixels>
    """
    settings = settings or PairSettings()
    if count < 1:
        msg = f"the number of pairs must be positive, got {count}"
        raise ValueError(msg)
    if workers is not None and workers < 1:
        msg = f"workers must be 1 or more processes, got {workers}"
        raise ValueError(msg)
    for package in ("galsim", "speclite", "h5py"):  # asked for before anything is written
        require(package, extra="simulate")
    for survey in settings.surveys:  # tables built once, inherited by the workers
        star_colours(survey, 5000.0), galaxy_colours(survey, 0.0, 0.1, 0.0)
    header = PairHeader(*settings.surveys, settings.scale, settings.size, simulation=settings.to_dict())
    with PairWriter(directory, header):  # makes the folder and holds it, or finds other pairs in it
        missing = [k for k in range(-(-count // SHARD)) if not shard_path(directory, k).exists()]
        bar = tqdm(total=len(missing) * SHARD, unit="pair", disable=None if progress else True)
        pool = ProcessPoolExecutor(workers or os.cpu_count(), mp_context=_context(), initializer=die_with_parent)
        with bar, pool:
            try:
                each = map if workers == 1 else pool.map  # one is this process itself
                for _ in each(_write_shard, [directory] * len(missing), [settings] * len(missing), missing):
                    bar.update(SHARD)
            except BrokenProcessPool as err:
                msg = f"a process that simulates for {directory} was ended from outside, perhaps for lack of memory"
                raise OSError(msg) from err
    store = PairStore(directory)
    if len(store) > SHARD * -(-count // SHARD):
        msg = f"{directory} holds {len(store)} pairs, more than the {count} asked for: of an earlier, larger request"
        warnings.warn(msg, GaltransWarning, stacklevel=2)
    return store


def _context():
    import multiprocessing

    # forked workers inherit the colour tables, which take seconds to compute; elsewhere each computes its own
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else None)


def _write_shard(directory, settings, number):
    _write(shard_path(directory, number), settings, range(number * SHARD, (number + 1) * SHARD))


def simulate_shard(directory, settings, first, number):
    """Write ``number`` pairs from ``first`` on, a shard at most, into a folder of their own, and return the store."""
    header = PairHeader(*settings.surveys, settings.scale, settings.size, simulation=settings.to_dict())
    with PairWriter(directory, header):
        _write(shard_path(directory, 0), settings, range(first, first + number))
    return PairStore(directory)


def _write(path, settings, indices):
    sigma = settings.surveys[1].sky_rms(settings.target_pixel_scale)[:, None, None]
    source, target, clean, bad, rows = zip(*(simulate_pair(settings, k) for k in indices), strict=True)
    planes = {"source": source, "target": target, "source_mask": bad, "signal": np.array(clean) > SIGNAL * sigma}
    write_shard(path, planes, rows)

"""
Simulated pairs on disk: a `~astro_galtrans.pairstore.PairStore` whose table is the truth.

A shard appears whole, so an interrupted run goes on where it stopped; pair ``i`` depends on the seed and ``i`` only,
whatever the number of workers.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
from tqdm.auto import tqdm

from astro_galtrans.pairstore import PairHeader, PairStore, PairWriter, shard_path, write_shard
from astro_galtrans.surveys import get_survey

from .photometry import galaxy_colours, star_colours
from .population import Sample, draw_scene
from .render import draw_seeing, render_pair

__all__ = ["SIGNAL", "PairSettings", "simulate_pair", "simulate_pairs"]

SIGNAL = 3.0  #: sigma of the target's sky above which a noise-free pixel counts as signal
SHARD = 64


@dataclass(frozen=True)
class PairSettings:
    """What makes a simulated pair set; pairs are a function of it and their index."""

    source: str = "sdss"
    target: str = "cfhtls-wide"
    scale: int = 2
    size: int = 64  #: side of the source stamp (source pixels)
    seed: int = 1
    seeing_spread: float = 0.13  #: log-normal scatter of the source's seeing
    kind: str | None = None  #: one kind of stamp for all (see `astro_galtrans.simulate.population.KINDS`)
    sample: Sample = field(default_factory=Sample)  #: which central galaxies

    @classmethod
    def from_dict(cls, content):
        """Undo `dataclasses.asdict`."""
        return cls(**content | {"sample": Sample(**content.get("sample", {}))})

    @property
    def target_pixel_scale(self):
        """Pixel scale of the target images (arcsec)."""
        return get_survey(self.source).pixel_scale / self.scale


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
    source, target, clean : `~numpy.ndarray`
        As `~astro_galtrans.simulate.render.render_pair`.
    truth : dict
        One row of the truth table.
    """
    rng = np.random.default_rng([settings.seed, index])
    surveys = settings.source, settings.target
    extent = settings.size * get_survey(settings.source).pixel_scale
    scene = draw_scene(rng, surveys, extent, settings.kind, settings.sample)
    seeings = draw_seeing(rng, surveys[0], settings.seeing_spread), draw_seeing(rng, surveys[1], 0.0)
    images = render_pair(scene, rng, surveys, seeings, settings.size, settings.scale)
    return *images, _truth_row(settings, index, scene, seeings[0])


def _truth_row(settings, index, scene, seeing):
    empty = dict.fromkeys(("z", "r", "half_light_radius", "bulge_fraction", "x", "y", "ebv"), np.nan)
    row = {"index": index, "kind": scene.kind} | empty | scene.truth
    magnitudes = scene.truth.get("magnitudes")
    names = [f"mag_{s}_{b}" for s in (settings.source, settings.target) for b in get_survey(s).band_names]
    values = np.full(len(names), np.nan) if magnitudes is None else magnitudes
    row.pop("magnitudes", None)
    row |= dict(zip(names, map(float, values), strict=True))
    bands = get_survey(settings.source).band_names
    return row | {f"fwhm_{b}": float(f) for b, f in zip(bands, seeing.fwhm, strict=True)}


def simulate_pairs(directory, count, settings=None, *, workers=None, progress=True):
    """
    Write a set of simulated pairs, or add what is missing of it.

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

    Returns
    -------
    `~astro_galtrans.pairstore.PairStore`

    Raises
    ------
    ValueError
        If ``count`` is not positive, or if the folder holds pairs made with other settings.
    """
    settings = settings or PairSettings()
    if count < 1:
        msg = f"the number of pairs must be positive, got {count}"
        raise ValueError(msg)
    PairWriter(directory, _header(settings))  # makes the folder, or finds out that it holds other pairs
    for name in (settings.source, settings.target):  # tables built once, inherited by the workers
        star_colours(name, 5000.0), galaxy_colours(name, 0.0, 0.1, 0.0)
    missing = [k for k in range(-(-count // SHARD)) if not shard_path(directory, k).exists()]
    bar = tqdm(total=len(missing) * SHARD, unit="pair", disable=None if progress else True)
    with bar, ProcessPoolExecutor(workers or os.cpu_count(), mp_context=_context()) as pool:
        for _ in pool.map(_write_shard, [directory] * len(missing), [settings] * len(missing), missing):
            bar.update(SHARD)
    return PairStore(directory)


def _context():
    import multiprocessing

    # forked workers inherit the colour tables, which take seconds to compute; elsewhere each computes its own
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else None)


def _header(settings):
    surveys = get_survey(settings.source), get_survey(settings.target)
    return PairHeader(*surveys, settings.scale, settings.size, simulation=asdict(settings))


def _write_shard(directory, settings, number):
    sigma = get_survey(settings.target).sky_rms(settings.target_pixel_scale)[:, None, None]
    pairs = [simulate_pair(settings, number * SHARD + k) for k in range(SHARD)]
    source, target, clean, rows = zip(*pairs, strict=True)
    planes = {"source": source, "target": target, "signal": np.array(clean) > SIGNAL * sigma}
    write_shard(shard_path(directory, number), planes, rows)

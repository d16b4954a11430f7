"""
The pair set on disk: simulated source and target images, with their truth.

A pair set is a folder of shards, ``shard-00000/`` and so on, each with

- ``source.npy``  float32 ``[N, C, size, size]``, source survey's flux unit per pixel,
- ``target.npy``  float32 ``[N, C', scale*size, scale*size]``, target survey's flux unit per (finer) pixel,
- ``signal.npy``  uint8, ``[N, C', scale*size, scale*size // 8]``: bits (`numpy.packbits`) of the target pixels
  whose noise-free flux
  exceeds `SIGNAL` sigma of the sky,
- ``truth.ecsv``  one row per pair: redshift, magnitudes, size, seeing.

and of ``pairs.json``, the settings. A shard appears whole (it is written beside and renamed), so an interrupted run
goes on where it stopped; pair ``i`` depends on the seed and ``i`` only, whatever the number of workers.
"""

import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from tqdm.auto import tqdm

from astro_galtrans.surveys import get_survey

from .photometry import galaxy_colours, star_colours
from .population import Sample, draw_scene
from .render import draw_seeing, render_pair

__all__ = ["SIGNAL", "PairSet", "PairSettings", "simulate_pair", "simulate_pairs"]

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
    `PairSet`

    Raises
    ------
    ValueError
        If ``count`` is not positive, or if the folder holds pairs made with other settings.
    """
    settings = settings or PairSettings()
    if count < 1:
        msg = f"the number of pairs must be positive, got {count}"
        raise ValueError(msg)
    directory = Path(directory)
    _claim(directory, settings)
    for name in (settings.source, settings.target):  # tables built once, inherited by the workers
        star_colours(name, 5000.0), galaxy_colours(name, 0.0, 0.1, 0.0)
    missing = [k for k in range(-(-count // SHARD)) if not _shard_path(directory, k).exists()]
    bar = tqdm(total=len(missing) * SHARD, unit="pair", disable=None if progress else True)
    with bar, ProcessPoolExecutor(workers or os.cpu_count(), mp_context=_context()) as pool:
        for _ in pool.map(_write_shard, [directory] * len(missing), [settings] * len(missing), missing):
            bar.update(SHARD)
    return PairSet(directory)


def _context():
    import multiprocessing

    # forked workers inherit the colour tables, which take seconds to compute; elsewhere each computes its own
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if "fork" in methods else None)


def _claim(directory, settings):
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pairs.json"
    if path.exists():
        there = json.loads(path.read_text(encoding="utf8"))
        if there != asdict(settings):
            differ = {k: (there.get(k), v) for k, v in asdict(settings).items() if there.get(k) != v}
            msg = (
                f"{directory} holds pairs made with other settings (there, asked for): {differ}; choose another folder"
            )
            raise ValueError(msg)
        return
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(settings), indent=1), encoding="utf8")
    temporary.replace(path)


def _shard_path(directory, number):
    return directory / f"shard-{number:05d}"


def _write_shard(directory, settings, number):
    sigma = get_survey(settings.target).sky_rms(settings.target_pixel_scale)[:, None, None]
    pairs = [simulate_pair(settings, number * SHARD + k) for k in range(SHARD)]
    source, target, clean, rows = zip(*pairs, strict=True)
    temporary = directory / f".shard-{number:05d}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    np.save(temporary / "source.npy", np.array(source))
    np.save(temporary / "target.npy", np.array(target))
    np.save(temporary / "signal.npy", np.packbits(np.array(clean) > SIGNAL * sigma, axis=-1))
    Table(rows=list(rows)).write(temporary / "truth.ecsv", format="ascii.ecsv")
    temporary.rename(_shard_path(directory, number))


class PairSet:
    """
    A pair set opened for reading; images stay on disk until asked for.

    Parameters
    ----------
    directory : path-like
        A folder written by `simulate_pairs`.

    Raises
    ------
    FileNotFoundError
        If the folder is not a pair set or holds no finished shard.
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        path = self.directory / "pairs.json"
        self.shards = sorted(self.directory.glob("shard-*"))
        if not path.exists() or not self.shards:
            why = "no pairs.json, or no finished shard"
            msg = f"{self.directory} is not a pair set ({why}); make one with: galtrans simulate"
            raise FileNotFoundError(msg)
        self.settings = PairSettings.from_dict(json.loads(path.read_text(encoding="utf8")))

    def __len__(self):
        return SHARD * len(self.shards)

    def __repr__(self):
        return f"<PairSet {self.directory}: {len(self)} pairs {self.settings.source} -> {self.settings.target}>"

    @cached_property
    def truth(self):
        """Truth of every pair, a `~astropy.table.Table` in the order of the pairs."""
        return vstack([Table.read(shard / "truth.ecsv", format="ascii.ecsv") for shard in self.shards])

    @cached_property
    def _arrays(self):
        return [
            {name: np.load(shard / f"{name}.npy", mmap_mode="r") for name in ("source", "target", "signal")}
            for shard in self.shards
        ]

    def source(self, index):
        """Source image of a pair, float32 ``[C, size, size]``; a view of the file."""
        return self._arrays[index // SHARD]["source"][index % SHARD]

    def target(self, index):
        """Target image of a pair, float32 ``[C', scale*size, scale*size]``; a view of the file."""
        return self._arrays[index // SHARD]["target"][index % SHARD]

    def signal(self, index):
        """Which target pixels hold signal, bool ``[C', scale*size, scale*size]``."""
        return np.unpackbits(self._arrays[index // SHARD]["signal"][index % SHARD], axis=-1).astype(bool)

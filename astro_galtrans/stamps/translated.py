"""Stamps through a translator, kept in a folder and found again, so that a run that was interrupted goes on."""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np

from astro_galtrans._files import CheckedFile, whole_file
from astro_galtrans._progress import tqdm
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.inputs import Observation
from astro_galtrans.psf import as_psf, widths
from astro_galtrans.surveys import Band, Survey
from astro_galtrans.units import flux_factor

from .lazy import joined

__all__ = ["SETTINGS_FILE", "open_translated", "target_survey", "translated"]

SETTINGS_FILE = "translation.json"
VARIANCE = "-variance"  # end of the names of files with the variance of the error that a translator states
CHUNK = 64  # stamps translated, and written, at once


def translated(translator, stamps, like=None, *, n_samples=None, seed=0, directory=None, progress=True):
    """Stamps through a translator, samples apart: see `Stamps.from_translator`."""
    if not hasattr(translator, "stamps"):
        msg = f"expected a Translator, got {translator!r}; load_translator gives one by its name or file"
        raise ValueError(msg)
    if like is not None and len(like) != len(stamps):
        msg = f"{like.name} has {len(like)} galaxies, {stamps.name} {len(stamps)}; give both of the same, in order"
        raise ValueError(msg)
    if n_samples is not None and n_samples < 1:
        msg = f"n_samples must be 1 or more, got {n_samples}"
        raise ValueError(msg)
    like = (
        (target_survey(translator), stamps.pixel_scale / translator.spec.scale, None)
        if like is None
        else (like.survey, like.pixel_scale, like.sky_rms)
    )
    convert = _Conversion(translator, stamps, *like[:2])
    if translator.spec.observed and _unknown(stamps.psf):
        msg = f"nothing tells the PSF of {stamps.name}: what is typical of the survey is assumed; give psf="
        warnings.warn(msg, GaltransWarning, stacklevel=3)
    settings = {
        "translator": translator.name, "weights": translator.checkpoint.sha256, "seed": seed, "chunk": CHUNK,
        "n_samples": n_samples if translator.samples else 1, "number": len(stamps),
        "bands": like[0].band_names, "zeropoint": like[0].zeropoint, "stamps": _fingerprint(stamps, progress),
    }  # fmt: skip
    chunks = range(0, len(stamps), CHUNK)

    def translate(k):
        rows = slice(chunks[k], chunks[k] + CHUNK)
        images, options = convert.source(stamps.read(rows)), {"n_samples": settings["n_samples"], "seed": seed + k}
        observation = convert.observation(stamps, rows) if translator.spec.observed else None
        found = translator.stamps(images, observation=observation, variance=True, **options)
        return convert.target(*found)

    folder = None if directory is None else _folder(Path(directory), translator.name, settings)
    parts = []
    with tqdm(total=len(stamps), desc=translator.name, unit="stamp", disable=None if progress else True) as bar:
        for k, start in enumerate(chunks):
            if folder is None:
                parts.append(translate(k))
            elif not all(_chunk(folder, k, kind).exists() for kind in ("", VARIANCE)):
                flux, variance = translate(k)
                for array, kind in ((variance, VARIANCE), (flux, "")):
                    with whole_file(_chunk(folder, k, kind)) as place, CheckedFile(place) as file:
                        np.save(file, array)
            bar.update(min(CHUNK, len(stamps) - start))
    images, variance = open_translated(folder) if folder else map(np.concatenate, zip(*parts, strict=True))
    return type(stamps)(images, *like, variance=variance, name=translator.name)


def open_translated(folder):
    """
    Folder of translated stamps as lazy arrays: flux ``[N, S, C, H, W]``, and variance ``[N, C, H, W]`` of its mean.

    FileNotFoundError unless all are there.
    """
    folder = Path(folder)
    if not (folder / SETTINGS_FILE).exists():
        msg = f"{folder} holds no translated stamps (no {SETTINGS_FILE})"
        raise FileNotFoundError(msg)
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf8"))
    numbers = range(-(-settings["number"] // settings["chunk"]))
    files = [[_chunk(folder, k, kind) for k in numbers] for kind in ("", VARIANCE)]
    missing = [name for of_kind in files for name in of_kind if not name.exists()]
    if missing:
        msg = f"{folder} is not complete: {len(missing)} of {2 * len(numbers)} files are missing; translate again"
        raise FileNotFoundError(msg)
    return tuple(joined([np.load(file, mmap_mode="r") for file in of_kind]) for of_kind in files)


def target_survey(translator):
    """
    Return the survey that a translator makes images of, as its card has it: noise unknown.

    Parameters
    ----------
    translator : `~astro_galtrans.Translator`

    Examples
    --------
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.stamps import target_survey
    >>> target_survey(load_translator("srgan-sdss-cfhtls")).zeropoint
    30.0
    """
    target = translator.target
    widths = target.get("fwhm") or [np.nan] * len(translator.bands_out)
    bands = [Band(name, fwhm, np.nan) for name, fwhm in zip(translator.bands_out, widths, strict=True)]
    # cards of earlier versions leave the survey's own pixels out
    native = target.get("native_pixel_scale", target["pixel_scale"])
    return Survey(target["survey"], "", native, target["unit"], target["zeropoint"], bands)


def _unknown(psf):
    """Whether PSFs are FWHMs of which some are not known."""
    return not hasattr(psf, "transform") and np.ndim(psf) < 3 and not np.isfinite(psf).all()


class _Conversion:
    """Bands and zero points of stamps to those of a translator, and back."""

    def __init__(self, translator, stamps, survey, pixel_scale):
        name, scale = translator.name, translator.source["pixel_scale"]
        self._bands_in = _chosen(translator.bands_in, stamps.bands, f"{name} needs", stamps.name)
        self._bands_out = _chosen(survey.band_names, translator.bands_out, f"{survey.name} has", name)
        fine = np.isclose(pixel_scale * translator.spec.scale, stamps.pixel_scale, rtol=0.01)
        if not (fine and np.isclose(scale, stamps.pixel_scale, rtol=0.01)):
            got = f'{stamps.pixel_scale:.4g}" and {pixel_scale:.4g}"'
            msg = (
                f'{name} is for pixels of {scale:.4g}" and makes {translator.spec.scale} of each, the pairs have {got}'
            )
            raise ValueError(msg)
        self._typical = translator.inputs.typical.fwhm if translator.spec.observed else None
        self._factor_in = np.float32(flux_factor(stamps.survey.zeropoint, translator.source["zeropoint"]))
        self._factor_out = np.float32(flux_factor(translator.target["zeropoint"], survey.zeropoint))

    def source(self, images):
        return self._factor_in * images[:, self._bands_in]

    def observation(self, stamps, rows):
        """How some of the stamps were taken."""
        rows = np.arange(len(stamps))[rows]
        noise = self._factor_in * np.broadcast_to(stamps.sky_rms, (len(stamps), len(stamps.bands)))[rows]
        seen, psf = (len(rows), len(self._bands_in)), stamps.psf
        if _unknown(psf):
            # neither table, PSF images nor survey say how wide it is: what is typical of the translator's source
            fwhm = np.broadcast_to(psf, (len(stamps), len(stamps.bands)))[rows][:, self._bands_in]
            fwhm = np.where(np.isfinite(fwhm), fwhm, self._typical)
        else:
            psf = as_psf(psf, len(stamps), stamps.bands, stamps.pixel_scale, f"the PSF of {stamps.name}")
            fwhm = widths(psf, rows, stamps.pixel_scale)[:, self._bands_in]
        return Observation(fwhm, noise[:, self._bands_in], np.ones(seen, bool))

    def target(self, images, variance):
        return self._factor_out * images[:, :, self._bands_out], self._factor_out**2 * variance[:, self._bands_out]


def _chosen(wanted, available, who, whose):
    missing = [band for band in wanted if band not in available]
    if missing:
        msg = f"{who} {', '.join(wanted)}, but {whose} has {', '.join(available)}: {', '.join(missing)} missing"
        raise ValueError(msg)
    return [available.index(band) for band in wanted]


def _fingerprint(stamps, progress):
    """What tells one set of stamps from another: survey, and every pixel."""
    digest = hashlib.sha256(json.dumps(stamps.survey.to_dict(), sort_keys=True, default=str).encode())
    bar = tqdm(list(stamps.blocks()), desc=f"reading {stamps.name}", disable=None if progress else True)
    for rows in bar:
        digest.update(stamps.read(rows).tobytes())
    return digest.hexdigest()


def _folder(directory, name, settings):
    """A folder of its own for these stamps, this translator and these settings."""
    text = json.dumps(settings, indent=1)
    folder = directory / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / SETTINGS_FILE) as file:
        file.write_text(text, encoding="utf8")
    return folder


def _chunk(folder, k, kind=""):
    return folder / f"{k:05d}{kind}.npy"

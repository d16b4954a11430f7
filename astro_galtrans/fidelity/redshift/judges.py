"""The estimators that judge: given ones, or ones trained on each side's own stamps, kept on disk and found again."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from astro_galtrans import photoz
from astro_galtrans._files import fingerprint

__all__ = ["Judges"]

PROBES = 64  # stamps whose pixels identify a training set


class Judges:
    """
    Estimators of redshift for the sides of a comparison.

    Parameters
    ----------
    estimator : str, callable or dict
        ``"image"`` or ``"photometric"``; a function that trains one; or fitted ones by the name of the side.
    z_spec : `numpy.ndarray`
        ``[N]``: redshifts of all galaxies.
    train : `numpy.ndarray` of int
        Which of them train.
    ebv : `numpy.ndarray` or None
        ``[N]``: Galactic reddening.
    directory : path-like or None
        Where trained estimators are kept.
    options : dict
        For the function that trains: ``grid``, ``seed`` and what else it takes.
    """

    def __init__(self, estimator, z_spec, train, *, ebv, directory, options):
        self._make, self._fitted = _maker(estimator)
        self._z_spec, self._train, self._ebv, self._options = z_spec, train, ebv, options
        self._directory = None if directory is None else Path(directory)

    def of(self, side):
        """Return the estimator for a `Side`, or None if only others are given."""
        if self._fitted is not None:
            estimator = self._fitted.get(side.name)
            return None if estimator is None else _checked(estimator, side)
        stamps, z_spec = side.view(self._train), self._z_spec[self._train]
        settings = side.imaging | self._options | {"ebv": self._reddening(self._train)}
        if self._directory is not None:
            settings["directory"] = (
                self._directory / f"{side.name}-{_fingerprint(self._make, stamps, z_spec, settings)}"
            )
            settings["directory"].mkdir(parents=True, exist_ok=True)
        return self._make(stamps, z_spec, **settings)

    def predict(self, estimator, side, rows, sample=0):
        """Return the PDFs of some galaxies' stamps."""
        return estimator.predict(side.view(rows, sample), ebv=self._reddening(rows))

    def _reddening(self, rows):
        return None if self._ebv is None else self._ebv[rows]


def _maker(estimator):
    """The function that trains and the fitted estimators, one of which is None."""
    if isinstance(estimator, Mapping):
        if "target" not in estimator:
            msg = f"a dict of fitted estimators needs one for 'target', got {', '.join(map(str, estimator)) or 'none'}"
            raise ValueError(msg)
        return None, estimator
    if callable(estimator):
        return estimator, None
    if estimator not in {"image", "photometric"}:
        msg = f"estimator must be 'image', 'photometric', a function or a dict of estimators, got {estimator!r}"
        raise ValueError(msg)
    return (photoz.train_image if estimator == "image" else _train_photometric), None


def _train_photometric(images, z_spec, *, directory=None, **settings):
    path = None if directory is None else Path(directory) / "photometric.safetensors"
    if path is not None and path.exists():
        return photoz.load(path)
    estimator = photoz.train_photometric(images, z_spec, **settings)
    if path is not None:
        estimator.save(path)
    return estimator


def _checked(estimator, side):
    """An estimator that says what images it is for must be given such."""
    bands = getattr(estimator, "bands", None)
    if bands is not None and tuple(bands) != side.bands:
        ours, theirs = ", ".join(side.bands), ", ".join(bands)
        msg = f"the estimator given for {side.name} is for bands {theirs}, but its stamps are in {ours}"
        raise ValueError(msg)
    scale = getattr(estimator, "pixel_scale", None)
    if scale is not None and not np.isclose(scale, side.pixel_scale, rtol=0.01):
        ours = f'{side.pixel_scale:.4g}"'
        msg = f'the estimator given for {side.name} is for pixels of {scale:.4g}", but those of its stamps are {ours}'
        raise ValueError(msg)
    return estimator


def _fingerprint(make, stamps, z_spec, settings):
    """What tells one training set and its settings from another, so that an estimator of the same is found again."""
    name = getattr(make, "__qualname__", type(make).__name__)
    probes = np.unique(np.linspace(0, len(stamps) - 1, PROBES).astype(int))
    arrays = np.asarray(z_spec, dtype=float), np.asarray(stamps[probes], dtype=np.float32)
    return fingerprint(name, *arrays, json.dumps(settings, default=_plain, sort_keys=True))[:12]


def _plain(value):
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | np.number | list | tuple) else str(value)

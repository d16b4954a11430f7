"""The estimators that judge: given ones, or ones trained on each side's own stamps, kept on disk and found again."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from astro_galtrans import photoz
from astro_galtrans._files import fingerprint
from astro_galtrans._plain import plain_name
from astro_galtrans.photoz import GridPDF
from astro_galtrans.stamps.stamps import check_noise

__all__ = ["Judges", "imaging"]


def imaging(stamps):
    """Return what the trainers of `astro_galtrans.photoz` ask for of a set of stamps, whose sky noise must be known."""
    check_noise(stamps)
    sky = np.median(stamps.sky_rms, axis=0)  # estimators look at all galaxies alike
    return {"bands": stamps.bands, "pixel_scale": stamps.pixel_scale, "sky_rms": tuple(sky.tolist())}


class Judges:
    """
    Estimators of redshift for the sides of a comparison, trained on the galaxies ``train`` or given.

    ``estimator``, ``ebv`` and ``directory`` are arguments of
    `~astro_galtrans.fidelity.redshift.measure.redshift_fidelity`; ``options`` go to the function that trains.
    """

    def __init__(self, estimator, z_spec, train, *, ebv, directory, options):
        self._make, self._fitted = _maker(estimator)
        self._z_spec, self._train, self._ebv, self._options = z_spec, train, ebv, options
        self._directory = None if directory is None else Path(directory)

    def of(self, name, stamps):
        """Return the estimator for the stamps of a side, or None if only others are given."""
        if self._fitted is not None:
            estimator = self._fitted.get(name)
            return None if estimator is None else _checked(estimator, name, stamps)
        part, z_spec = stamps.sample()[self._train], self._z_spec[self._train]
        settings = imaging(stamps) | self._options | {"ebv": self._reddening(self._train)}
        if self._directory is not None:
            name = plain_name(name, "the name of a translation")
            folder = self._directory / f"{name}-{_fingerprint(self._make, part, z_spec, settings)}"
            folder.mkdir(parents=True, exist_ok=True)
            settings["directory"] = folder
        return self._make(part.images, z_spec, **settings)

    def predict(self, estimator, stamps, rows):
        """Return the PDFs of some galaxies' stamps."""
        return estimator.predict(stamps[rows].images, ebv=self._reddening(rows))

    def averages(self, estimator, stamps, rows):
        """Yield 1, 2, 4, ... and the number of samples, and the PDFs averaged over so many samples."""
        density, last = 0.0, stamps.n_samples or 1
        for number in range(1, last + 1):
            pdfs = self.predict(estimator, stamps.sample(number - 1), rows)
            density = density + pdfs.density
            if number == last or number.bit_count() == 1:
                yield number, pdfs if number == 1 else GridPDF(pdfs.z, density / number)

    def _reddening(self, rows):
        return None if self._ebv is None else self._ebv[rows]


def _maker(estimator):
    """Return the function that trains and the fitted estimators, one of which is None."""
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


def _checked(estimator, name, stamps):
    """Return an estimator, once the bands and pixels that it says it is for are those of the stamps."""
    bands = getattr(estimator, "bands", None)
    if bands is not None and tuple(bands) != stamps.bands:
        ours, theirs = ", ".join(stamps.bands), ", ".join(bands)
        msg = f"the estimator given for {name} is for bands {theirs}, but its stamps are in {ours}"
        raise ValueError(msg)
    scale = getattr(estimator, "pixel_scale", None)
    if scale is not None and not np.isclose(scale, stamps.pixel_scale, rtol=0.01):
        ours = f'{stamps.pixel_scale:.4g}"'
        msg = f'the estimator given for {name} is for pixels of {scale:.4g}", but those of its stamps are {ours}'
        raise ValueError(msg)
    return estimator


def _fingerprint(make, stamps, z_spec, settings):
    """Return a hash of all that a training depends on: the function, every pixel, redshifts and settings."""
    name = f"{getattr(make, '__module__', '')}.{getattr(make, '__qualname__', repr(make))}"
    pixels = (fingerprint(stamps.read(rows)) for rows in stamps.blocks())  # block by block: all may not fit in memory
    return fingerprint(name, settings, np.asarray(z_spec, dtype=float), *pixels)[:12]

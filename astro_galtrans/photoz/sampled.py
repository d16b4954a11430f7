"""Redshifts of galaxies of one survey by an estimator for another: PDFs averaged over samples of their translations."""

import numpy as np

from astro_galtrans._progress import tqdm
from astro_galtrans.stamps import Stamps

from .estimators import MagnitudeEstimator, NetworkEstimator
from .pdfs import GridPDF

__all__ = ["predict_averaged"]

BLOCK = 16  # galaxies at once: 32 samples of 128 x 128 pixels in five bands are 170 MB


def predict_averaged(estimator, translator, stamps, *, n_samples=32, seed=0, ebv=None, progress=True):
    """
    Return the redshift PDF of each galaxy, a `~astro_galtrans.photoz.GridPDF`, averaged over samples of what the target
    survey may have recorded of it.

    Parameters
    ----------
    estimator : `~astro_galtrans.photoz.ImageEstimator`, `~astro_galtrans.photoz.PhotometricEstimator` or
        `~astro_galtrans.photoz.WrappedEstimator`
        Made for real images of the target survey, in its flux unit; of your own code by `~astro_galtrans.photoz.wrap`.
    translator : `~astro_galtrans.Translator`
        One that samples.
    stamps : `~astro_galtrans.stamps.Stamps`
        Of the source survey, with the galaxy in the middle.
    n_samples : int, optional
        Samples of each galaxy.
    seed : int, optional
        Of the samples.
    ebv : array-like, optional
        ``[N]``: Galactic E(B-V) in mag, for an estimator that wants it.
    progress : bool, optional
        Show a progress bar on a terminal.

    Raises
    ------
    TypeError
        If the estimator takes magnitudes.
    ValueError
        If the translator does not sample and more than one sample is asked for, or bands or pixel scale of the
        translations are not those of the estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import load_translator, photoz
    >>> from astro_galtrans.stamps import Stamps
    >>> judge = photoz.wrap(lambda images: np.full(len(images), 0.2), np.linspace(0, 1, 101), width=0.03)
    >>> stamps = Stamps(np.random.default_rng(1).normal(0, 0.03, (2, 5, 40, 40)), "sdss", psf=1.4)
    >>> translator = load_translator("photometric-sdss-cfhtls")
    >>> photoz.predict_averaged(judge, translator, stamps, n_samples=2).median().round(2).tolist()
    [0.2, 0.2]
    """
    if isinstance(estimator, MagnitudeEstimator):
        msg = (
            f"the estimator {estimator.name!r} takes magnitudes, not images; give it those of "
            "astro_galtrans.fluxes(sample, apertures) of each sample, and average with GridPDF.average"
        )
        raise TypeError(msg)
    if not translator.samples and n_samples != 1:
        msg = (
            f"{translator.name} is deterministic: a PDF of its one answer is far too narrow; give it a sampler "
            f"(galtrans calibrate --sampler), or ask for n_samples=1, got {n_samples}"
        )
        raise ValueError(msg)
    ebv, density = None if ebv is None else np.asarray(ebv), np.empty((len(stamps), len(estimator.grid)))
    with tqdm(total=len(stamps), unit="galaxy", disable=None if progress else True) as bar:
        for rows in stamps.blocks(BLOCK):
            drawn = Stamps.from_translator(
                translator, stamps[rows], n_samples=n_samples, seed=seed + rows.start, progress=False
            )
            known = {} if ebv is None else {"ebv": ebv[rows]}
            if isinstance(estimator, NetworkEstimator):
                known |= {"bands": drawn.bands, "pixel_scale": drawn.pixel_scale}
            pdfs = (estimator.predict(drawn.read(np.s_[:, k]), **known) for k in range(drawn.n_samples))
            density[rows] = GridPDF.average(pdfs).density
            bar.update(len(drawn))
    return GridPDF.normalised(estimator.grid, density)

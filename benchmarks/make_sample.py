"""
Make the bundled sample: a simulated SDSS ugriz image in the form of survey frames, and its CFHTLS counterpart.

Run as ``python benchmarks/make_sample.py``; it writes the two files in ``astro_galtrans/data``. The stamp is one
that no training or test set holds (its seed is its own).
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

import astro_galtrans
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair
from astro_galtrans.psf import measured_fwhm
from astro_galtrans.surveys import get_survey

SETTINGS = PairSettings(seed=20250803, size=112, kind="galaxy")
INDEX = 38
CENTRE = 150.06, 2.20  # a made-up place in the sky


def main():
    source, target, *_, truth = simulate_pair(SETTINGS, INDEX)
    folder = Path(astro_galtrans.__file__).parent / "data"
    for name, image, scale in ((SETTINGS.source, source, 1), (SETTINGS.target, target, SETTINGS.scale)):
        survey = get_survey(name)
        path = folder / f"sample_{survey.name}.fits.fz"
        write(path, image, survey, get_survey(SETTINGS.source).pixel_scale / scale, truth, scale)
        print(path, path.stat().st_size)
    print({key: value for key, value in truth.items() if not key.startswith("mag")})


def write(path, image, survey, pixel_scale, truth, scale):
    """Write one extension per band, compressed to a small part of the noise."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = CENTRE
    wcs.wcs.crpix = (np.array(image.shape[:0:-1]) + 1) / 2
    wcs.wcs.cdelt = -pixel_scale / 3600, pixel_scale / 3600
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for plane, band in zip(image, survey.bands, strict=True):
        header = wcs.to_header()
        header["FILTER"] = band.name
        header["BUNIT"] = survey.flux_unit
        header["MAGZERO"] = survey.zeropoint, "AB magnitude of one flux unit"
        header["SIMULATE"] = True, "simulated with astro_galtrans.pairs.simulated"
        fwhm = (truth[f"fwhm_{band.name}"], truth["beta"]) if scale == 1 else (band.fwhm,)
        header["SEEING"] = round(float(measured_fwhm(*fwhm, pixel_scale=pixel_scale)), 3), "[arcsec] FWHM of stars"
        header["REDSHIFT"] = round(truth["z"], 4), "of the central galaxy"
        # steps of a sixteenth of the noise, dithered: no bias, and the noise grows by less than 0.1 per cent
        hdus.append(fits.CompImageHDU(plane, header, name=band.name.upper(), quantize_level=16, dither_seed=1))
    hdus.writeto(path, overwrite=True)


if __name__ == "__main__":
    main()

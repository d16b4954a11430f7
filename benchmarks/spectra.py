"""
Redshifts of spectra of known redshift, further away and fainter: how many are right, and how many of those not flagged.

Each SDSS spectrum in FOLDER (``spec-*.fits``, whose redshift SDSS measured) is moved to a higher redshift on its own
grid of wavelengths, dimmed, and given noise of the shape that its own errors have (large where the night sky is bright)
to a given median signal-to-noise per pixel. What a redshift brings in from below 3800 Angstrom was not observed and is
masked: the [OII] line, which real spectra show there, is missing, and the table is on the careful side.

Run as ``python benchmarks/spectra.py FOLDER [-n REALISATIONS] [--rst FILE]``.
"""

import argparse
import time
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.nddata import InverseVariance
from specutils import Spectrum

from astro_galtrans import spectra

REDSHIFTS = 0.05, 0.15, 0.3, 0.45, 0.6
SIGNAL_TO_NOISE = 0.5, 1, 2, 4
#: 1000 km/s: further off, a redshift is wrong.
TOLERANCE = 1 / 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("folder")
    parser.add_argument("-n", "--realisations", type=int, default=6)
    parser.add_argument("--rst")
    parser.add_argument("--save", help="write every redshift to this file (.npy)")
    options = parser.parse_args()
    originals = [read(path) for path in sorted(Path(options.folder).glob("spec-*.fits"))]
    rows = measure_all(originals, options.realisations)
    if options.save:
        np.save(options.save, rows)
    text = table(rows)
    print(text)
    if options.rst:
        Path(options.rst).write_text(text)


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the unit in the header has two slashes
        spectrum = Spectrum.read(path)
    with fits.open(path) as hdus:
        return spectrum, float(hdus[2].data["Z"][0])


def degrade(spectrum, z_old, z_new, signal_to_noise, rng):
    """Move a spectrum to a higher redshift, and drown it in noise of the shape its errors have."""
    wavelength = spectrum.spectral_axis.to_value(u.AA).astype(float)
    ivar = spectrum.uncertainty.array.astype(float)
    flux = np.interp(wavelength, wavelength * (1 + z_new) / (1 + z_old), spectrum.flux.value.astype(float), left=np.nan)
    seen = np.isfinite(flux) & (ivar > 0)
    shape = np.where(seen, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 1)
    sigma = shape * np.median(flux[seen] / shape[seen]) / signal_to_noise
    noisy = np.where(seen, flux, 0) + rng.normal(0, sigma)
    return Spectrum(
        flux=noisy * spectrum.flux.unit,
        spectral_axis=wavelength * u.AA,
        uncertainty=InverseVariance(sigma**-2.0),
        mask=~seen,
        meta={"header": {"VACUUM": True}},
    )


def measure_all(originals, realisations):
    rows = []
    rng = np.random.default_rng(1)
    for z in REDSHIFTS:
        for ratio in SIGNAL_TO_NOISE:
            for number, (spectrum, z_old) in enumerate(originals):
                for _ in range(realisations):
                    start = time.process_time()
                    found = spectra.redshift(degrade(spectrum, z_old, z, ratio, rng))
                    rows.append((z, ratio, number, found.z, found.uncertainty, int(found.flag), found.margin,
                                 found.delta_chi2, found.r, time.process_time() - start))  # fmt: skip
    names = ["z", "ratio", "number", "found", "uncertainty", "flag", "margin", "gain", "r", "seconds"]
    return np.array(rows, dtype=[(name, float) for name in names])


def table(rows):
    """Per redshift and signal-to-noise: right of all; right of those not flagged; share not flagged."""
    right = np.abs(rows["found"] - rows["z"]) < TOLERANCE * (1 + rows["z"])
    clear = rows["flag"] == 0
    lines = [".. list-table::", "   :header-rows: 1", "", "   * - redshift"]
    lines += [f"     - S/N = {ratio}" for ratio in SIGNAL_TO_NOISE]
    for z in REDSHIFTS:
        lines.append(f"   * - {z:g}")
        for ratio in SIGNAL_TO_NOISE:
            here = (rows["z"] == z) & (rows["ratio"] == ratio)
            purity = f"{right[here & clear].mean():.0%}" if (here & clear).any() else "-"
            lines.append(f"     - {right[here].mean():.0%}, {purity} of {clear[here].mean():.0%}")
    return "\n".join(lines).replace("%", " %") + "\n"


if __name__ == "__main__":
    main()

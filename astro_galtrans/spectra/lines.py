"""Emission lines of galaxies: wavelengths in vacuum, and typical flux ratios."""

import numpy as np

__all__ = ["LINES", "LINE_RATIOS", "SPEED_OF_LIGHT", "line_spectrum"]

SPEED_OF_LIGHT = 299792.458  #: km/s

#: Rest wavelength in vacuum (Angstrom).
LINES = {
    "MgII_2796": 2796.352, "MgII_2803": 2803.531, "NeV_3427": 3426.84, "OII_3727": 3727.092, "OII_3730": 3729.875,
    "NeIII_3870": 3869.86, "H8": 3890.166, "NeIII_3969": 3968.59, "Hepsilon": 3971.198, "Hdelta": 4102.892,
    "Hgamma": 4341.692, "HeII_4687": 4687.02, "Hbeta": 4862.691, "OIII_4960": 4960.295, "OIII_5008": 5008.240,
    "HeI_5877": 5877.249, "OI_6302": 6302.046, "OI_6366": 6365.536, "NII_6550": 6549.86, "Halpha": 6564.632,
    "NII_6585": 6585.27, "SII_6718": 6718.294, "SII_6733": 6732.674, "ArIII_7138": 7137.757, "SIII_9071": 9071.1,
    "SIII_9533": 9533.2,
}  # fmt: skip

# Case B, H-alpha / H-beta = 2.86 (Osterbrock & Ferland 2006); H-alpha below is raised by the dust usual for each kind.
_BALMER = {"Hbeta": 1.0, "Hgamma": 0.45, "Hdelta": 0.24, "Hepsilon": 0.14, "H8": 0.09}

#: Flux of each line relative to H-beta, for the corners of the diagram of Baldwin, Phillips & Terlevich (1981) as SDSS
#: galaxies fill it (Kewley et al. 2006, MNRAS 372, 961). The doublets keep the ratios that atomic physics gives them
#: ([OIII] 2.98, [NII] 3.05, [OI] 3.1, [SIII] 2.5) or that low density does ([OII] 0.7, [SII] 1.4).
LINE_RATIOS = {
    "metal-rich HII": {
        **_BALMER, "Halpha": 3.8, "OII_3727": 0.45, "OII_3730": 0.6, "OIII_4960": 0.1, "OIII_5008": 0.3,
        "HeI_5877": 0.1, "NII_6550": 0.43, "NII_6585": 1.3, "SII_6718": 0.6, "SII_6733": 0.45, "OI_6302": 0.08,
        "SIII_9071": 0.1, "SIII_9533": 0.25,
    },
    "metal-poor HII": {
        **_BALMER, "Halpha": 3.0, "OII_3727": 1.0, "OII_3730": 1.4, "NeIII_3870": 0.35, "NeIII_3969": 0.11,
        "OIII_4960": 1.5, "OIII_5008": 4.5, "HeI_5877": 0.12, "NII_6550": 0.07, "NII_6585": 0.2, "SII_6718": 0.25,
        "SII_6733": 0.18, "OI_6302": 0.05, "ArIII_7138": 0.08, "SIII_9071": 0.2, "SIII_9533": 0.5,
    },
    "Seyfert": {
        **_BALMER, "Halpha": 3.6, "MgII_2796": 0.6, "MgII_2803": 0.4, "NeV_3427": 0.6, "OII_3727": 1.2, "OII_3730": 1.5,
        "NeIII_3870": 0.8, "NeIII_3969": 0.25, "HeII_4687": 0.2, "OIII_4960": 2.7, "OIII_5008": 8.0, "OI_6302": 0.6,
        "OI_6366": 0.2, "NII_6550": 1.0, "NII_6585": 3.1, "SII_6718": 1.0, "SII_6733": 0.9, "SIII_9071": 0.3,
        "SIII_9533": 0.8,
    },
    "LINER": {
        **_BALMER, "Halpha": 3.4, "OII_3727": 2.2, "OII_3730": 2.8, "NeIII_3870": 0.4, "OIII_4960": 0.7,
        "OIII_5008": 2.0, "OI_6302": 0.9, "OI_6366": 0.3, "NII_6550": 1.3, "NII_6585": 4.0, "SII_6718": 1.9,
        "SII_6733": 1.6,
    },
}  # fmt: skip


def line_spectrum(wavelength, fluxes, dispersion):
    """
    Flux per wavelength of Gaussian lines at rest wavelengths in vacuum (Angstrom), which increase.

    ``fluxes`` maps names of `LINES` to fluxes; ``dispersion`` is the standard deviation of the lines (km/s).
    """
    spectrum = np.zeros(np.shape(wavelength))
    for name, flux in fluxes.items():
        sigma = LINES[name] * dispersion / SPEED_OF_LIGHT
        near = slice(*np.searchsorted(wavelength, LINES[name] + np.array([-8, 8]) * sigma))
        shape = np.exp(-0.5 * ((wavelength[near] - LINES[name]) / sigma) ** 2)
        spectrum[near] += flux * shape / (sigma * np.sqrt(2 * np.pi))
    return spectrum

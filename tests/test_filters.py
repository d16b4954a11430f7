"""Filter curves by name, against the wavelengths that the surveys publish."""

import numpy as np
import pytest

galsim = pytest.importorskip("galsim")
speclite_filters = pytest.importorskip("speclite.filters")

from astropy import units as u  # noqa: E402
from astropy.table import QTable  # noqa: E402

from astro_galtrans.filters import load_curve  # noqa: E402
from astro_galtrans.pairs.simulated.colours import _colours, _galaxy_table, galaxy_colours, star_colours  # noqa: E402
from astro_galtrans.surveys import Band, Survey, get_survey, list_surveys  # noqa: E402

# Pivot or effective wavelengths (Angstrom) as published: SDSS, Fukugita et al. (1996); PS1, Tonry et al. (2012);
# HSC, Kawanomoto et al. (2018); LSST, Ivezic et al. (2019); DECam, Abbott et al. (2018); NISP, Schirmer et al. (2022);
# Hubble, instrument handbooks; MegaCam, CFHT's page of the filters MP9301 to MP9801. OmegaCAM's are copies of SDSS's.
PUBLISHED = {
    "sdss": (3551, 4686, 6166, 7480, 8932),
    "kids": (3551, 4686, 6166, 7480),
    "panstarrs": (4810, 6170, 7520, 8660, 9620),
    "hsc-wide": (4816, 6234, 7741, 8912, 9780),
    "lsst-10yr": (3671, 4827, 6223, 7546, 8691, 9712),
    "des": (4770, 6371, 7774, 9157, 9887),
    "decals": (4770, 6371, 9157),
    "cfhtls-wide": (3811, 4862, 6258, 7545, 8870),
    "cfhtls-deep": (3811, 4862, 6258, 7545, 8870),
    "euclid-vis": (7200,),
    "euclid-nisp": (10809, 13673, 17714),
    "hst-acs-cosmos": (8045,),
    "hst-acs-goods": (4330, 5922, 7693, 9032),
    "hst-wfc3-candels": (12486, 15369),
}


def pivot(wavelength, response):
    return np.sqrt((response * wavelength).sum() / (response / wavelength).sum())


@pytest.mark.parametrize("name", list_surveys())
def test_wavelengths(name):
    pivots = [pivot(*load_curve(band.filter)) for band in get_survey(name).bands]
    np.testing.assert_allclose(pivots, PUBLISHED[name], rtol=0.03)
    assert (np.diff(pivots) > 0).all()


# MegaCam minus SDSS against an SDSS colour: slopes that the CADC measured on stars of MegaPipe and SDSS, of whatever
# types those are. Pickles' dwarfs of F to K type support 0.03. In u it takes M stars too, since u - g of F stars hardly
# changes (the Balmer jump), and 0.04: the slope of SNLS is -0.211 (Regnault et al. 2009).
CADC = [
    ("u", "ug", -0.241, 3500, 0.04),
    ("g", "gr", -0.153, 4500, 0.03),
    ("r", "gr", -0.024, 4500, 0.03),
    ("i", "ri", -0.085, 4500, 0.03),
    ("z", "iz", 0.074, 4500, 0.03),
]


@pytest.mark.parametrize(("band", "colour", "slope", "coolest", "within"), CADC)
@pytest.mark.parametrize("survey", ["cfhtls-wide", "cfhtls-deep"])
def test_colour_terms_of_megacam_with_sdss(survey, band, colour, slope, coolest, within):
    temperature = np.linspace(coolest, 6000, 50)
    sdss, megacam = (dict(zip("ugriz", star_colours(s, temperature).T, strict=True)) for s in ("sdss", survey))
    against = sdss[colour[0]] - sdss[colour[1]]
    assert np.polyfit(against, megacam[band] - sdss[band], 1)[0] == pytest.approx(slope, abs=within)


def test_a_trapezoid():
    wavelength, response = load_curve("trapezoid(6000,1000,100)")
    assert response.sum() * 4 == pytest.approx(1000, rel=0.01)
    assert wavelength[response > 0.5].min() == pytest.approx(5500, abs=4)
    assert wavelength[response > 0.5].max() == pytest.approx(6500, abs=4)


@pytest.mark.parametrize("suffix", [".ecsv", ".dat"])
def test_a_file_of_the_users(tmp_path, suffix):
    curve = speclite_filters.load_filter("sdss2010-g")
    path = tmp_path / f"mine{suffix}"
    if suffix == ".ecsv":
        table = QTable({"wave": (curve.wavelength * u.AA).to(u.nm), "response": curve.response})
        table.write(path)
    else:
        np.savetxt(path, np.column_stack([curve.wavelength, curve.response]))
    survey = Survey("mine", "", 0.3, "nmgy", 22.5, (Band("g", 1.0, 0.1, filter=str(path)),))
    np.testing.assert_allclose(galaxy_colours(survey, 1, 0.2, 0.1), galaxy_colours("sdss", 1, 0.2, 0.1)[1:2], atol=1e-4)


@pytest.mark.parametrize("name", ["sdss2010-q", "megacam-MP9702", "galsim:F000W", "nothing.dat", "trapezoid(1,2)"])
def test_no_such_curve(name):
    with pytest.raises(ValueError, match="there is no filter curve"):
        load_curve(name)


@pytest.mark.parametrize("name", ["sdss2010-u", "cfht_megacam-g", "Euclid-H", "decam2014-Y", "lsst2023-y"])
def test_colours_as_speclite_gives_them(name):
    wave, flux = np.linspace(2500, 24000, 9000), None
    flux = (wave / 5000) ** -1.5 * (1 + 0.3 * np.sin(wave / 300))
    filters = [speclite_filters.load_filter(f) for f in (name, "sdss2010-r")]
    expected = -2.5 * np.log10(filters[0].get_ab_maggies(flux, wave) / filters[1].get_ab_maggies(flux, wave))
    assert _colours((name,), wave, flux)[0] == pytest.approx(expected, abs=0.004)


def test_infrared_colours_of_galaxies_and_stars():
    for name in ("euclid-nisp", "hst-wfc3-candels"):
        assert np.isfinite(galaxy_colours(name, [0.0, 3.0], [0.0, 1.2], 0.6)).all()
        assert np.isfinite(star_colours(name, [3000.0, 9500.0])).all()
    # a cool star is brighter in the infrared than in r, a hot one fainter
    assert star_colours("euclid-nisp", 3000.0)[2] < -1 < 0.5 < star_colours("euclid-nisp", 9500.0)[2]


def test_a_filter_beyond_the_spectra():
    with pytest.raises(ValueError, match=r"trapezoid.* reaches from .* to 24.*, the model spectra .* 22050: leave"):
        _galaxy_table(("trapezoid(22000,4000,100)",))

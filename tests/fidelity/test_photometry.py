"""Photometry: measurements against photutils, statistics of changes that are known, profiles against closed forms."""

import numpy as np
import pytest
import torch
from astropy.utils import minversion
from photutils.aperture import CircularAperture
from photutils.centroids import centroid_2dg
from photutils.profiles import CurveOfGrowth, RadialProfile
from photutils.segmentation import SegmentationImage, SourceCatalog

from astro_galtrans import measure
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity.photometry import PhotometryFidelity, photometry_fidelity
from astro_galtrans.measure.photometry import Photometer, aperture_weights, peak_flux
from astro_galtrans.measure.profiles import Rings
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics import Bootstrap
from helpers import aperture_sum, make_survey

BANDS = "g", "r"
SIZE, SCALE, NUMBER, SIGMA = 44, 0.25, 80, 2.5
SURVEY = make_survey(BANDS, SCALE)
QUICK = dict(progress=False, bootstrap=Bootstrap(60))
Y, X = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2


def gaussian(flux, sigma=SIGMA, x=0.0, y=0.0):
    """Of a total flux, which may be an array."""
    profile = np.exp(-0.5 * ((X - x) ** 2 + (Y - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    return np.asarray(flux)[..., None, None] * profile


@pytest.fixture(scope="module")
def flux():
    """``[N, C]``, of colour 0.75."""
    return 10 ** np.random.default_rng(1).uniform(3, 4, NUMBER)[:, None] * np.array([1.0, 2.0])


@pytest.fixture(scope="module")
def stamps(flux):
    return (gaussian(flux) + np.random.default_rng(2).normal(0, 1, (NUMBER, 2, SIZE, SIZE))).astype(np.float32)


@pytest.fixture(scope="module")
def result(flux, stamps):
    rng = np.random.default_rng(3)

    def noisy(clean):
        return (clean + rng.normal(0, 1, clean.shape)).astype(np.float32)

    translated = {
        "same": stamps,
        "brighter": noisy(gaussian(flux * [1.1, 1.3])),
        "blurred": noisy(gaussian(flux, np.hypot(SIGMA, 2.0))),
        "moved": noisy(gaussian(flux, x=0.6, y=-0.8)),
        "scattered": noisy(gaussian(flux * rng.normal(1, 0.1, flux.shape))),
    }
    by = {"redshift": rng.uniform(0, 1, NUMBER)}
    return photometry_fidelity(Stamps(stamps, SURVEY), translated, by=by, bins=2, **QUICK)


@pytest.fixture(scope="module")
def ellipses():
    """Tilted galaxies off the centre, with a neighbour."""
    rng, found = np.random.default_rng(4), []
    for _ in range(6):
        angle, x, y = rng.uniform(0, np.pi), *rng.normal(0, 1, 2)
        u, v = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle), (Y - y) * np.cos(angle) - (X - x) * np.sin(angle)
        found.append(60 * np.exp(-0.5 * (u**2 / 12 + v**2 / 5)) + 40 * np.exp(-((X - 16) ** 2 + (Y + 16) ** 2) / 4))
    return (np.array(found) + rng.normal(0, 1, (6, SIZE, SIZE))).astype(np.float32)


def test_an_image_is_itself(result):
    rows = result.rows("statistics", model="same")
    values = {name: rows[rows["statistic"] == name] for name in ("bias", "scatter", "spearman", "ks", "wasserstein")}
    np.testing.assert_array_equal(values["bias"]["value"], values["bias"]["pair"] == "ratio")
    np.testing.assert_allclose(values["spearman"]["value"], 1)
    for name in ("scatter", "ks", "wasserstein"):
        assert len(values[name]) > 20 and (values[name]["value"] == 0).all()
    np.testing.assert_allclose(result.rows("profiles", model="same")["growth"], 1)


@pytest.mark.parametrize(("band", "factor"), [("g", 1.1), ("r", 1.3)])
def test_a_flux_error_is_found(result, band, factor):
    for quantity in ("flux_1", "flux_2", "flux_3", "flux_6", "flux_kron"):
        value, low, high = result.value(quantity, model="brighter", band=band)
        assert low < value < high and abs(value - factor) < max(5 * (high - low), 0.002), quantity
    rows = result.rows("profiles", model="brighter", band=band)
    np.testing.assert_allclose(rows["ratio"][:4], factor, rtol=0.01)
    np.testing.assert_allclose(rows["growth"][8], factor, rtol=0.01)


def test_its_colour_too(result):
    expected = -2.5 * np.log10(1.1 / 1.3)
    np.testing.assert_allclose(result.value("colour", model="brighter")[0], expected, atol=0.002)
    rows = result.rows("colour_profiles", model="brighter", band="g - r")[:5]
    np.testing.assert_allclose(rows["target"].value, 2.5 * np.log10(2), atol=0.02)
    np.testing.assert_allclose(rows["difference"].value, expected, atol=0.02)


def test_blur_is_that_of_the_kernel(result):
    """Gaussians add in squares; their fluxes in circles and profiles have closed forms."""
    wide, radius = np.hypot(SIGMA, 2.0) * SCALE, 1.0
    np.testing.assert_allclose(result.value("fwhm", model="blurred")[0], wide / (SIGMA * SCALE), rtol=2e-3)
    sigma = SIGMA * SCALE
    within = (1 - np.exp(-0.5 * radius**2 / wide**2)) / (1 - np.exp(-0.5 * radius**2 / sigma**2))
    np.testing.assert_allclose(result.value("flux_2", model="blurred")[0], within, rtol=2e-3)
    rows = result.rows("profiles", model="blurred", band="r")[:6]
    outer, inner = rows["outer_radius"].value, rows["outer_radius"].value - rows["outer_radius"][0].value
    light = [np.exp(-0.5 * inner**2 / s**2) - np.exp(-0.5 * outer**2 / s**2) for s in (wide, sigma)]
    np.testing.assert_allclose(rows["ratio"], light[0] / light[1], rtol=0.02)
    assert np.abs(result.value("colour", model="blurred")[0]) < 0.005


def test_a_shift_is_found(result):
    np.testing.assert_allclose(result.value("shift", model="moved")[0], SCALE, rtol=5e-3)
    np.testing.assert_allclose(result.value("centroid_x", model="moved")[0], 0.6 * SCALE, atol=2e-3)
    np.testing.assert_allclose(result.value("centroid_y", model="moved")[0], -0.8 * SCALE, atol=2e-3)


def test_scatter_is_found(result):
    value, low, high = result.value("flux_3", "scatter", model="scattered")
    assert low < value < high and abs(value - 0.1) < 3 * (high - low)
    expected = 1.0857 * 0.1 * np.sqrt(2)
    np.testing.assert_allclose(result.value("colour", "scatter", model="scattered")[0], expected, rtol=0.3)


def test_fluxes_are_those_of_photutils(stamps, result):
    centre = ((SIZE - 1) / 2,) * 2
    for diameter in (1, 2, 3, 6):
        aperture = CircularAperture(centre, diameter / 2 / SCALE)
        expected = [aperture_sum(stamp[0].astype(float), aperture)[0] for stamp in stamps[:5]]
        found = result.of_galaxies(f"flux_{diameter}_target", band="g")[:5]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_kron_is_that_of_photutils(ellipses):
    photometer, images = Photometer((SIZE, SIZE), SCALE, (3.0,)), torch.from_numpy(ellipses)
    central, others = photometer.segments(images, torch.ones(6))
    assert central.any((1, 2)).all() and others.any((1, 2)).all()
    found = photometer.kron(images, central, others)
    new = minversion("photutils", "3.0")
    method, axis_name = ("aperture_mask_method", "semimajor_axis") if new else ("apermask_method", "semimajor_sigma")
    for stamp, mine, other, (flux, axis) in zip(ellipses, central, others, found, strict=True):
        labels = SegmentationImage(mine.numpy().astype(int) + 2 * other.numpy())
        catalogue = SourceCatalog(stamp.astype(float), labels, **{method: "mask"})
        np.testing.assert_allclose(flux, catalogue.kron_flux[0], rtol=1e-5)
        theirs = 2.5 * catalogue.kron_radius * getattr(catalogue, axis_name)
        np.testing.assert_allclose(axis, theirs[0].value, rtol=1e-5)


def test_centroids_agree_with_a_fit(ellipses):
    photometer = Photometer((SIZE, SIZE), SCALE, (3.0,))
    found = photometer.adaptive(torch.from_numpy(ellipses))[:, :2].numpy() + (SIZE - 1) / 2
    expected = [centroid_2dg(stamp[8:36, 8:36]) + 8 for stamp in ellipses]
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_moments_of_a_gaussian_are_its_own():
    image = torch.from_numpy(gaussian(1.0, 2.2, x=1.3, y=-0.4)[None].astype(np.float32))
    found = Photometer((SIZE, SIZE), SCALE, (3.0,)).adaptive(image)[0]
    np.testing.assert_allclose(found, [1.3, -0.4, 2.2 * 2 * np.sqrt(2 * np.log(2))], atol=2e-3)


def test_profiles_are_those_of_photutils(ellipses):
    images = np.stack([ellipses, 2 * ellipses], axis=1)
    edges, centre = np.arange(0, 5.1, 0.5), ((SIZE - 1) / 2,) * 2
    rings = Rings((SIZE, SIZE), SCALE, edges)
    sums = rings.sums(images)
    assert sums.shape == (6, 2, 10)
    for k in range(2):
        theirs = RadialProfile(images[3, k].astype(float), centre, edges / SCALE)
        np.testing.assert_allclose(rings.middles, theirs.radius * SCALE)
        np.testing.assert_allclose((sums / rings.area)[3, k] * SCALE**2, theirs.profile, rtol=1e-4, atol=1e-4)
        growth = CurveOfGrowth(images[3, k].astype(float), centre, rings.edges[1:] / SCALE)
        np.testing.assert_allclose(np.cumsum(sums[3, k]), growth.profile, rtol=1e-5)
    images[1, 0, 0, 0] = np.nan
    table = measure.photometry(Stamps(images, make_survey("gr", SCALE)), rings=rings, progress=False)
    measured = table["rings"].value.reshape(sums.shape)
    assert np.isnan(measured[1, 0]).all()
    np.testing.assert_allclose(np.delete(measured, 1, axis=0), np.delete(sums, 1, axis=0))


def test_apertures_are_those_of_photutils():
    """At every offset of a circle from its pixels, and for circles that leave the stamp."""
    for centre, radius in (((10.3, 8.8), 4.2), ((0.0, 1.0), 6.0), ((9.5, 9.5), 0.4)):
        expected = CircularAperture(centre, radius).to_mask(method="exact").to_image((18, 20))
        np.testing.assert_allclose(aperture_weights((18, 20), [radius], centre)[0], expected)
    np.testing.assert_allclose(aperture_weights((40, 40), [9.7]).sum(), np.pi * 9.7**2)


def test_a_table_has_a_row_per_galaxy_and_band(stamps, flux):
    """What is measured of one set: fluxes that a Gaussian has, errors of the sky noise, magnitudes that are AB."""
    table = measure.photometry(Stamps(stamps, SURVEY), diameters=[3.0, 8.0, 50.0], progress=False)
    assert len(table) == 2 * NUMBER and list(table["band"][:3]) == ["g", "r", "g"]
    assert list(table["row"][:3]) == [0, 0, 1] and "flux_50" not in table.colnames
    assert str(table["flux_8"].unit) == "adu" and str(table["fwhm"].unit) == "arcsec"
    pulls = (table["flux_8"].value - flux.ravel()) / table["flux_8_err"].value
    assert abs(pulls.std() - 1) < 0.1 and abs(pulls.mean()) < 0.2
    np.testing.assert_allclose(table["flux_8_err"].value, np.sqrt(np.pi) * 4 / SCALE, rtol=0.01)
    within = 1 - np.exp(-0.5 * (1.5 / SCALE / SIGMA) ** 2)
    np.testing.assert_allclose(table["mag"].value, 30 - 2.5 * np.log10(within * flux.ravel()), atol=0.15)
    peaks = stamps[:, :, 14:-14, 14:-14].max(axis=(2, 3))
    np.testing.assert_allclose(table["peak"].value, peaks.ravel())
    np.testing.assert_allclose(peak_flux(torch.from_numpy(stamps), SCALE), peaks)
    with pytest.raises(ValueError, match="has 2 samples; choose one"):
        measure.photometry(Stamps(np.stack([stamps, stamps], axis=1), SURVEY))


def test_area_is_that_within_the_isophote():
    """A Gaussian above a level covers 2 pi sigma^2 ln(peak / level); smoothing and its level are `segments`' own."""
    image, noise = gaussian(4e4, 4.0)[None, None].astype(np.float32), 0.5
    table = measure.photometry(Stamps(image, make_survey("r", SCALE, noise)), progress=False)
    smoothing = 0.42466 / SCALE
    wide = 4.0**2 + smoothing**2
    level = 3 * noise / (2 * np.sqrt(np.pi) * smoothing)  # what smoothing leaves of white noise
    expected = 2 * np.pi * wide * np.log(4e4 / (2 * np.pi * wide) / level) * SCALE**2
    np.testing.assert_allclose(table["area"][0].value, expected, rtol=0.02)


def test_bins(result, flux):
    rows = result.rows("bins", model="brighter", band="r", quantity="flux_3", by="flux", statistic="bias")
    assert list(rows["n"]) == [NUMBER / 2] * 2
    np.testing.assert_allclose(rows["value"], 1.3, rtol=5e-3)
    assert abs(rows["bin_high"][0] / np.median(flux[:, 1]) - 1) < 0.2
    assert len(result.rows("bins", by="redshift", model="same", band="g - r", statistic="scatter")) == 2


def test_galaxies_that_cannot_be_measured_are_counted(stamps):
    real, ours = stamps.copy(), stamps.copy()
    real[:3, 1, 5, 5] = np.nan
    ours[2:7, 1, 20, 20] = np.inf
    real[10] = np.random.default_rng(5).normal(0, 1, real[10].shape)  # nothing there
    result = photometry_fidelity(Stamps(real, SURVEY), {"ours": ours}, **QUICK)
    row = result.rows("statistics", quantity="flux_3", band="r", statistic="bias")[0]
    counts = [row[name] for name in ("n", "not_in_target", "not_in_translated", "not_in_both")]
    assert counts == [NUMBER - 8, 3, 4, 1]
    assert (result.rows("statistics", quantity="flux_3", band="g")["n"] == NUMBER - 1).all()
    assert np.isnan(result.of_galaxies("flux_3", band="r")[2:7]).all()
    # the same pixels, said to be bad: no galaxy is lost
    mask = ~np.isfinite(real) | ~np.isfinite(ours)
    result = photometry_fidelity(Stamps(real, SURVEY, mask=mask), {"ours": ours}, **QUICK)
    assert (result.rows("statistics", quantity="flux_3", band="r")["n"] == NUMBER - 1).all()


def test_samples(stamps):
    samples = np.stack([stamps, 3 * stamps], axis=1)
    result = photometry_fidelity(Stamps(stamps, SURVEY), {"m": samples}, take="both", **QUICK)
    assert result.models == ["m", "m, mean"]
    np.testing.assert_allclose([result.value("flux_3", model=name)[0] for name in result.models], [1, 2], rtol=1e-5)


def test_kept_and_drawn(result, tmp_path):
    pytest.importorskip("matplotlib")
    result.write(tmp_path)
    again = PhotometryFidelity.read(tmp_path)
    assert again.value("colour", model="brighter") == result.value("colour", model="brighter")
    for name, table in again.tables.items():  # two models are drawn as five are
        again.tables[name] = table[np.isin(table["model"], ["same", "blurred"])]
    figures = dict(again.figures())
    assert set(figures) == {"bands", "bins", "colour_profiles", "colours", "profiles", "violins"}
    figures["violins"].savefig(tmp_path / "violins.png")
    figures["colour_profiles"].savefig(tmp_path / "profiles.png")


def test_a_single_band_has_no_colour(stamps, tmp_path):
    result = photometry_fidelity(Stamps(stamps[:, :1], SURVEY.select("g")), stamps[:, :1], **QUICK)
    assert "colours" not in result.tables and result.plot_colours() is None and result.plot_colour_profiles() is None


def test_one_galaxy(stamps):
    """Statistics of one are NaN, and it cannot be binned, which is said; what was measured is there."""
    with pytest.warns(GaltransWarning, match="flux has too few different values for 5 bins"):
        result = photometry_fidelity(Stamps(stamps[:1], SURVEY), stamps[:1], **QUICK)
    assert "bins" not in result.tables and result.plot_bins() is None
    assert np.isnan(result.value("flux_3")[0]) and np.isfinite(result.of_galaxies("flux_3")).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"translated": {"a": np.zeros((3, 2, SIZE, SIZE))}}, "a has 3 rows, target 80"),
        ({"diameters": [40.0]}, "no aperture of .40.0. arcsec diameter fits on stamps of 11 arcsec"),
        ({"by": {"redshift": [0.1]}}, "what to bin by, 'redshift', has shape"),
        ({"edges": [1.0, 0.5]}, "edges of rings must be two or more increasing radii"),
    ],
)
def test_what_does_not_fit_is_named(stamps, changes, message):
    arguments = QUICK | {"translated": stamps} | changes
    with pytest.raises(ValueError, match=message):
        photometry_fidelity(Stamps(stamps, SURVEY), arguments.pop("translated"), **arguments)


def test_rings_reach_the_edge_of_the_stamp():
    rings = Rings((40, 50), 0.2)
    assert rings.edges[-1] <= 4.0 < rings.edges[-1] + np.diff(rings.edges)[0]
    np.testing.assert_allclose(rings.area, np.pi * np.diff(rings.edges**2), rtol=1e-5)

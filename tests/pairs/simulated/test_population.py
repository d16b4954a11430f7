"""The population: magnitudes against speclite, distributions as stated."""

import numpy as np
import pytest

pytest.importorskip("galsim")
speclite_filters = pytest.importorskip("speclite.filters")

import galsim  # noqa: E402

from astro_galtrans.pairs.simulated.colours import SED_TYPES, _template, galaxy_colours, star_colours  # noqa: E402
from astro_galtrans.pairs.simulated.population import KINDS, Sample, Scene, _add_galaxy, draw_scene  # noqa: E402
from astro_galtrans.surveys import get_survey  # noqa: E402

SURVEYS = "sdss", "cfhtls-wide"


@pytest.mark.parametrize("redshift", [0.0, 0.2, 0.5])
def test_colours_against_galsim(redshift):
    """GalSim integrates the same template through the same curve by its own code."""
    for k, name in enumerate(SED_TYPES):
        table = galsim.LookupTable(*_template(name), interpolant="linear")
        sed = galsim.SED(table, wave_type="Ang", flux_type="flambda").atRedshift(redshift)
        magnitudes = []
        for band in ("g", "r"):
            curve = speclite_filters.load_filter(f"sdss2010-{band}")
            table = galsim.LookupTable(curve.wavelength, curve.response, interpolant="linear")
            bandpass = galsim.Bandpass(table, wave_type="Ang").withZeropoint("AB")
            magnitudes.append(sed.calculateMagnitude(bandpass))
        colours = galaxy_colours("sdss", k, redshift, 0.0)
        assert colours[1] - colours[2] == pytest.approx(magnitudes[0] - magnitudes[1], abs=0.01)


def test_dust_reddens_and_hot_stars_are_blue():
    clean, dusty = galaxy_colours("cfhtls-wide", 2.0, 0.1, [0.0, 0.4])
    assert np.diff(clean - clean[2]).max() < np.diff(dusty - dusty[2]).max() + 1
    assert dusty[0] - dusty[4] > clean[0] - clean[4] + 0.5
    cool, hot = star_colours("sdss", [3500.0, 9000.0])
    assert cool[1] - cool[2] > 1.0
    assert hot[1] - hot[2] < 0.2


def test_colours_of_known_stars():
    # the Sun in u-g, g-r, r-i, i-z: Willmer (2018, ApJS 236, 47)
    sun = -np.diff(star_colours("sdss", 5770.0))
    np.testing.assert_allclose(sun, [1.28, 0.47, 0.12, 0.02], atol=0.08)
    weak = -np.diff(star_colours("sdss", 6040.0, [0.0, 1.0]))
    assert weak[1, 0] < weak[0, 0] - 0.03  # the halo's turn-off stars have an ultraviolet excess
    dusty = -np.diff(star_colours("sdss", 5770.0, 0.0, 0.1)) - sun
    np.testing.assert_allclose(dusty, [0.094, 0.102, 0.059, 0.044], atol=0.012)  # Schlafly & Finkbeiner (2011), table 6


def test_kinds_and_truth(rng):
    assert sum(KINDS.values()) == pytest.approx(1)
    for kind in KINDS:
        scene = draw_scene(rng, SURVEYS, 25.0, kind)
        assert (scene.kind == kind) and bool(scene.truth) == (kind in {"galaxy", "star"})
    assert not scene.profiles and not scene.points  # the last kind is blank


def test_truth_is_the_sum_of_all_parts(rng):
    surveys = [get_survey(name) for name in SURVEYS]
    for r in np.linspace(15, 21, 60):
        scene = Scene("galaxy")
        truth = _add_galaxy(scene, rng, surveys, r, 0.0, 0.0)
        parts = [p.magnitudes for p in scene.profiles] + [magnitudes for *_, magnitudes in scene.points]
        total = -2.5 * np.log10(np.sum([10 ** (-0.4 * m) for m in parts], axis=0))
        np.testing.assert_allclose(truth["magnitudes"], total, atol=1e-9)
        assert truth["magnitudes"][2] == pytest.approx(r, abs=0.01)  # SDSS r


def test_redshift_grows_with_magnitude(rng):
    draws = [draw_scene(rng, SURVEYS, 10.0, "galaxy").truth for _ in range(600)]
    r, z = (np.array([t[key] for t in draws]) for key in ("r", "z"))
    assert (r > 14.5).all() and (r < 22).all() and (z > 0).all()
    assert np.median(z[np.abs(r - 17.8) < 1]) == pytest.approx(0.1, abs=0.03)
    assert np.median(z[r > 20.5]) > 2 * np.median(z[r < 17.5])


def test_of_a_blend_the_source_alone_shows_the_fainter_galaxy():
    rng = np.random.default_rng(5)
    scenes = [draw_scene(rng, SURVEYS, 25.0, "galaxy", blends=0.5) for _ in range(200)]
    blends = [scene for scene in scenes if scene.blend]
    assert 70 < len(blends) < 130
    for scene in blends:
        centre, reach = scene.truth, 2.0 + scene.truth["half_light_radius"]
        assert centre["r"] < centre["blend_r"] < centre["r"] + 3
        places = np.array([(p.x, p.y) for p in scene.blend.profiles])
        separations = np.hypot(*(places - [centre["x"], centre["y"]]).T)
        assert separations[0] == pytest.approx(centre["separation"]) and centre["separation"] >= 1.0
        # whatever else is left out of the target is near, too, and fainter; a galaxy of r > 18 has 6 arcsec at most
        assert (separations < reach + 6.0).all()
        flux = np.sum([10 ** (-0.4 * p.magnitudes[2]) for p in scene.blend.profiles if (p.x, p.y) == tuple(places[0])])
        assert -2.5 * np.log10(flux) == pytest.approx(centre["blend_r"], abs=0.6)  # a part of its light is in knots
    assert all("blend_r" not in scene.truth for scene in scenes if not scene.blend)


def test_sample_limits_the_central_galaxy():
    rng, sample = np.random.default_rng(9), Sample(r_bright=16.0, r_faint=18.0, z_max=0.15, offset=0.2)
    truths = [draw_scene(rng, SURVEYS, 10.0, "galaxy", sample).truth for _ in range(200)]
    r, z, x = (np.array([truth[name] for truth in truths]) for name in ("r", "z", "x"))
    assert 16 <= r.min() < r.max() <= 18
    assert z.max() <= 0.15
    assert np.abs(x).max() <= 0.2

"""The pair set on disk: the same pairs whatever the workers, resumed, and refused if it is another."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("h5py")
pytest.importorskip("speclite")

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.pairs.simulated import PairSettings, simulate_pair, simulate_pairs
from astro_galtrans.pairs.simulated.build import SHARD, SIGNAL
from astro_galtrans.pairs.simulated.population import Sample, draw_scene
from astro_galtrans.pairs.simulated.render import draw_seeing, render_pair
from astro_galtrans.pairs.store import PairStore, default_scale
from astro_galtrans.pairs.store._header import claim
from astro_galtrans.surveys import get_survey, list_surveys

SETTINGS = PairSettings(seed=5, size=16)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return simulate_pairs(tmp_path_factory.mktemp("pairs"), SHARD + 1, SETTINGS, workers=2, progress=False)


def test_whole_shards_with_truth(pairs):
    assert len(pairs) == len(pairs.table) == 2 * SHARD
    assert pairs.source(0).shape == (5, 16, 16) and pairs.target(SHARD).shape == (5, 32, 32)
    assert {"z", "r", "half_light_radius", "mag_sdss_r", "mag_cfhtls-wide_r", "fwhm_r"} <= set(pairs.table.colnames)
    galaxies = pairs.table[pairs.table["kind"] == "galaxy"]
    np.testing.assert_allclose(galaxies["mag_sdss_r"], galaxies["r"], atol=0.025)  # a bulge of 98 % stands alone


@pytest.mark.parametrize("index", [0, 77])
def test_a_pair_depends_on_seed_and_index_only(pairs, index):
    source, target, clean, _, truth = simulate_pair(SETTINGS, index)
    np.testing.assert_array_equal(pairs.source(index), source)
    np.testing.assert_array_equal(pairs.target(index), target)
    sky = get_survey("cfhtls-wide").sky_rms(0.198)[:, None, None]
    np.testing.assert_array_equal(pairs.signal(index), clean > SIGNAL * sky)
    assert pairs.table["index"][index] == truth["index"] == index
    other = simulate_pair(PairSettings(seed=6, size=16), index)[0]
    assert not np.array_equal(other, source)


def test_a_saturated_star_is_masked_in_the_store(tmp_path):
    settings = PairSettings(kind="star", seed=3, size=32)
    pairs = simulate_pairs(tmp_path, 2 * SHARD, settings, workers=1, progress=False)
    level = np.array([band.saturation for band in get_survey("sdss").bands])
    masked = np.array([pairs.source_mask(k).any(axis=(1, 2)) for k in range(len(pairs))])
    brightest = np.array([pairs.source(k).max(axis=(1, 2)) for k in range(len(pairs))])
    assert (brightest < level).all()
    r = pairs.table["r"]
    assert masked[r < 13.2, 2].all() and not masked[r > 16, 2].any()  # limit 14.1, in poor seeing 13.5
    assert not any(pairs.source_mask(k).all(axis=(1, 2)).any() for k in range(len(pairs)))


def test_interrupted_set_is_completed(pairs, tmp_path):
    resumed = simulate_pairs(tmp_path, SHARD, SETTINGS, workers=1, progress=False)
    before = (tmp_path / "shard-00000.h5").stat().st_mtime_ns
    resumed = simulate_pairs(tmp_path, 2 * SHARD, SETTINGS, workers=1, progress=False)
    assert (tmp_path / "shard-00000.h5").stat().st_mtime_ns == before
    np.testing.assert_array_equal(resumed.source(100), pairs.source(100))


def test_more_pairs_than_asked_for_are_said(pairs):
    with pytest.warns(GaltransWarning, match=r"holds 128 pairs, more than the 64 asked for"):
        assert len(simulate_pairs(pairs.directory, SHARD, SETTINGS, workers=1, progress=False)) == 2 * SHARD


def test_other_settings_are_refused(pairs):
    with pytest.raises(ValueError, match=r"other settings.*'simulation.seed': \(5, 6\)"):
        simulate_pairs(pairs.directory, 64, PairSettings(seed=6, size=16))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        simulate_pairs(pairs.directory, 0, SETTINGS)


def test_other_words_for_the_same_survey_are_not_other_settings(pairs):
    header = pairs.header
    told = replace(header.source, sources={"fwhm": "another paper"})
    claim(pairs.directory, replace(header, source=told))
    deeper = replace(told, bands=[replace(band, sky_rms=band.sky_rms / 2) for band in told.bands])
    with pytest.raises(ValueError, match=r"other settings.*source"):
        claim(pairs.directory, replace(header, source=deeper))


def test_not_a_pair_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a set of pairs"):
        PairStore(tmp_path)


@pytest.mark.parametrize(
    ("source", "target", "scale"),
    [
        ("sdss", "cfhtls-wide", 2),
        ("cfhtls-wide", "sdss", 1),
        ("sdss", "sdss", 1),
        ("hsc-wide", "lsst-10yr", 1),
        ("euclid-nisp", "euclid-vis", 3),
        ("sdss", "euclid-vis", 4),
        ("sdss", "hst-acs-cosmos", 4),  # no finer than that
        ("panstarrs", "sdss", 1),
    ],
)
def test_scale_of_a_pair(source, target, scale):
    settings = PairSettings(source, target)
    assert settings.scale == default_scale(source, target) == scale
    assert settings.target_pixel_scale == get_survey(source).pixel_scale / scale


@pytest.mark.parametrize("name", list_surveys())
def test_default_stamps_and_seeing(name):
    settings = PairSettings(name, name)
    assert 64 <= settings.size <= 128
    assert settings.size % 16 == 0
    space = name.startswith(("hst", "euclid"))
    assert (settings.seeing_spread, settings.long_end) == ((0.02, 0.0) if space else (0.13, 0.4))


def test_the_table_states_psf_and_noise_of_every_source(tmp_path):
    """Noise and FWHM of each image are those of its own pixels."""
    settings = PairSettings("sdss", "sdss", size=96, kind="blank", source_bands="gi", target_bands="r", seed=3)
    pairs = simulate_pairs(tmp_path, 1, settings, workers=1, progress=False)
    for k, band in enumerate("gi"):
        stated, typical = pairs.table[f"noise_{band}"], get_survey("sdss")[band].sky_rms
        measured = [pairs.source(n)[k].std() for n in range(len(pairs))]
        np.testing.assert_allclose(stated, measured, rtol=0.04)
        assert 0.4 * typical < stated.min() < 0.8 * typical < 1.25 * typical < stated.max() < 2.6 * typical
        assert np.log(stated / typical).std() == pytest.approx(np.hypot(0.2, 0.1), rel=0.3)
        assert pairs.table[f"fwhm_{band}"].max() > 1.5 * get_survey("sdss")[band].fwhm
    assert (pairs.table["beta"] >= 2.6).all() and (pairs.table["beta"] <= 4.765).all()
    assert set(pairs.table["resampling"]) <= {"none", "bilinear", "lanczos3"}
    np.testing.assert_allclose(pairs.target(0).std(), get_survey("sdss")["r"].sky_rms, rtol=0.04)


def test_some_bands_in_and_out():
    settings = PairSettings("decals", "hsc-wide", size=16, source_bands="z,g", target_bands=["i"])
    assert [survey.band_names for survey in settings.surveys] == [("g", "z"), ("i",)]
    source, target, clean, _, truth = simulate_pair(settings, 0)
    assert (source.shape, target.shape, clean.shape) == ((2, 16, 16), (1, 32, 32), (1, 32, 32))
    assert {name for name in truth if name.startswith(("mag", "fwhm", "noise"))} == {
        "mag_decals_g", "mag_decals_z", "mag_hsc-wide_i", "fwhm_g", "fwhm_z",
        "noise_g", "noise_z",
    }  # fmt: skip
    assert PairSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_settings_without_bands_read_as_before():
    # sets of earlier versions name no bands
    assert "source_bands" not in PairSettings().to_dict()
    assert PairSettings.from_dict({"source": "sdss", "target": "cfhtls-wide", "scale": 2, "size": 64}) == PairSettings()


def test_blends():
    """In the same seeing source less target is the light of the galaxy that the source alone shows."""
    settings = PairSettings("sdss", "sdss", kind="galaxy", size=64, blends=1.0, sample=Sample(17, 18, offset=0.0))
    assert PairSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    rng, seeings = np.random.default_rng(2), [draw_seeing(None, settings.surveys[0], 0.0)] * 2
    for _ in range(6):
        scene = draw_scene(rng, settings.surveys, 25.3, "galaxy", settings.sample, blends=1.0)
        source, target, _ = render_pair(scene, rng, settings.surveys, seeings, 64, 1, noise=False)
        parts = [p.magnitudes[2] for p in scene.blend.profiles] + [point[2][2] for point in scene.blend.points]
        flux = np.sum(10 ** (-0.4 * (np.array(parts) - 22.5)))
        assert flux > 0.97 * 10 ** (-0.4 * (scene.truth["blend_r"] - 22.5))  # it, and sources of the field as near
        assert (source - target)[2].sum() == pytest.approx(flux, rel=0.05)  # some of the light falls outside
    truth = simulate_pair(replace(settings, blends=1e-9), 0)[-1]
    assert np.isnan(truth["blend_r"]) and "blend_r" not in simulate_pair(replace(settings, blends=0.0), 0)[-1]


def test_a_survey_of_the_users(tmp_path):
    mine = replace(get_survey("sdss").select("r"), name="mine", pixel_scale=0.3)
    settings = PairSettings("sdss", mine, size=16)
    assert settings.scale == 1
    assert PairSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    pairs = simulate_pairs(tmp_path, 1, PairSettings("sdss", mine, size=8, kind="blank"), workers=1, progress=False)
    assert pairs.header.target == mine
    assert "mag_mine_r" in pairs.table.colnames


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 5}, "scale must be one of 1, 2, ... 4, got 5"),
        ({"size": 33}, r"size must be one of 8, 10, ... 2048, got 33"),
        ({"target_bands": "y"}, "'cfhtls-wide' has no band 'y'"),
        ({"blends": 1.5}, "blends is a share of the central galaxies, from 0 to 1, got 1.5"),
        ({"source": "sds"}, "unknown survey 'sds'"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        PairSettings(**options)


def test_what_simulations_need():
    band = get_survey("sdss")["r"]
    with pytest.raises(ValueError, match="'mine' has no sky_rms for r"):
        PairSettings("sdss", replace(get_survey("sdss"), name="mine", bands=(replace(band, sky_rms=math.nan),)))
    curveless = replace(get_survey("sdss"), name="mine", bands=(replace(band, filter=""),))
    with pytest.raises(ValueError, match="'mine' has no filter curve for r"):
        simulate_pair(PairSettings("sdss", curveless, size=16, kind="star"), 0)

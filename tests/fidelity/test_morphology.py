"""Morphology fidelity: statistics against scipy on the values of each galaxy, and changes whose effect is known."""

import os
import sys
import termios

import numpy as np
import pytest
from scipy import stats

from astro_galtrans import measure
from astro_galtrans.fidelity.morphology import MorphologyFidelity, morphology_fidelity
from astro_galtrans.measure.morphology import measure_morphology
from astro_galtrans.psf import MoffatPSF
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics import Bootstrap
from helpers import make_survey

SIZE, SCALE, NUMBER = 52, 0.2, 24
SURVEY = make_survey("gr", SCALE)
QUICK = dict(sersic=False, progress=False, bootstrap=Bootstrap(40))
Y, X = np.mgrid[:SIZE, :SIZE] - SIZE // 2


def gaussians(sigma, elongation):
    """``[N, 2, H, W]``: flux 6,000 and 9,000."""
    radius = (X**2 + (Y * elongation[:, None, None]) ** 2) / sigma[:, None, None] ** 2
    profile = np.exp(-0.5 * radius) * (elongation / (2 * np.pi * sigma**2))[:, None, None]
    return np.array([6e3, 9e3])[:, None, None] * profile[:, None]


@pytest.fixture(scope="module")
def stamps():
    rng = np.random.default_rng(1)
    sigma, elongation = rng.uniform(2.2, 3.4, NUMBER), rng.uniform(1.0, 1.8, NUMBER)
    clean = {"target": gaussians(sigma, elongation), "wider": gaussians(1.25 * sigma, elongation)}
    noisy = {name: image + rng.normal(0, 1, image.shape) for name, image in clean.items()}
    noisy["turned"] = np.rot90(noisy["target"], axes=(-2, -1))
    noisy["target"][3] = rng.normal(0, 0.3, noisy["target"][3].shape)  # nothing there
    noisy["wider"][3:5] = np.nan
    return {name: image.astype(np.float32) for name, image in noisy.items()}


@pytest.fixture(scope="module")
def result(stamps):
    translated = {name: stamps[name] for name in ("target", "wider", "turned")}
    translated["same"] = translated.pop("target")
    by = {"redshift": np.linspace(0, 1, NUMBER)}
    return morphology_fidelity(Stamps(stamps["target"], SURVEY), translated, by=by, bins=2, **QUICK)


def test_an_image_is_itself(result):
    rows = result.rows("statistics", model="same")
    rows = rows[rows["n"] > 0]
    values = {name: rows["value"][rows["statistic"] == name] for name in dict.fromkeys(rows["statistic"])}
    for name in ("bias", "scatter", "wasserstein"):  # batches of other sizes sum in another order
        np.testing.assert_allclose(values[name], 0, atol=1e-9)
    ranked = values["spearman"][np.isfinite(values["spearman"])]  # some are zero for every galaxy that is smooth
    assert len(ranked) > 30
    np.testing.assert_allclose(ranked, 1, atol=0.01)
    assert (values["ks"] < 2 / NUMBER).all()


def test_what_is_measured_is_what_the_engine_measures(stamps, result):
    table = measure_morphology(stamps["wider"][:, 1], sky_rms=1.0, sersic=False, progress=False)
    np.testing.assert_array_equal(result.of_galaxies("gini", "wider", "r"), table["gini"])
    np.testing.assert_allclose(result.of_galaxies("r50", "wider", "r"), table["r50"] * SCALE)
    np.testing.assert_array_equal(result.of_galaxies("flag", "wider", "r"), table["flag"])


@pytest.mark.parametrize("quantity", ["gini", "concentration", "r50", "m20"])
def test_statistics_are_those_of_scipy(result, quantity):
    columns = {
        f"{name}{end}": result.of_galaxies(f"{name}{end}", "wider", "r")
        for name in (quantity, "flag", "sn_per_pixel")
        for end in ("", "_target")
    }
    enters = [
        (columns[f"flag{end}"] <= 1) & (columns[f"sn_per_pixel{end}"] >= 2.5) & np.isfinite(columns[f"{quantity}{end}"])
        for end in ("", "_target")
    ]
    ours, real = (columns[f"{quantity}{end}"][enters[0] & enters[1]] for end in ("", "_target"))
    rows = result.rows("statistics", model="wider", band="r", quantity=quantity)
    apart = ours - real
    expected = {
        "bias": np.median(apart), "scatter": 1.4826 * stats.median_abs_deviation(apart),
        "spearman": stats.spearmanr(real, ours).statistic, "ks": stats.ks_2samp(real, ours).statistic,
        "wasserstein": stats.wasserstein_distance(real, ours),
    }  # fmt: skip
    assert len(apart) > 15 and (rows["n"] == len(apart)).all()
    for name, value in expected.items():
        np.testing.assert_allclose(rows["value"][rows["statistic"] == name], value, rtol=1e-9, err_msg=name)
    value, low, high = result.value(quantity, "bias", model="wider", band="r")
    assert low <= value <= high


@pytest.fixture(scope="module")
def borderline():
    """Faint galaxies to both sides of a signal of 2.5, blends (suspect, flag 1), and sky left in (bad, flag 2)."""
    rng = np.random.default_rng(5)
    faint, blended, raised = np.geomspace(0.045, 0.12, 24), np.ones(24), np.ones(6)
    flux = np.concatenate([faint, blended, raised])
    image = gaussians(np.full(54, 3.0), rng.uniform(1, 1.6, 54))[:, :1] * flux[:, None, None, None]
    for k in range(24, 48):
        y, x = rng.uniform(6, 20), rng.uniform(3, 10)
        image[k, 0] += rng.uniform(0.3, 1.5) * np.roll(image[k, 0], (int(y), int(x)), (0, 1))
    image[48:] += 3.0
    pair = [(image + rng.normal(0, 1, image.shape)).astype(np.float32) for _ in range(2)]
    return morphology_fidelity(Stamps(pair[0], make_survey("r", SCALE)), pair[1], bins=1, **QUICK)


def test_galaxies_at_the_cuts(borderline):
    """Flags up to 1 and a signal of 2.5 or more in both images, as statmorph's documentation advises."""
    flag, flag_real, signal, signal_real = (
        borderline.of_galaxies(name, borderline.models[0])
        for name in ("flag", "flag_target", "sn_per_pixel", "sn_per_pixel_target")
    )
    worst, least = np.maximum(flag, flag_real), np.minimum(signal, signal_real)
    enters = (worst <= 1) & (least >= 2.5)
    # any other cut would let in, or leave out, some of these
    assert (worst[least > 4] == 1).sum() > 3 and (worst[least > 4] == 2).sum() > 3
    for low, high in ((2.1, 2.5), (2.5, 3.0)):
        assert ((least > low) & (least < high) & (worst <= 1)).sum() > 2
    for quantity in ("gini", "asymmetry", "rhalf_circ"):
        ours, real = (borderline.of_galaxies(f"{quantity}{end}", borderline.models[0]) for end in ("", "_target"))
        row = borderline.rows("statistics", quantity=quantity, statistic="bias")[0]
        assert row["n"] == (enters & np.isfinite(ours) & np.isfinite(real)).sum()
        np.testing.assert_allclose(row["value"], np.nanmedian((ours - real)[enters]), rtol=1e-9)
    rows = {row["reason"]: row for row in borderline.rows("counts")}
    assert rows["sn_per_pixel"]["not_in_both"] == ((signal < 2.5) & (signal_real < 2.5)).sum()
    assert rows["flag"]["not_in_both"] == ((flag == 2) & (flag_real == 2)).sum()


def test_known_changes(result):
    """A wider Gaussian has its half-light radius wider in the same ratio, and as much concentration as before."""
    rows = result.rows("galaxies", model="wider", band="r")
    np.testing.assert_allclose(np.nanmedian(rows["r50"] / rows["r50_target"]), 1.25, rtol=0.02)
    value, low, high = result.value("concentration", model="wider")
    assert abs(value) < 0.05 and low <= value <= high
    assert result.value("r50", model="wider")[0] > 0.05
    for quantity, scale in (("gini", 0.01), ("r50", 0.005), ("ellipticity_asymmetry", 0.01)):  # a quarter turn
        assert abs(result.value(quantity, model="turned")[0]) < scale
        assert result.value(quantity, "spearman", model="turned")[0] > 0.9


def test_what_could_not_be_measured_is_counted(result):
    row = result.rows("counts", model="wider", band="r", reason="no_source")[0]
    assert [row[name] for name in ("n", "not_in_target", "not_in_translated", "not_in_both")] == [NUMBER - 2, 0, 1, 1]
    for row in result.rows("statistics", model="wider"):
        assert row["n"] + row["not_in_target"] + row["not_in_translated"] + row["not_in_both"] == NUMBER
    assert np.isnan(result.of_galaxies("gini", "wider")[3:5]).all()
    assert "flag_sersic" not in result["counts"]["reason"]


def test_bins(result):
    rows = result.rows("bins", by="redshift", model="wider", band="g", quantity="gini", statistic="bias")
    assert list(rows["bin_low"]) == [0, 0.5] and rows["bin_high"][-1] == 1
    rows = result.rows("bins", by="magnitude", model="same", band="r", quantity="gini")
    expected = 30 - 2.5 * np.log10(9e3)
    assert ((rows["bin_low"] < expected + 0.2) & (rows["bin_high"] > expected - 0.2)).all()


def test_a_table_has_a_row_per_galaxy_and_band(stamps):
    few = Stamps(stamps["target"][5:11], SURVEY)
    table = measure.morphology(few, sersic=False, progress=False)
    assert list(table["row"][:3]) == [0, 0, 1] and list(table["band"][:3]) == ["g", "r", "g"]
    direct = measure_morphology(stamps["target"][5:11, 1], sky_rms=1.0, sersic=False, progress=False)
    np.testing.assert_array_equal(table["gini"][1::2], direct["gini"])
    np.testing.assert_allclose(table["rhalf_ellip"][1::2].to_value("arcsec"), SCALE * direct["rhalf_ellip"])
    with pytest.raises(ValueError, match="has 2 samples; choose one"):
        measure.morphology(Stamps(few.images[:, None].repeat(2, axis=1), SURVEY))


@pytest.mark.parametrize("progress", [True, False])
def test_bars_of_galaxies_are_shown_on_a_terminal(stamps, monkeypatch, progress):
    read, write = os.openpty()
    termios.tcsetwinsize(write, (24, 100))  # without a width there is no bar
    with os.fdopen(write, "w") as terminal, monkeypatch.context() as changed:
        changed.setattr(sys, "stderr", terminal)
        measure.morphology(Stamps(stamps["target"][5:8], SURVEY), sersic=False, progress=progress)
        print("end", file=terminal, flush=True)
        shown = ""
        while "end" not in shown:  # a terminal may give what was written in pieces
            shown += os.read(read, 65536).decode()
    os.close(read)
    assert ("6/6" in shown) == progress and "end" in shown


def test_sersic_models_are_convolved_with_the_psf_that_is_known(rng):
    """A Gaussian is one through a Gaussian PSF: radii add in squares. The survey's own PSF has a Moffat's wings."""
    sigma, axis = np.linspace(3.8, 4.8, 5), SCALE * (np.arange(25) - 12)
    images = 10 * gaussians(sigma, np.full(5, 1.2))[:, 1:] + rng.normal(0, 1, (5, 1, SIZE, SIZE))
    psf = np.exp(-4 * np.log(2) * (axis**2 + axis[:, None] ** 2) / 0.8**2)[None]
    radii = [
        measure.morphology(Stamps(images, make_survey("r", SCALE, fwhm=fwhm), psf=psf), progress=False)["sersic_rhalf"]
        for fwhm, psf in ((np.nan, None), (0.8, psf), (0.8, None), (np.nan, MoffatPSF(np.array([0.8]))))
    ]
    blind, gaussian, moffat, given = (part.to_value("arcsec") for part in radii)
    np.testing.assert_allclose(blind, SCALE * sigma * np.sqrt(2 * np.log(2)), rtol=0.02)
    np.testing.assert_allclose(np.hypot(gaussian, 0.8 / 2), blind, rtol=0.01)
    assert ((moffat < gaussian) & (moffat > 0.9 * gaussian)).all()
    np.testing.assert_allclose(given, moffat, rtol=1e-6)


def test_masks_samples_and_gain(stamps):
    """Pixels that are masked in both images do not count; of samples the first is measured."""
    few = {name: image[5:9, 1:] for name, image in stamps.items()}
    mask = np.zeros((4, SIZE, SIZE), bool)
    mask[:, 2:5, 2:5] = True
    spoilt = few["target"].copy()
    spoilt[:, :, 2:5, 2:5] = 1e4
    samples = np.stack([spoilt, few["wider"]], axis=1)
    target = Stamps(few["target"], make_survey("r", SCALE, electrons=100.0), mask=mask)
    result = morphology_fidelity(target, {"m": samples}, bins=1, **QUICK)
    np.testing.assert_array_equal(result.of_galaxies("r50", "m"), result.of_galaxies("r50_target", "m"))
    target = Stamps(few["target"], SURVEY.select("r"), mask=mask)
    signal = morphology_fidelity(target, few["target"], bins=1, **QUICK)
    assert (result.of_galaxies("sn_per_pixel", "m") < signal.of_galaxies("sn_per_pixel")).all()  # photon noise is more


def test_kept_and_drawn(result, tmp_path):
    pytest.importorskip("matplotlib")
    result.write(tmp_path)
    again = MorphologyFidelity.read(tmp_path)
    assert again.value("gini", model="wider") == result.value("gini", model="wider")
    figures = dict(again.figures())
    assert set(figures) == {"bands", "bins", "violins"}
    figures["violins"].savefig(tmp_path / "violins.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"translated": {"a": np.zeros((3, 2, SIZE, SIZE))}}, "a has 3 rows, target 24"),
        ({"engine": "none"}, "there is no engine 'none'; choose from batched, statmorph"),
        ({"psf": np.ones((1, 5, 5)), "sersic": True}, "psf of target must be positive FWHMs"),
    ],
)
def test_what_does_not_fit_is_named(stamps, changes, message):
    arguments = QUICK | {"translated": stamps["target"]} | changes
    images, psf = arguments.pop("translated"), arguments.pop("psf", None)
    with pytest.raises(ValueError, match=message):
        morphology_fidelity(Stamps(stamps["target"], SURVEY, psf=psf, name="target"), images, **arguments)

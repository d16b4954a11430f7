"""Pixels: each quantity against its closed form, numpy, or torchmetrics, on images whose differences are known."""

import numpy as np
import pytest
import torch
from scipy.signal import windows
from scipy.stats import norm

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity.pixel.block import power_spectra
from astro_galtrans.fidelity.pixel.measure import PixelFidelity, pixel_fidelity
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.lazy import rows_of
from astro_galtrans.statistics import Bootstrap
from helpers import make_survey

BANDS = "g", "r"
SIZE, SCALE, NUMBER = 40, 0.25, 60
SURVEY = make_survey(BANDS, SCALE, [1.0, 2.0])
QUICK = dict(progress=False, bootstrap=Bootstrap(50))


def make_clean(flux=40.0, sigma=3.0):
    axis = np.arange(SIZE) - (SIZE - 1) / 2
    return flux * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2) / sigma**2)


def real_stamps(images, **known):
    return Stamps(images, SURVEY, name="target", **known)


def noisy(rng, *shape, sigma=1.0):
    noise = rng.normal(0, sigma, (*shape, 2, SIZE, SIZE)) * np.array([1.0, 2.0])[:, None, None]
    return (make_clean() + noise).astype(np.float32)


@pytest.fixture(scope="module")
def stamps():
    return noisy(np.random.default_rng(1), NUMBER)


@pytest.fixture(scope="module")
def compared(stamps):
    rng = np.random.default_rng(2)
    other = noisy(rng, NUMBER)
    samples = noisy(rng, NUMBER, 5)
    variance = np.broadcast_to(2 * np.array([1, 2.0], np.float32)[:, None, None] ** 2, stamps.shape)
    by = {"magnitude": rng.uniform(17, 20, NUMBER)}
    translated = {"same": stamps, "other": other, "samples": samples}
    stated = translated | {"other": Stamps(other, SURVEY, variance=variance)}
    return translated, pixel_fidelity(real_stamps(stamps), stated, by=by, bins=2, **QUICK)


def test_an_image_is_itself(compared):
    _, result = compared
    for quantity in ("residual_mean", "mae", "rmse", "rmse_sigma", "crps"):
        assert result.value(quantity, model="same") == (0, 0, 0)
    assert result.value("psnr", model="same") == (np.inf,) * 3
    np.testing.assert_allclose(result.value("ssim", model="same"), 1, rtol=1e-6)
    np.testing.assert_allclose(result.value("noise_ratio", model="same"), 1)
    np.testing.assert_allclose(result.rows("power", model="same")["value"], 1)


@pytest.mark.parametrize(("band", "sigma"), [("g", 1.0), ("r", 2.0)])
def test_noise_that_is_known(compared, band, sigma):
    """Two noise realisations of one galaxy: everything has a closed form."""
    _, result = compared
    apart = np.sqrt(2) * sigma
    expected = {
        "residual_mean": 0, "mae": apart * np.sqrt(2 / np.pi), "rmse": apart, "rmse_sigma": np.sqrt(2), "chi2": 1,
        "coverage_1": norm.cdf(1) - norm.cdf(-1), "coverage_2": norm.cdf(2) - norm.cdf(-2), "noise_ratio": 1,
        "crps": apart / np.sqrt(np.pi),  # of a Gaussian that is right
    }  # fmt: skip
    for quantity, truth in expected.items():
        value, low, high = result.value(quantity, model="other", band=band)
        assert abs(value - truth) < 0.015 * sigma, quantity
        assert low < value < high and abs(value - truth) < 6 * (high - low), quantity
    rows = result.rows("power", model="other", band=band)
    np.testing.assert_allclose(rows["value"][8:], 1, atol=0.15)  # white noise over white noise


def test_samples(compared):
    translated, result = compared
    # draws from the truth: the score of the distribution whatever their number, and ranks that are uniform
    assert abs(result.value("crps", model="samples", band="g")[0] - 1 / np.sqrt(np.pi)) < 0.01
    assert abs(result.value("sample_range", model="samples", band="g")[0] - 4 / 6) < 0.01
    mean = translated["samples"].mean(axis=1)
    residual = mean - translated["same"]
    rmse = result.value("rmse", model="samples, mean", band="g")[0]
    np.testing.assert_allclose(rmse, residual[:, 0].std(), rtol=1e-3)
    assert abs(result.value("noise_ratio", model="samples, mean", band="g")[0] - 1 / np.sqrt(5)) < 0.01
    assert "sample_range" not in result.rows("statistics", model="samples, mean")["quantity"]
    assert "chi2" not in result.rows("statistics", model="samples")["quantity"]  # no uncertainty was stated


def test_uncertainty_of_one_sample_and_of_their_mean(stamps, compared):
    """Truth and five samples are draws from one distribution: the mean's error has 6/5 of its variance, one's has 2."""
    samples = compared[0]["samples"]
    variance = np.broadcast_to(1.2 * np.array([1, 2.0], np.float32)[:, None, None] ** 2, stamps.shape)
    stated = Stamps(samples, SURVEY, variance=variance, name="s")
    result = pixel_fidelity(real_stamps(stamps), stated, **QUICK)
    for model in ("s", "s, mean"):
        assert abs(result.value("chi2", model=model, band="g")[0] - 1) < 0.02
        assert abs(result.value("coverage_1", model=model, band="g")[0] - 0.6827) < 0.01
    first = pixel_fidelity(real_stamps(stamps), stated, take="first", **QUICK)
    assert first.value("chi2", model="s") == result.value("chi2", model="s")


def test_data_range_is_that_of_the_percentiles(stamps, compared):
    found = compared[1].meta["data_range"]
    for k, band in enumerate(BANDS):
        np.testing.assert_allclose(found[band], np.percentile(stamps[:, k].astype(float), [0.1, 99.9]), rtol=1e-6)


def test_agrees_with_torchmetrics(stamps, compared):
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional")
    translated, result = compared
    ends, soft = np.array(result.meta["data_range"]["g"]), result.meta["asinh_softening"]["g"]
    ours, real = (torch.from_numpy(images[:8, :1]) for images in (translated["other"], stamps))
    scaled = float(np.diff(np.arcsinh(ends / soft))[0])
    ssim = functional.image.structural_similarity_index_measure(
        torch.asinh(ours / soft), torch.asinh(real / soft), data_range=scaled, reduction="none"
    )
    np.testing.assert_allclose(result.of_galaxies("ssim", "other", "g")[:8], ssim, rtol=1e-4)
    psnr = functional.image.peak_signal_noise_ratio(
        ours, real, data_range=float(np.diff(ends)[0]), reduction="none", dim=(1, 2, 3)
    )
    np.testing.assert_allclose(result.of_galaxies("psnr", "other", "g")[:8], psnr, rtol=1e-5)


def test_crps_of_samples_is_that_of_its_definition(stamps, compared):
    translated, result = compared
    samples, real = translated["samples"][0, :, 0].astype(float), stamps[0, 0]
    apart = np.abs(samples[:, None] - samples[None]).sum(axis=(0, 1)) / (2 * 5 * 4)
    expected = (np.abs(samples - real).mean(axis=0) - apart).mean()
    np.testing.assert_allclose(result.of_galaxies("crps", "samples", "g")[0], expected, rtol=1e-5)


def test_power_of_a_blurred_image_is_that_of_the_kernel():
    """A Gaussian seen through a Gaussian, without noise: |K|^2 with the kernel's transform."""
    ours, real = (make_clean(sigma=sigma)[None, None] for sigma in (2.5, 2.0))
    real = Stamps(real, make_survey("r", SCALE, 1e-3))
    result = pixel_fidelity(real, ours, progress=False, bootstrap=Bootstrap(0))
    rows = result["power"][:8]
    np.testing.assert_allclose(rows["frequency"].value * SCALE * SIZE, np.arange(1, 9))
    modes = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    ring = np.round(modes * SIZE)
    power = {sigma: sigma**4 * np.exp(-4 * np.pi**2 * modes**2 * sigma**2) for sigma in (2.5, 2.0)}
    expected = [power[2.5][ring == k].sum() / power[2.0][ring == k].sum() for k in range(1, 9)]
    np.testing.assert_allclose(rows["value"], expected, rtol=1e-3)
    assert np.isnan(result["statistics"]["low"]).all()


def test_power_spectra_are_those_of_tapered_stamps(rng):
    """Against numpy, and scipy's Tukey window, a quarter of whose length falls to zero, at the middles of pixels."""
    stamp = rng.normal(0, 1, (SIZE, SIZE + 6)).astype(np.float32)
    window = np.multiply.outer(*(windows.tukey(2 * n + 1, 0.25)[1::2] for n in stamp.shape))
    modes = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, stamp.shape), indexing="ij"))
    power, ring = np.abs(np.fft.fft2(stamp * window)) ** 2, np.round(modes * SIZE)
    expected = [power[ring == k].mean() for k in range(1, SIZE // 2 + 1)]
    np.testing.assert_allclose(power_spectra(torch.from_numpy(stamp)[None, None])[0, 0], expected, rtol=1e-4)


def test_a_gradient_does_not_leak_into_high_frequencies(rng):
    """White noise on a steep plane, whose jump at the edges would be 8 to 30 times the noise at these frequencies."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    stamps = (50 * x + 20 * y + rng.normal(0, 1, (200, 1, SIZE, SIZE))).astype(np.float32)
    power = power_spectra(torch.from_numpy(stamps)).numpy().mean(axis=(0, 1))
    white = (windows.tukey(2 * SIZE + 1, 0.25)[1::2] ** 2).sum() ** 2
    np.testing.assert_allclose(power[11:] / white, 1, atol=0.25)


def test_bad_pixels_do_not_count(stamps):
    mask = np.zeros(stamps.shape, bool)
    mask[:, :, 3:6, 3:9] = True
    spoilt = stamps.copy()
    spoilt[mask] = 1e6
    for images in (spoilt, np.where(mask, np.nan, stamps)):
        result = pixel_fidelity(real_stamps(stamps, mask=mask), {"spoilt": images}, **QUICK)
        assert result.value("rmse") == (0, 0, 0)
        np.testing.assert_allclose(result.value("noise_ratio"), 1)
        np.testing.assert_allclose(result.rows("power")["value"], 1)
        assert (result["galaxies"]["pixels"] == SIZE**2 - 18).all()


def test_galaxies_that_cannot_be_measured_are_counted(stamps):
    real, ours = stamps.copy(), stamps + np.float32(1)
    real[:3] = np.nan
    ours[2:7] = np.nan
    result = pixel_fidelity(real_stamps(real), {"ours": ours}, **QUICK)
    row = result.rows("statistics", quantity="rmse", band="r", region="all")[0]
    assert [row[name] for name in ("n", "not_in_target", "not_in_translated", "not_in_both")] == [NUMBER - 7, 2, 4, 1]
    np.testing.assert_allclose(result.value("residual_mean"), 1, rtol=1e-5)
    assert np.isnan(result.of_galaxies("rmse")[:7]).all()
    assert (result["power"]["n"] == NUMBER - 7).all()


def test_noise_of_the_pixels_themselves(stamps):
    result = pixel_fidelity(real_stamps(stamps, variance=np.full(stamps.shape, 9.0)), stamps + 3, **QUICK)
    np.testing.assert_allclose(result.value("residual_mean_sigma"), 1, rtol=1e-5)


def test_bins(compared):
    _, result = compared
    rows = result.rows("bins", model="other", band="g", region="all", quantity="rmse")
    assert list(rows["n"]) == [NUMBER / 2] * 2 and rows["bin_high"][0] == rows["bin_low"][1]
    np.testing.assert_allclose(rows["value"], np.sqrt(2), rtol=0.02)


def test_one_galaxy(stamps):
    with pytest.warns(GaltransWarning, match="z has too few different values"):
        result = pixel_fidelity(real_stamps(stamps[:1]), stamps[1:2], by={"z": [0.1]}, **QUICK)
    np.testing.assert_allclose(result.value("rmse", band="g"), result.of_galaxies("rmse", band="g")[0], rtol=1e-6)


def test_read_in_blocks(stamps, monkeypatch):
    """Lazy arrays are read some galaxies at a time, and give what arrays give."""
    from astro_galtrans.fidelity.pixel import measure

    asked, pair = [], (stamps, stamps[::-1])
    lazy = [rows_of(lambda k, part=part: asked.append(k) or part[k], NUMBER, stamps.shape[1:]) for part in pair]
    monkeypatch.setattr(measure, "BUDGET", 2 * SIZE**2 * 7)
    found, whole = (pixel_fidelity(real_stamps(real), ours, **QUICK) for real, ours in (lazy, pair))
    np.testing.assert_allclose(found["statistics"]["value"], whole["statistics"]["value"], rtol=1e-6)
    assert len(asked) <= 3 * NUMBER + 64  # the real ones twice, first for the data range; a block opens a chunk anew


def test_kept_and_drawn(compared, tmp_path):
    pytest.importorskip("matplotlib")
    _, result = compared
    result.write(tmp_path)
    again = PixelFidelity.read(tmp_path)
    np.testing.assert_array_equal(again["statistics"]["value"], result["statistics"]["value"])
    assert again.value("rmse", model="other") == result.value("rmse", model="other")
    figures = dict(again.figures())
    assert set(figures) == {"power", "bands", "bins"}
    figures["bands"].savefig(tmp_path / "bands.png")
    figures["power"].savefig(tmp_path / "power.png")
    assert repr(result).startswith("<PixelFidelity: statistics (")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"translated": {"a": np.zeros((3, 2, SIZE, SIZE))}}, "a has 3 rows, target 60"),
        ({"translated": {"a": np.zeros((60, 1, SIZE, SIZE))}}, "a has 1 bands, the survey mine has 2: g, r"),
        ({"translated": {"a": np.zeros((60, 2, SIZE, 7))}}, "stamps of a have 40 x 7 pixels, those of the target 40 x"),
        ({"translated": {"target": np.zeros((60, 2, SIZE, SIZE))}}, "cannot be called 'target'"),
        ({"take": "all"}, "take must be one of first, mean, both"),
        ({"by": {"z": [1.0, 2.0]}}, "what to bin by, 'z', has shape"),
        ({"data_range": [0.0, 1.0]}, "a data range is a lowest and a higher flux"),
        ({"sky_rms": [np.nan, 1]}, "the sky noise of target in g is not known"),
    ],
)
def test_what_does_not_fit_is_named(stamps, changes, message):
    arguments = QUICK | {"translated": stamps} | changes
    target = real_stamps(stamps, sky_rms=arguments.pop("sky_rms", None))
    with pytest.raises(ValueError, match=message):
        pixel_fidelity(target, arguments.pop("translated"), **arguments)


def test_a_constant_target_has_no_range():
    flat = np.ones((3, 2, SIZE, SIZE))
    with pytest.raises(ValueError, match="a data range is a lowest and a higher flux"):
        pixel_fidelity(real_stamps(flat), flat, **QUICK)

"""The four readings, on galaxies whose colours say their redshift as well as their noise lets them."""

import numpy as np
import pytest

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity.redshift.measure import redshift_fidelity
from astro_galtrans.fidelity.redshift.result import RATIOS, RedshiftFidelity
from astro_galtrans.photoz.pdfs import GridPDF
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics.bootstrap import Bootstrap
from helpers import make_survey

BANDS = "g", "r", "i"
GRID = np.linspace(0, 1, 201)
SKY = {"source": 1.0, "target": 0.3}
SURVEYS = {"source": make_survey(BANDS, 0.4, SKY["source"]), "target": make_survey(BANDS, 0.2, SKY["target"])}
SAID = {
    name: dict(bands=BANDS, pixel_scale=s.pixel_scale, sky_rms=s.sky_rms(), grid=GRID) for name, s in SURVEYS.items()
}
N = 800


def stamps(source, target):
    """Images of both surveys."""
    return Stamps(source, SURVEYS["source"]), Stamps(target, SURVEYS["target"])


def make_stamps(z, noise, rng, size):
    """Round galaxies whose g - r and r - i grow with redshift, with sky noise."""
    axis = (np.arange(size) - (size - 1) / 2) * 8 / size  # arcsec, but for a constant
    profile = np.exp(-0.5 * (axis**2 + axis[:, None] ** 2))
    profile *= 300 / profile.sum()
    colours = 10 ** (0.4 * np.outer(z - 0.5, [-2.0, 0.0, 1.0]))
    clean = colours[:, :, None, None] * profile
    return (clean + rng.normal(0, noise, clean.shape)).astype(np.float32)


class Regression:
    """Redshift linear in the logarithm of colour, with a Gaussian residual: as good as any on these galaxies."""

    def __init__(self, images, z_spec, *, bands, pixel_scale, sky_rms, grid, ebv=None, seed=0, directory=None):
        self.grid, self.bands, self.pixel_scale, self.trained = grid, bands, pixel_scale, len(images)
        told = self.features(images)
        self.coefficients, *_ = np.linalg.lstsq(told, z_spec, rcond=None)
        self.sigma = np.std(z_spec - told @ self.coefficients)
        self.prior = gaussian(grid, np.mean(z_spec), np.std(z_spec))

    @staticmethod
    def features(images):
        flux = np.asarray(images, dtype=float).sum(axis=(2, 3))
        told = np.log(np.maximum(flux[:, 1:], 1) / np.maximum(flux[:, :-1], 1))
        return np.column_stack([told, np.ones(len(told))])

    def predict(self, images, *, ebv=None):
        return gaussian(self.grid, self.features(images) @ self.coefficients, self.sigma)


def gaussian(grid, mean, sigma):
    return GridPDF.normalised(grid, np.exp(-0.5 * ((grid - np.atleast_1d(mean)[:, None]) / sigma) ** 2) + 1e-9)


@pytest.fixture(scope="module")
def galaxies():
    rng = np.random.default_rng(1)
    z = np.clip(rng.normal(0.5, 0.1, N), 0.02, 0.98)
    return make_stamps(z, SKY["source"], rng, 20), make_stamps(z, SKY["target"], rng, 40), z


@pytest.fixture(scope="module")
def fidelity(galaxies):
    """Four models: the truth itself, the truth shuffled, the source enlarged, and samples with the target's noise."""
    source, target, z = galaxies
    rng = np.random.default_rng(2)
    enlarged = np.kron(source, np.ones((2, 2), np.float32)) / 4
    samples = np.stack([target + rng.normal(0, SKY["target"], target.shape) for _ in range(3)], axis=1)
    models = {"truth": target, "shuffled": rng.permutation(target), "enlarged": enlarged, "samples": samples}
    by = {"magnitude": rng.uniform(17, 20, N), "snr": rng.uniform(5, 50, N)}
    return redshift_fidelity(
        *stamps(source, target), models, z, estimator=Regression, by=by, grid=GRID, bootstrap=Bootstrap(40),
        bins={"magnitude": [17, 18.5, 20], "z_spec": 2, "snr": 1}, progress=False,
    )  # fmt: skip


def of_reading(fidelity, quantity, reading, model=""):
    return fidelity.value(quantity, reading=reading, model=model)


def ratio(fidelity, model, quantity):
    return fidelity.value(quantity, model=model)


def test_readings_of_every_model_are_there(fidelity):
    table = fidelity["statistics"]
    metrics = table[np.isin(table["quantity"], ["sigma_mad", "crps"]) & (table["reading"] != "fewer")]
    of_models = {(str(r["model"]), str(r["reading"])) for r in metrics}
    expected = {("", "target"), ("", "source"), ("samples", "averaged")}
    expected |= {(model, reading) for model in fidelity.models for reading in ("retrained", "plug_in")}
    assert of_models == expected
    assert len(metrics) == 2 * len(expected)
    assert set(table["quantity"]) >= {
        "sigma_mad",
        "bias_mean",
        "outlier_005",
        "crps",
        "pit_ks",
        "cde_loss",
        "information",
    }
    assert (table["n"] == N // 4).all()
    metrics = table[~np.isin(table["quantity"], list(RATIOS))]
    assert (metrics["low"] <= metrics["high"]).all()


def test_information_is_that_of_gaussians(fidelity, galaxies):
    """Of a Gaussian prior and Gaussian residuals it is ln(sigma_prior / sigma_residual)."""
    source, _, z = galaxies
    told = Regression.features(source)
    residual = z - told @ np.linalg.lstsq(told, z, rcond=None)[0]
    value, low, high = of_reading(fidelity, "information", "source")
    assert abs(value - np.log(z.std() / residual.std())) < 2 * (high - low)


def test_shuffled_images_hold_nothing(fidelity):
    _, low, high = of_reading(fidelity, "information", "retrained", "shuffled")
    assert low - 0.5 * (high - low) < 0 < high + 0.5 * (high - low)
    value, low, high = ratio(fidelity, "shuffled", "retention")
    assert abs(value) < 0.05
    assert ratio(fidelity, "shuffled", "plug_in_information")[0] < -1


def test_enlarged_source_keeps_everything(fidelity):
    """The same fluxes on another grid: what is retrained on them reads the same, and the interval is that of pairs."""
    value, low, high = ratio(fidelity, "enlarged", "retention")
    np.testing.assert_allclose([value, low, high], 1, atol=1e-4)


def test_truth_as_translation_is_the_target(fidelity):
    for metric in ("sigma_mad", "information", "pit_ks"):
        assert of_reading(fidelity, metric, "plug_in", "truth") == of_reading(fidelity, metric, "target")
    for ours, best in (("plug_in_scatter", "target_scatter"), ("plug_in_information", "target_information")):
        assert ratio(fidelity, "truth", ours) == ratio(fidelity, "truth", best)
    assert ratio(fidelity, "truth", "plug_in_scatter")[0] < 0.8


def test_ratio_is_that_of_the_galaxies_resampled_together(fidelity):
    table = fidelity["galaxies"]
    above, below = table["information_retrained_samples"], table["information_source"]
    value, low, high = ratio(fidelity, "samples", "retention")
    np.testing.assert_allclose(value, np.mean(above) / np.mean(below))
    apart = np.array(of_reading(fidelity, "information", "retrained", "samples")[1:]) / np.mean(below)
    assert high - low < 1.5 * (apart[1] - apart[0])


def test_a_share_of_nothing_is_no_number(galaxies):
    """Where the source says nothing of the redshift, what was kept of it is undefined."""
    source, target, z = galaxies
    blind = np.random.default_rng(7).permutation(source)
    result = run((blind, target, z), bootstrap=Bootstrap(50))
    _, low, high = ratio(result, "translated", "retention")
    assert np.isnan(low) and np.isnan(high)
    assert np.isfinite(ratio(result, "translated", "plug_in_scatter")).all()


def test_averaged_pdfs_are_those_averaged_over_samples(galaxies, fidelity):
    """Against an average made by hand; and to average cannot make noisy samples worse."""
    _, target, z = galaxies
    rows = np.asarray(fidelity["galaxies"]["row"])
    rng = np.random.default_rng(2)
    train = np.setdiff1d(np.arange(N), rows)
    judge = Regression(target[train], z[train], **SAID["target"])
    samples = [target + rng.normal(0, SKY["target"], target.shape) for _ in range(3)]
    density = np.mean([judge.predict(sample[rows].astype(np.float32)).density for sample in samples], axis=0)
    by_hand = np.mean([np.interp(z[row], GRID, pdf) for row, pdf in zip(rows, density, strict=True)])
    prior = np.interp(z[rows], GRID, judge.prior.density[0])
    expected = np.log([np.interp(z[row], GRID, pdf) for row, pdf in zip(rows, density, strict=True)]) - np.log(prior)
    np.testing.assert_allclose(fidelity["galaxies"]["information_averaged_samples"], expected, rtol=1e-4, atol=1e-4)
    assert by_hand > 0
    assert of_reading(fidelity, "information", "averaged", "samples") > of_reading(
        fidelity, "information", "plug_in", "samples"
    )
    table = fidelity["statistics"]
    assert set(table["model"][table["samples"] > 1]) == {"samples"}
    gain = table[
        (table["quantity"] == "information") & (table["model"] == "samples") & (table["reading"] != "retrained")
    ]
    assert gain["samples"].tolist() == [1, 2, 3]  # powers of two, and all there are
    assert gain["reading"].tolist() == ["plug_in", "fewer", "averaged"]
    two = np.mean([judge.predict(sample[rows].astype(np.float32)).density for sample in samples[:2]], axis=0)
    density = [np.interp(z[row], GRID, pdf) for row, pdf in zip(rows, two, strict=True)]
    middle = np.mean(np.log(density) - np.log(prior))
    plug_in, averaged = (of_reading(fidelity, "information", name, "samples")[0] for name in ("plug_in", "averaged"))
    np.testing.assert_allclose(gain["value"], [plug_in, middle, averaged], rtol=1e-4, atol=1e-4)


def test_bins_add_up(fidelity):
    table = fidelity["bins"]
    assert set(table["by"]) == {"magnitude", "z_spec", "snr"}
    for by in ("magnitude", "z_spec", "snr"):
        rows = table[(table["by"] == by) & (table["reading"] == "source") & (table["quantity"] == "information")]
        assert rows["n"].sum() == N // 4
        np.testing.assert_allclose(np.average(rows["value"], weights=rows["n"]),
                                   of_reading(fidelity, "information", "source")[0])  # fmt: skip


def test_result_reads_back_and_draws_the_same(fidelity, tmp_path):
    pytest.importorskip("matplotlib")
    fidelity.write(tmp_path)
    again = RedshiftFidelity.read(tmp_path)
    assert again.models == fidelity.models == ["truth", "shuffled", "enlarged", "samples"]
    assert of_reading(again, "information", "source") == pytest.approx(of_reading(fidelity, "information", "source"))
    names = [name for name, _ in again.figures()]
    assert {"information", "bins_magnitude", "redshifts_truth", "pit_samples", "stack_shuffled"} <= set(names)


# -- which galaxies


def run(galaxies, translated=None, z_spec=None, **options):
    source, target, z = galaxies
    settings = dict(estimator=Regression, bootstrap=Bootstrap(5), bins=1, grid=GRID, progress=False) | options
    real = (settings.pop(name, one) for name, one in zip(SURVEYS, stamps(source, target), strict=True))
    return redshift_fidelity(
        *real, target if translated is None else translated, z if z_spec is None else z_spec, **settings
    )


def test_galaxies_without_a_usable_redshift_are_counted(galaxies):
    z = np.ma.masked_array(galaxies[2].copy(), mask=np.arange(N) == 5)
    z[[7, 11]] = np.nan, -0.1
    z[13] = 1.5
    with pytest.warns(GaltransWarning, match=r"4 galaxies are left out.*rows 5, 7.*row 11.*outside the grid: row 13"):
        result = run(galaxies, z_spec=z)
    counts = dict(zip(result["counts"]["galaxies"], result["counts"]["n"], strict=True))
    assert counts["given"] == N and counts["without redshift"] == 2 and counts["negative redshift"] == 1
    assert counts["redshift outside the grid"] == 1 and counts["training"] + counts["test"] == N - 4
    assert not np.isin(result["galaxies"]["row"], [5, 7, 11, 13]).any()


def test_train_and_test_as_asked_for(galaxies):
    trained = []

    def spy(images, z_spec, **settings):
        trained.append(len(images))
        return Regression(images, z_spec, **settings)

    result = run(galaxies, train=np.arange(600), test=np.arange(N) >= 700, estimator=spy)
    assert trained == [600, 600, 600]
    np.testing.assert_array_equal(result["galaxies"]["row"], np.arange(700, N))
    result = run(galaxies, test=np.arange(100))
    np.testing.assert_array_equal(result["galaxies"]["row"], np.arange(100))
    assert len(run(galaxies, test=0.5)["galaxies"]) == N // 2


def test_fitted_estimators_judge_without_training(galaxies):
    source, target, z = galaxies
    fitted = {name: Regression(images, z, **SAID[name]) for name, images in (("source", source), ("target", target))}
    result = run(galaxies, estimator=fitted, grid=None)
    assert len(result["galaxies"]) == N
    assert set(result["statistics"]["reading"]) == {"target", "source", "plug_in"}
    assert "retention" not in result["statistics"]["quantity"]
    fitted["target"].bands = ("u", "g", "r")
    with pytest.raises(ValueError, match="target is for bands u, g, r"):
        run(galaxies, estimator=fitted)
    fitted["target"].bands, fitted["target"].pixel_scale = BANDS, 0.3
    with pytest.raises(ValueError, match=r'pixels of 0\.3", .* 0\.2"'):
        run(galaxies, estimator=fitted)


class Lazy:
    """Stamps that are never all in memory, and say what was asked of them."""

    def __init__(self, images):
        self.images, self.largest = images, 0
        self.shape, self.dtype, self.ndim = images.shape, images.dtype, images.ndim

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        part = self.images[rows]
        self.largest = max(self.largest, len(np.atleast_1d(part)))
        return part


def test_lazy_stamps_give_the_same(galaxies, fidelity):
    source, target, z = galaxies
    lazy = [Lazy(source), Lazy(target), Lazy(target[:, None])]
    result = run((*lazy[:2], z), lazy[2], bootstrap=Bootstrap(0))
    assert of_reading(result, "information", "source")[0] == of_reading(fidelity, "information", "source")[0]
    assert all(stamps.largest <= 256 for stamps in lazy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z_spec": np.full(10, 0.5)}, r"z_spec has 10 rows, source 800"),
        ({"source": Stamps(np.zeros((9, 3, 20, 20)), SURVEYS["source"])}, r"target has 800 rows, source 9"),
        ({"source": np.zeros((N, 3, 20, 20))}, r"source must be Stamps\(images, survey\).*got ndarray"),
        (
            {"source": Stamps(np.zeros((N, 1, 3, 20, 20)), SURVEYS["source"])},
            r"source must be \[N, C, H, W\], one image",
        ),
        (
            {"source": Stamps(np.zeros((N, 3, 20, 20)), SURVEYS["source"], 0.2)},
            r"cover 4\.0 x 4\.0 .* 8\.0 x 8\.0 arcsec",
        ),
        (
            {"source": Stamps(np.zeros((N, 3, 20, 20)), make_survey(BANDS, 0.4, [1, np.nan, 1]))},
            "sky noise of stamps in r is not known; give",
        ),
        ({"translated": np.zeros((N, 2, 2, 3, 40, 40), np.float32)}, r"\[N, S, C, H, W\]; got shape"),
        (
            {"translated": np.zeros((N, 3, 20, 20), np.float32)},
            r"translated have 20 x 20 pixels, those of the target 40 x 40",
        ),
        ({"translated": {"source": np.zeros((N, 3, 40, 40))}}, r"cannot be called 'source'"),
        ({"translated": {}}, r"empty dict"),
        ({"train": [1, 2, 3], "test": [3, 4, 5]}, r"overlap in row 3 of 800"),
        ({"train": [1, 5000]}, r"train names galaxies 1 to 5000 of 800"),
        ({"test": 1.5}, r"between 0 and 1"),
        ({"test": [1, 2]}, r"at least 20 usable galaxies"),
        ({"z_spec": np.full(N, np.nan)}, r"none|at least 20"),
        ({"by": {"magnitude": [1.0]}}, r"what to bin by, 'magnitude', has shape \(1,\); there are 800"),
        ({"estimator": "neural"}, r"'image', 'photometric'"),
        ({"estimator": {"source": None}}, r"one for 'target'"),
    ],
)
@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")
def test_what_does_not_fit_is_named(galaxies, change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(galaxies, **change)


def test_estimators_are_found_again_and_only_for_the_same_pixels_and_settings(galaxies, tmp_path):
    """One pixel of one training galaxy, or one setting, makes it another training."""
    source, target, z = galaxies
    part = source[:60].copy(), target[:60].copy(), z[:60]
    settings = dict(estimator="photometric", directory=tmp_path, test=np.arange(30), epochs=1, batch_size=16)

    def trained(galaxies=part, **options):
        before = set(tmp_path.glob("*/*.safetensors"))
        run(galaxies, **settings | options)
        return sorted(path.parent.name.split("-")[0] for path in set(tmp_path.glob("*/*.safetensors")) - before)

    assert trained() == ["source", "target", "translated"]
    assert trained() == []
    assert trained(epochs=2) == ["source", "target", "translated"]
    changed = part[0].copy()
    changed[43, 1, 2, 3] += 1e-3
    assert trained((changed, *part[1:])) == ["source"]
    assert trained((changed, *part[1:])) == []

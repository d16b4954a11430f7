"""Photo-z estimators, on small galaxies whose colour tells the redshift."""

import csv
from itertools import chain

import numpy as np
import pytest
import torch
from photutils.aperture import CircularAperture
from scipy import optimize, stats

from astro_galtrans import photoz
from astro_galtrans._locks import locked
from astro_galtrans.exceptions import CheckpointError, GaltransWarning
from astro_galtrans.measure import adaptive
from astro_galtrans.photoz import density, task
from astro_galtrans.photoz.pdfs import GridPDF
from helpers import aperture_sum, shared_data

SKY = 0.5, 0.4, 0.6
IMAGING = {"bands": "gri", "pixel_scale": 0.4, "sky_rms": SKY}
SMALL = {"network": {"width": 8, "dense": 32}, "epochs": 4, "batch_size": 32, "progress": False}
QUICK = {"network": {"width": 32, "depth": 2}, "epochs": 15, "learning_rate": 5e-3}


def galaxies(number, seed=0, size=20):
    """Round Gaussians with g - r = 5 z and r - i = -2.5 z: images and redshifts."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.05, 0.5, number)
    flux = 10 ** rng.uniform(2.5, 3.5, number)[:, None] * np.stack([10 ** (-2 * z), np.ones(number), 10**-z], axis=1)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    profile = np.exp(-0.5 * (x**2 + y**2) / 2.5**2)
    images = flux[..., None, None] * profile / profile.sum()
    noise = rng.normal(0, 1, images.shape) * np.array(SKY)[:, None, None]
    return (images + noise).astype("f4"), z


def information(pdfs, z, prior):
    return np.mean(np.log(pdfs.pdf(z)) - np.log(prior.pdf(z)))


class Lazy:
    """Images as a file gives them: a length, slices and index arrays; stops after so many reads."""

    def __init__(self, images, stop=np.inf):
        self.images, self.stop, self.reads = images, stop, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        self.reads += 1
        if self.reads > self.stop:
            raise KeyboardInterrupt
        return self.images[rows]


@pytest.fixture(scope="module")
def photometric():
    images, z = galaxies(300)
    return photoz.train_photometric(images, z, **IMAGING, **QUICK)


# densities ------------------------------------------------------------------------------------------------------------


def test_a_gaussian_cut_at_the_grid_is_scipys():
    grid = torch.linspace(0, 0.6, 241)
    mean, sigma = torch.tensor([[0.3], [0.02]]), torch.tensor([[0.01], [0.05]])
    pdf = density.log_density(density.Mixture(torch.zeros(2, 1), mean, sigma), grid).exp()
    for row, (m, s) in enumerate([(0.3, 0.01), (0.02, 0.05)]):
        expected = stats.truncnorm((0 - m) / s, (0.6 - m) / s, m, s).pdf(grid.numpy())
        np.testing.assert_allclose(pdf[row], expected, rtol=2e-3, atol=1e-5)


def test_the_likelihood_trained_is_that_of_the_pdf_given():
    head, grid = density.MixtureHead(6, np.linspace(0, 0.6, 200)), torch.linspace(0, 0.6, 200)
    mixture = head(torch.randn(50, 6))
    z = torch.rand(50) * 0.6
    trained = density.log_likelihood(mixture, grid, z).detach()
    given = GridPDF.normalised(grid.numpy(), density.log_density(mixture, grid).detach().double().exp().numpy())
    np.testing.assert_allclose(trained, np.log(given.pdf(z.numpy())), atol=2e-3)
    interpolated = density.interpolate_log(density.log_density(mixture, grid), grid, z).detach()
    np.testing.assert_allclose(interpolated, np.log(given.pdf(z.numpy())), atol=2e-4)


def test_blending_keeps_the_norm_and_adds_the_prior():
    grid = torch.linspace(0, 1, 101)
    log_f = density.normalise_log(-0.5 * ((grid - 0.5) / 0.02)[None] ** 2, grid)
    blended = density.blend(log_f, torch.zeros(101), grid, temperature=4.0, floor=0.1)
    assert np.trapezoid(blended.exp()[0], grid) == pytest.approx(1, abs=1e-4)
    expected = 0.9 * stats.norm(0.5, 0.04).pdf(grid.numpy()) + 0.1  # the fourth root is twice as wide
    np.testing.assert_allclose(blended.exp()[0], expected, rtol=1e-3)


def test_prior_is_the_kernel_density_of_the_sample():
    z = np.random.default_rng(0).normal(0.3, 0.05, 5000)
    prior = photoz.training_prior(z, np.linspace(0, 0.6, 301))
    middle = slice(100, 200)
    kernel = stats.gaussian_kde(z, bw_method=0.9 * 5000**-0.2)
    np.testing.assert_allclose(prior.density[0, middle], kernel(prior.z[middle]), rtol=0.05, atol=0.05)
    assert prior.density.min() > 0


# photometry -----------------------------------------------------------------------------------------------------------


def test_circular_apertures_are_photutils():
    images, _ = galaxies(3, size=32)
    measure = photoz.Photometry(tuple("gri"), 0.4, SKY, 32)
    fluxes = measure.fluxes(torch.from_numpy(images))
    for row, diameter in zip(range(3, 7), (1.5, 3.0, 6.0, 10.0), strict=True):
        aperture = CircularAperture((15.5, 15.5), diameter / 2 / 0.4)
        expected = [[aperture_sum(p, aperture)[0] for p in image] for image in images]
        np.testing.assert_allclose(fluxes[:, row], expected, rtol=0.01, atol=1.0)


def test_peak_is_the_highest_pixel_near_the_centre():
    images, _ = galaxies(2, size=32)
    images[0, 1, 2, 2] = 1e6  # a star at the edge
    measure = photoz.Photometry(tuple("gri"), 0.4, SKY, 32)
    peaks = measure.fluxes(torch.from_numpy(images))[:, -1].numpy()
    np.testing.assert_array_equal(peaks, images[:, :, 11:21, 11:21].max(axis=(2, 3)))


def test_noise_drawn_anew_is_that_of_the_sky():
    measure = photoz.Photometry(tuple("gri"), 0.4, SKY, 32)
    sky = torch.randn(4000, 3, 32, 32) * torch.tensor(SKY)[:, None, None]
    seen = measure.fluxes(sky)
    drawn = measure.noisier(torch.zeros_like(seen), 1.0)
    for band in range(3):
        ours, theirs = (each[:, :-1, band].numpy() for each in (drawn, seen))
        np.testing.assert_allclose(np.corrcoef(ours.T), np.corrcoef(theirs.T), atol=0.07)
        np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.07)
    np.testing.assert_allclose(drawn[:, -1].std(dim=0), SKY, rtol=0.05)
    bright = torch.full((1, 8, 3), 1e9)
    np.testing.assert_allclose(measure.noisier(bright, 0.6), 1e9, rtol=1e-6)  # as bright as without


def elliptical(sigma, ratio, angle, centre=(0.0, 0.0), size=64, pixel=0.2):
    """A Gaussian, and its second moments xx, yy, xy."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    covariance = turn @ np.diag([sigma**2, (sigma * ratio) ** 2]) @ turn.T
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * pixel
    offset = np.stack([x - centre[0], y - centre[1]], axis=-1)
    image = np.exp(-0.5 * np.einsum("...i,ij,...j", offset, np.linalg.inv(covariance), offset))
    return torch.tensor(image[None], dtype=torch.float32), (covariance[0, 0], covariance[1, 1], covariance[0, 1])


@pytest.mark.parametrize(("pixel", "size", "fold"), [(0.1, 162, 3), (0.15, 108, 2), (0.2, 80, 1), (0.4, 40, 1)])
@pytest.mark.parametrize(("ratio", "angle"), [(1.0, 0.0), (0.6, 0.4), (0.6, 2.0)])
def test_ellipse_of_a_gaussian_galaxy_is_its_own_on_any_pixels(ratio, angle, pixel, size, fold):
    """It is measured on pixels of 0.3 arcsec; a mean over n samples in a row adds (n^2 - 1) / 12 to their variance."""
    image, moments = elliptical(1.4, ratio, angle, centre=(0.3, -0.2), size=size, pixel=pixel)
    found = adaptive.galaxy_ellipse(torch.stack([100 * image, 30 * image, 0 * image], dim=1), pixel)
    assert [tuple(value.shape) for value in found] == [(1, 1)] * 5
    np.testing.assert_allclose([float(found.x), float(found.y)], [0.3, -0.2], atol=1e-3)
    wider = pixel**2 * (fold**2 - 1) / 12
    np.testing.assert_allclose([float(v) for v in found[2:]], np.add(moments, (wider, wider, 0)), atol=2e-3)


@pytest.mark.parametrize(
    ("features", "tolerance"), [(adaptive.adaptive_features, 1e-4), (adaptive.matched_features, 1e-3)]
)  # the latter end a search for non-negative amplitudes, which magnifies rounding
def test_features_depend_on_their_own_stamp_alone_and_exist_for_blank_ones(features, tolerance):
    images = torch.from_numpy(galaxies(6)[0])
    images[3] = 0
    images[4] = torch.randn(images[4].shape)
    together = features(images, SKY, 0.4)
    assert torch.isfinite(together).all()
    alone = torch.cat([features(image[None], SKY, 0.4) for image in images])
    torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("features", "weights"), [(adaptive.adaptive_features, 7), (adaptive.matched_features, 3)])
def test_colours_of_one_colour_do_not_know_the_shape(features, weights):
    """Bulge and disc of one colour: whatever the ellipse, g - r is that of the flux."""
    colours = []
    for ratio, angle in [(1.0, 0.0), (0.5, 0.7), (0.5, 2.3)]:
        shape = elliptical(1.5, ratio, angle, size=64, pixel=0.4)[0]
        stamp = torch.stack([300 * shape, 900 * shape, 600 * shape], dim=1)
        told = features(stamp, (1e-3, 1e-3, 1e-3), 0.4)[0, : weights * 3].reshape(weights, 3)
        colours.append(told[:, :2].numpy())
    expected = np.broadcast_to([2.5 * np.log10(3), 2.5 * np.log10(2 / 3)], (3, weights, 2))
    np.testing.assert_allclose(colours, expected, atol=1e-3)


def test_expansion_is_that_of_scipys_solver(rng):
    radius2 = torch.tensor(rng.uniform(0, 16, (4, 900)), dtype=torch.float32)
    gaussians = np.exp(-0.5 * radius2.numpy()[:, None] / np.array(adaptive.SIZES)[:, None] ** 2)
    image = 5 * gaussians[:, 1] + 3 * gaussians[:, 4] + rng.normal(0, 0.3, radius2.shape)
    amplitude, profile = adaptive.expansion(torch.tensor(image, dtype=torch.float32), radius2)
    assert (amplitude >= 0).all()
    for ours, basis, pixels in zip(profile.numpy(), gaussians, image, strict=True):
        best = optimize.nnls(basis.T, pixels)[0] @ basis
        assert np.sqrt(np.mean((ours - best) ** 2)) < 0.05  # a sixth of the noise of one pixel


def test_matched_filter_is_less_noisy_than_apertures(rng):
    y, x = (np.mgrid[:32, :32] - 15.5) * 0.4
    radius = np.hypot(x, y / 0.6)
    galaxy = np.exp(-radius / 0.9) + 2 * np.exp(-0.5 * (radius / 0.6) ** 2)  # a disc and a bulge
    stamps = 20 * galaxy * np.array([1, 5, 3])[:, None, None] + rng.normal(0, 1, (400, 3, 32, 32))
    stamps = torch.tensor(stamps, dtype=torch.float32)
    matched = adaptive.matched_features(stamps, (1, 1, 1), 0.4).numpy()[:, 0]
    measure = photoz.Photometry(tuple("gri"), 0.4, (1, 1, 1), 32)
    fixed = measure.features(measure.fluxes(stamps)).numpy()[:, :-3:3]
    ellipses = adaptive.adaptive_features(stamps, (1, 1, 1), 0.4).numpy()[:, : 7 * 3 : 3]
    assert matched.std() < 1.03 * min(fixed.std(axis=0).min(), ellipses.std(axis=0).min())


def test_expansion_tells_a_bulge_from_a_disc():
    y, x = (np.mgrid[:32, :32] - 15.5) * 0.4
    radius = np.hypot(x, y)
    inner = []
    for power in (1.0, 0.5, 0.25):  # Gaussian-like, to ever more of a cusp with wings
        galaxy = torch.tensor(1000 * np.exp(-3 * radius ** (2 * power)), dtype=torch.float32)
        told = adaptive.matched_features(galaxy.expand(1, 3, 32, 32), (1, 1, 1), 0.4)[0]
        inner.append(float(told[3 * 3 + 3]))  # light in the four smallest Gaussians
    assert inner[0] > inner[1] + 0.1 > inner[2] + 0.2


def test_asinh_magnitudes_are_magnitudes_when_bright_and_linear_when_faint():
    flux, softening = torch.tensor([1e5, 1e7, 0.0, -1e-3]), torch.tensor(1.0)
    magnitude = photoz.asinh_magnitudes(flux, softening).numpy()
    np.testing.assert_allclose(magnitude[:2], -2.5 * np.log10([1e5, 1e7]), atol=1e-5)
    np.testing.assert_allclose(magnitude[2:], [0, 1e-3 / 2 * 2.5 / np.log(10)], atol=1e-9)


def test_colours_do_not_know_the_brightness_but_totals_do():
    images, _ = galaxies(4)
    measure = photoz.Photometry(tuple("gri"), 0.4, SKY, 20)
    clean = measure.fluxes(torch.from_numpy(images).clamp(min=1) * 1e4)
    for which, change in {"colours": 0.0, "peak_colours": 0.0, "total": -2.5, "peaks": -2.5}.items():
        difference = measure.features(10 * clean, which) - measure.features(clean, which)
        assert difference[:, -1].numpy() == pytest.approx(change, abs=1e-3)
    sizes = {which: measure.features(clean, which).shape[1] for which in photoz.FEATURES}
    assert sizes == {"peaks": 3, "peak_colours": 2, "total": 3, "colours": 2, "apertures": 21, "all": 24}


# estimators -----------------------------------------------------------------------------------------------------------


def test_photometric_estimator_reads_the_redshift_from_the_colour(photometric):
    images, z = galaxies(200, seed=1)
    pdfs = photometric.predict(images, bands="gri", pixel_scale=0.4)
    assert information(pdfs, z, photometric.prior) > 1.5
    residual = (pdfs.median() - z) / (1 + z)
    assert 1.4826 * np.median(np.abs(residual)) < 0.012
    assert len(photometric.grid) == 256 and photometric.grid[0] == 0


def test_without_information_there_is_none():
    images, z = galaxies(400)
    z = np.random.default_rng(1).permutation(z)
    pdfs = photoz.cross_validated(photoz.train_photometric, images, z, folds=2, **IMAGING, **QUICK)
    assert abs(information(pdfs, z, photoz.training_prior(z, pdfs.z))) < 0.1


def test_cross_validation_gives_every_galaxy_a_pdf():
    images, z = galaxies(150)
    z[[3, 7]] = np.nan
    with pytest.warns(GaltransWarning, match="2 of 150 .* missing: rows 3, 7 of 150"):
        pdfs = photoz.cross_validated(photoz.train_photometric, images, z, folds=3, **IMAGING, **QUICK)
    known = np.isfinite(z)
    assert len(pdfs) == 150
    assert information(pdfs[known], z[known], photoz.training_prior(z[known], pdfs.z)) > 1


def test_seed_decides():
    images, z = galaxies(60)
    one, same, other = (
        photoz.train_photometric(images, z, seed=seed, **IMAGING, **QUICK).predict(images).density for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_file_holds_the_estimator(photometric, tmp_path):
    path = tmp_path / "e.safetensors"
    photometric.save(path)
    back = photoz.load(path)
    images, _ = galaxies(5, seed=2)
    np.testing.assert_array_equal(back.predict(images).density, photometric.predict(images).density)
    assert back.bands == tuple("gri") and back.pixel_scale == 0.4 and back.card["training"]["galaxies"] == 300
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="checksum"):
        photoz.load(path)
    path.write_bytes(damaged[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        photoz.load(path)


def test_image_network_starts_from_photometry_and_keeps_its_redshifts():
    images, z = galaxies(300)
    estimator = photoz.train_image(images, z, **IMAGING, **SMALL)
    test, z_test = galaxies(100, seed=1)
    assert information(estimator.predict(test), z_test, estimator.prior) > 1.2
    estimator.views = 8
    one, turned = (estimator.predict(each).density for each in (test, np.rot90(test, axes=(2, 3))))
    np.testing.assert_allclose(one, turned, atol=1e-2 * one.max())


def test_interrupted_training_goes_on_to_the_same_result(tmp_path):
    images, z = galaxies(80)
    settings = IMAGING | SMALL | {"seed": 3, "checkpoint_minutes": 0, "members": 2}
    whole = photoz.train_image(images, z, **settings)
    with pytest.raises(KeyboardInterrupt):  # one read measures, one validates the start; two batches and a validation
        photoz.train_image(Lazy(images, stop=2 + 3 * 3 + 1), z, directory=tmp_path, memory=0, **settings)
    folders = {"member-0-start", "member-0"}
    assert {path.parent.name for path in tmp_path.glob("*/checkpoint.pt")} == folders
    with pytest.raises(ValueError, match="member-0-start holds a training with other galaxies or settings"):
        photoz.train_image(images, z, directory=tmp_path, **settings | {"learning_rate": 1e-3})
    resumed = photoz.train_image(Lazy(images), z, directory=tmp_path, memory=0, **settings)
    np.testing.assert_array_equal(whole.predict(images).density, resumed.predict(Lazy(images)).density)
    assert (tmp_path / "estimator.safetensors").exists() and not list(tmp_path.glob("*/checkpoint*"))
    with (tmp_path / "member-1" / "validation.csv").open() as file:
        logged = [-float(row["loss"]) for row in csv.DictReader(file)]
    run = resumed.card["training"]["members"][1]
    assert logged == pytest.approx([run["start"], *run["validation"]], rel=1e-5)
    found = photoz.train_image(images, z, directory=tmp_path, **settings)
    np.testing.assert_array_equal(found.predict(images).density, whole.predict(images).density)
    with pytest.raises(ValueError, match="other galaxies or with other settings"):
        photoz.train_image(images, z, directory=tmp_path, **settings | {"seed": 4})


def test_two_trainings_in_a_folder(tmp_path):
    images, z = galaxies(80)
    with locked(tmp_path), pytest.raises(OSError, match=rf"{tmp_path} is being written to by process"):
        photoz.train_image(images, z, directory=tmp_path, **IMAGING, **SMALL)


def test_stamps_are_shown_in_all_eight_orientations_of_a_square():
    seen = set()

    class Flat(photoz.network.DenseNetwork):
        def forward(self, stamps):
            if self.training:
                seen.update(tuple(stamp.ravel().tolist()) for stamp in stamps)
            return super().forward(stamps.flatten(1))

    square = np.arange(9.0).reshape(3, 3)
    data = Colours(torch.tensor(square, dtype=torch.float32).expand(40, 1, 3, 3), torch.rand(40) * 0.5)
    settings = photoz.TrainingSettings(epochs=1, batch_size=4)
    network = Flat(9, np.linspace(0, 0.6, 61), width=8, depth=1)
    task.fit(network, data, torch.arange(36), torch.arange(36, 40), settings, progress=False)
    expected = {tuple(np.rot90(side, k).ravel()) for side in (square, square[:, ::-1]) for k in range(4)}
    assert seen == expected and len(seen) == 8


def trained(**settings):
    """Train a small network on magnitudes, and return the largest change of a weight, and its run."""
    colours = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    data = Colours(colours, 0.3 + 0.05 * colours[:, 0])
    torch.manual_seed(2)
    network = photoz.network.DenseNetwork(2, np.linspace(0, 0.6, 61), width=16, depth=1)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    options = {"epochs": 4, "batch_size": 32, "learning_rate": 0.02, "weight_decay": 0.0}
    settings = photoz.TrainingSettings(**options | settings)
    end, run = task.fit(network, data, torch.arange(150), torch.arange(150, 200), settings, progress=False)
    last = network.state_dict()
    same = all(torch.equal(value, last[name]) for name, value in end.state_dict().items())
    return max(float((last[name] - start[name]).abs().max()) for name in start), run, same


class Colours:
    """Features as they are; keeps a record of which galaxies were asked for, and with how much noise."""

    def __init__(self, features, z):
        self.features, self.z, self.asked = features, z, []

    def batch(self, rows, noise=0.0):
        self.asked.append((noise, rows.tolist()))
        return (self.features[rows],)


def test_every_epoch_shows_each_galaxy_once_with_noise_and_in_another_order():
    data, held_out = Colours(torch.randn(100, 2), torch.rand(100) * 0.5), torch.arange(90, 100)
    network = photoz.network.DenseNetwork(2, np.linspace(0, 0.6, 61), width=8, depth=1)
    settings = photoz.TrainingSettings(epochs=2, batch_size=20, noise=0.3)
    task.fit(network, data, torch.arange(90), held_out, settings, progress=False)
    assert [rows for noise, rows in data.asked if not noise] == 3 * [list(range(90, 100))]
    batches = [rows for noise, rows in data.asked if noise == 0.3]
    assert [len(rows) for rows in batches] == 2 * [23, 23, 22, 22]  # of nearly equal size
    first, second = (list(chain(*batches[k : k + 4])) for k in (0, 4))
    assert sorted(first) == sorted(second) == list(range(90))
    assert first != second


def test_gradients_are_clipped_and_weights_averaged_as_the_settings_say():
    """Gradients shortened to far less than AdamW's epsilon move nothing; an average without memory is the last step."""
    usual, clipped, last = trained(), trained(clip=1e-12), trained(average=0.0)
    assert usual[0] > 0.02 and clipped[0] < 1e-4
    assert usual[1]["best_epoch"] == last[1]["best_epoch"] == 4  # so that the result is the network at the end
    assert (usual[2], last[2]) == (False, True)


def test_ensemble_averages_its_members():
    images, z = galaxies(60)
    both = photoz.train_photometric(images, z, **IMAGING, **QUICK, members=2)
    each = [
        photoz.PhotometricEstimator([network], both.card | {"calibration": [calibration]})
        for network, calibration in zip(both.networks, both.card["calibration"], strict=True)
    ]
    average = GridPDF.average([one.predict(images) for one in each])
    np.testing.assert_allclose(both.predict(images).density, average.density, rtol=1e-6)
    assert np.abs(each[0].predict(images).density - each[1].predict(images).density).max() > 0.01


def test_reddening_is_asked_for_where_it_was_learnt():
    images, z = galaxies(60)
    ebv = np.random.default_rng(0).uniform(0, 0.1, 60)
    estimator = photoz.train_photometric(images, z, ebv=ebv, **IMAGING, **QUICK)
    assert len(estimator.predict(images, ebv=ebv)) == 60
    with pytest.raises(ValueError, match="trained with E"):
        estimator.predict(images)
    with pytest.raises(ValueError, match="images: 60, ebv: 59"):
        estimator.predict(images, ebv=ebv[1:])
    with pytest.raises(ValueError, match="missing in row 4 of 60"):
        estimator.predict(images, ebv=np.where(np.arange(60) == 4, np.nan, ebv))


def test_reddening_helps_where_it_hides_the_redshift():
    rng = np.random.default_rng(0)
    z, ebv = rng.uniform(0, 0.5, (2, 300))
    colour = 5 * z + 5 * ebv
    magnitudes = np.stack([20 + colour, np.full(300, 20.0)], axis=1) + rng.normal(0, 0.02, (300, 2))
    told, not_told = (
        photoz.cross_validated(photoz.train_magnitudes, magnitudes, z, bands="gr", folds=2, ebv=e, **QUICK)
        for e in (ebv, None)
    )
    prior = photoz.training_prior(z, told.z)
    assert information(told, z, prior) > information(not_told, z, prior) + 0.1


def test_streamed_predictions_are_the_same(photometric):
    images, _ = galaxies(50, seed=3)
    parts = list(photometric.predict_batches(Lazy(images), batch_size=20))
    assert [rows.stop for rows, _ in parts] == [20, 40, 50]
    streamed = GridPDF.concatenate([pdfs for _, pdfs in parts])
    np.testing.assert_allclose(streamed.density, photometric.predict(images).density, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", range(8))
def test_eight_orientations_differ(number):
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert [torch.equal(task.dihedral(square, number), task.dihedral(square, k)) for k in range(8)].count(True) == 1


# catalogues -----------------------------------------------------------------------------------------------------------


def test_magnitudes_and_their_errors():
    rng = np.random.default_rng(0)
    z = rng.uniform(0, 0.4, 300)
    error = np.full((300, 3), 0.02)
    magnitudes = 20 + np.stack([5 * z, np.zeros(300), -2 * z], axis=1) + rng.normal(0, error)
    estimator = photoz.train_magnitudes(magnitudes, z, errors=error, bands="gri", **QUICK)
    pdfs = estimator.predict(magnitudes, errors=error)
    assert information(pdfs, z, estimator.prior) > 1
    with pytest.raises(ValueError, match="trained with errors"):
        estimator.predict(magnitudes)
    magnitudes[[5, 6], 1] = -99.9, np.nan
    with pytest.raises(ValueError, match="missing in rows 5, 6 of 300"):
        estimator.predict(magnitudes, errors=error)
    with pytest.raises(ValueError, match=r"\[N, 3\]"):
        estimator.predict(magnitudes[:, :2], errors=error)


@pytest.mark.slow
def test_real_galaxies_as_well_as_boosted_trees():
    table = np.loadtxt(shared_data("catalogues", "sdss_mgs_ugriz_zspec.txt"))
    z, magnitudes, errors = table[:, 0], table[:, 1:6], table[:, 10:15]
    pdfs = photoz.cross_validated(photoz.train_magnitudes, magnitudes, z, errors=errors, bands="ugriz", folds=5)
    residual = (pdfs.median() - z) / (1 + z)
    # measured 0.0132, and 0.0131 with three members in ten folds; boosted trees: 0.0130 and 0.9 %
    assert 1.4826 * np.median(np.abs(residual - np.median(residual))) < 0.0136
    assert np.mean(np.abs(residual) > 0.05) < 0.014


# functions of the user's ----------------------------------------------------------------------------------------------

GRID = np.linspace(0, 1, 101)


def colour_redshift(images):
    """What the galaxies were made with, turned round."""
    flux = images.sum(axis=(2, 3))
    return np.clip(np.log10(flux[:, 1] / flux[:, 0]) / 2, 0, 1)


def test_function_that_gives_points():
    images, z = galaxies(40)
    estimator = photoz.wrap(colour_redshift, GRID, width=0.02, prior=z, batch_size=16)
    points, pdfs = estimator.predict_points(images), estimator.predict(images)
    np.testing.assert_allclose(points, colour_redshift(images))
    np.testing.assert_allclose(pdfs.median(), points, atol=2e-3)
    spread = (pdfs.quantile(0.8413) - pdfs.quantile(0.1587)) / 2
    np.testing.assert_allclose(spread, 0.02 * (1 + points), rtol=0.02)
    assert estimator.name == "colour_redshift"
    np.testing.assert_array_equal(estimator.prior.density, photoz.training_prior(z, GRID).density)
    with pytest.raises(ValueError, match="give wrap a width"):
        photoz.wrap(colour_redshift, GRID).predict(images)


def test_function_that_gives_pdfs():
    images, _ = galaxies(5)
    rows = stats.norm(0.5, 0.1).pdf(GRID)[None].repeat(5, axis=0)
    rows /= np.trapezoid(rows, GRID)[:, None]
    for answer in (rows, GridPDF(GRID, rows)):
        estimator = photoz.wrap(lambda images, answer=answer: answer[: len(images)], GRID)
        np.testing.assert_allclose(estimator.predict(images).density, rows)
        np.testing.assert_allclose(estimator.predict_points(images), 0.5, atol=1e-3)


def test_function_that_takes_reddening():
    images, _ = galaxies(5)
    estimator = photoz.wrap(lambda _, ebv: 2 * ebv, GRID, takes_ebv=True, batch_size=2)
    ebv = np.linspace(0, 0.1, 5)
    np.testing.assert_allclose(estimator.predict_points(images, ebv=ebv), 2 * ebv)
    with pytest.raises(ValueError, match="5 images need as many"):
        estimator.predict_points(images)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda images: np.full(len(images), np.nan), "missing or outside 0 to 1: rows 0, 1, 2 of 3"),
        (lambda images: np.ones((len(images), 7)), r"expected \[n, 101\] or \[n\]"),
        (lambda images: np.full((len(images), 101), 2.0), "do not integrate to 1: rows 0, 1, 2 of 3"),
        (lambda _: np.ones(1), "1 answers for 3 images"),
        (lambda images: GridPDF(GRID * 2, np.full((len(images), 101), 0.5)), "another grid"),
    ],
)
def test_function_that_errs(answer, message):
    images, _ = galaxies(3)
    with pytest.raises(ValueError, match=message):
        photoz.wrap(answer, GRID, width=0.1).predict(images)


def test_wrap_needs_a_grid_and_a_width_above_zero():
    with pytest.raises(ValueError, match="grid is needed"):
        photoz.wrap(colour_redshift)
    with pytest.raises(ValueError, match="must be positive"):
        photoz.wrap(colour_redshift, GRID, width=0.0)


# bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": "gr", "sky_rms": (1, 2)}, r"\[N, 2, H, W\] for bands g, r, got shape"),
        ({"bands": "ggi"}, "different names"),
        ({"sky_rms": (1, 2)}, "one positive number per band"),
        ({"pixel_scale": 0}, "pixel_scale must be a positive"),
        ({"features": "peak"}, "features must be one of"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"grid": [0.3, 0.2]}, "strictly increasing"),
        ({"grid": [0.6, 0.7]}, "0 are left .*outside the grid"),
        ({"members": 0}, "members must be at least 1"),
    ],
)
def test_arguments_that_do_not_fit(change, message):
    images, z = galaxies(30)
    with pytest.raises(ValueError, match=message):
        photoz.train_photometric(images, z, **IMAGING | change)


def test_redshifts_that_cannot_train_are_counted():
    images, z = galaxies(60)
    z[:4] = np.nan, np.inf, -0.1, 0.9
    with pytest.warns(GaltransWarning, match="4 of 60 .* missing: rows 0, 1 of 60; negative: row 2 of 60; out") as told:
        estimator = photoz.train_photometric(images, z, grid=np.linspace(0, 0.6, 61), **IMAGING, **QUICK)
    assert len(told) == 1
    assert estimator.card["training"]["left_out"] == {"missing": 2, "negative": 1, "outside the grid": 1}
    assert estimator.card["training"]["galaxies"] == 56


def test_numbers_that_do_not_match():
    images, z = galaxies(30)
    with pytest.raises(ValueError, match="30 images and 29 redshifts"):
        photoz.train_photometric(images, z[1:], **IMAGING)
    with pytest.raises(ValueError, match="at least 20 galaxies"):
        photoz.train_photometric(images[:9], z[:9], **IMAGING)
    with pytest.raises(ValueError, match=r"20 galaxies with a redshift .*rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and"):
        photoz.train_photometric(images, np.where(np.arange(30) < 15, np.nan, z), **IMAGING)


def test_images_of_another_kind(photometric):
    images, _ = galaxies(3)
    with pytest.raises(ValueError, match="for bands g, r, i, got r, i, z"):
        photometric.predict(images, bands="riz")
    with pytest.raises(ValueError, match=r'pixels of 0\.4", got 0\.2"'):
        photometric.predict(images, pixel_scale=0.2)
    with pytest.raises(ValueError, match="8 x 8 pixels are smaller than the 16 x 16"):
        photometric.predict(images[..., 6:14, 6:14])
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\]"):
        photometric.predict(images[:, :2])


def test_pixels_that_are_not_finite_are_blank_sky(photometric):
    images, _ = galaxies(30)
    holes, zeros = images.copy(), images.copy()
    holes[4, 1, 2:4, 3], zeros[4, 1, 2:4, 3] = np.nan, 0
    with pytest.warns(GaltransWarning, match="2 pixels .* in row 4 of 30"):
        filled = photometric.predict(holes)
    np.testing.assert_array_equal(filled.density, photometric.predict(zeros).density)
    holes[7, 2] = np.inf
    with pytest.raises(ValueError, match="without a single finite pixel in some band: row 7 of 30"):
        photometric.predict(holes)


def test_loop_says_when_the_loss_is_lost():
    images, z = galaxies(40)
    images[0] = 3e38
    with pytest.raises(FloatingPointError, match="not finite"):
        photoz.train_photometric(images, z, **IMAGING, **QUICK)

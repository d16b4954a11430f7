"""Training estimators: stamps or magnitudes and spectroscopic redshifts in, an estimator out."""

import warnings
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from astro_galtrans._columns import name_rows, plain
from astro_galtrans._files import fingerprint
from astro_galtrans._locks import held
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.measure.magnitudes import colours_and_magnitude
from astro_galtrans.photoz.pdfs import GridPDF

from .data import TrainingStamps, checked_images, crop_size, read
from .density import blend, default_grid, interpolate_log, log_density, training_prior
from .estimators import ImageEstimator, MagnitudeEstimator, PhotometricEstimator, ebv_column, load
from .features import FEATURES, Photometry, magnitude_features
from .task import TrainingSettings, fit

__all__ = ["cross_validated", "train_image", "train_magnitudes", "train_photometric"]

FIELD = 12.7  #: side (arcsec) of the middle of a stamp that networks see: 32 SDSS pixels
COARSE = 0.8  #: size (arcsec) up to which pixels are folded into channels: half the seeing from the ground
FEWEST = 20  #: fewest galaxies that can be trained on, and fewest that a calibration is measured with
ESTIMATOR = "estimator.safetensors"  #: in the folder of a training that is done
HELD_OUT = 0.1  #: share of the galaxies held out for validation and calibration; at least a quarter of them, or 100
STEPS = 4000  #: optimizer steps of a training on photometry, for any number of galaxies: some seconds on a CPU
#: Settings for the convolutions of an image network, which correct the redshifts of a dense network that is trained
#: already; larger steps would first spoil them.
IMAGE = {"epochs": 8, "learning_rate": 5e-4, "patience": 2}
#: Temperatures and shares of the prior tried in the calibration: networks trained on few galaxies are too confident,
#: which a temperature above 1 mends; where images tell nothing of redshift, the share of the prior goes to 1.
TEMPERATURES = 0.8, 0.9, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 2.0
FLOORS = 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.9, 0.99
USUAL = 1.0, 0.01  #: temperature and share of the prior where too few galaxies are held out to measure them


def train_image(
    images, z_spec, *, bands, pixel_scale, sky_rms, grid=None, ebv=None, directory=None, seed=0, members=1,
    name="image", field=FIELD, network=None, memory=2**30, device="auto", progress=True, **settings,
):  # fmt: skip
    """
    Train an image network, after Pasquet et al. (2019, A&A 621, A26), on stamps and spectroscopic redshifts; return the
    `~astro_galtrans.photoz.ImageEstimator`.

    Parameters
    ----------
    images : array-like
        ``[N, C, H, W]``: stamps with the galaxy in the middle, background subtracted; numpy, or lazy with a length and
        slices (``PairStore.images("source")``), read once.
    z_spec : array-like
        ``[N]``: redshifts. Galaxies without one, or with one outside the grid, are left out, with a warning.
    bands : sequence of str
        Names of the bands.
    pixel_scale : float
        Size of a pixel (arcsec).
    sky_rms : sequence of float
        Sky noise of a pixel in each band, in the images' flux unit.
    grid : array-like, optional
        ``[K]``: redshifts of the PDFs; 256 from 0 to 5 % beyond the highest by default.
    ebv : array-like, optional
        ``[N]``: Galactic reddening E(B-V) in mag, a further input of the network; `predict` then needs it too.
    directory : path-like, optional
        Folder of ``estimator.safetensors``, with a folder of checkpoints and logs for each member. A training that was
        interrupted goes on from there, to the same result; one that is done is read.
    seed : int, optional
        Seed of initial weights, batches, noise and dropout.
    members : int, optional
        Networks of a deep ensemble, whose PDFs are averaged.
    name : str, optional
        Name of the estimator.
    field : float, optional
        Side of the middle of the stamp that the network sees (arcsec).
    network : dict, optional
        Settings of the network: ``width`` (channels of the convolutions, 32), ``dense`` (size of the dense layers, 256)
        and ``dropout`` (share of their values set to 0 at random, 0.1).
    memory : float, optional
        Bytes up to which stamps are kept in memory, in half precision; more are read again for every batch.
    device : str, optional
        "cpu", "cuda", "cuda:1", ..., or "auto": a GPU if there is one.
    progress : bool, optional
        Show a progress bar on a terminal.
    **settings
        Fields of `~astro_galtrans.photoz.TrainingSettings`: ``epochs``, ``batch_size``, ...

    Raises
    ------
    ValueError
        If the arguments do not fit each other, fewer than 20 galaxies can be used, or the folder is another training's.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> x = 0.4 * (np.arange(16) - 7.5)
    >>> colours = 10 ** np.outer(z_spec, [-2, 0, 1])
    >>> images = colours[:, :, None, None] * np.exp(-0.5 * (x**2 + x[:, None] ** 2))
    >>> images += rng.normal(0, 0.1, images.shape)
    >>> estimator = photoz.train_image(
    ...     images, z_spec, bands="gri", pixel_scale=0.4, sky_rms=[0.1] * 3, epochs=1, members=1, progress=False
    ... )
    >>> len(estimator.predict(images[:3]))
    3
    """
    settings = _settings(IMAGE | {"batch_size": max(16, min(64, len(z_spec) // 20))} | settings, len(z_spec))
    images, photometry, fold = _imaging(images, z_spec, bands, pixel_scale, sky_rms, field)
    sample, extra = _Sample(z_spec, len(images), grid), ebv_column(ebv, len(images))
    noise = 0.0 if _done(directory) else settings.noise  # a training that is done is recognised without it
    data = TrainingStamps(images, sample.z, photometry, extra=extra, memory=memory, noise=noise, seed=seed)
    network = {"bands": len(bands), "features": data.features.shape[1], "fold": fold} | (network or {})
    card = sample.card(name, bands, network, ebv) | {"photometry": asdict(photometry)}
    options = {"members": members, "seed": seed, "directory": directory, "device": device, "progress": progress}
    return _trained(ImageEstimator, card, data, sample, settings, **options)


def train_photometric(
    images, z_spec, *, bands, pixel_scale, sky_rms, grid=None, ebv=None, directory=None, seed=0, members=1,
    features="all", name="photometric", field=FIELD, network=None, device="cpu", progress=False, **settings,
):  # fmt: skip
    """
    Train a small dense network on aperture and peak fluxes of stamps, in seconds; return the
    `~astro_galtrans.photoz.PhotometricEstimator`.

    Parameters
    ----------
    images, z_spec, bands, pixel_scale, sky_rms, grid, ebv, directory, seed, members, name, field, device, progress
        As for `train_image`; by default the device is the CPU, as the network is small.
    features : str, optional
        Which colours and magnitudes the network sees, a key of `~astro_galtrans.photoz.FEATURES`.
    network : dict, optional
        Settings of the network: ``width`` (192) and ``depth`` (3) of its hidden layers, and ``dropout`` (0).
    **settings
        Fields of `~astro_galtrans.photoz.TrainingSettings`.

    Raises
    ------
    ValueError
        If the arguments do not fit each other, or fewer than 20 galaxies can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> x = 0.4 * (np.arange(16) - 7.5)
    >>> colours = 10 ** np.outer(z_spec, [-2, 0, 1])
    >>> images = colours[:, :, None, None] * np.exp(-0.5 * (x**2 + x[:, None] ** 2))
    >>> images += rng.normal(0, 0.1, images.shape)
    >>> estimator = photoz.train_photometric(
    ...     images, z_spec, bands="gri", pixel_scale=0.4, sky_rms=[0.1] * 3, epochs=5, progress=False
    ... )
    >>> len(estimator.predict(images[:3]))
    3
    """
    if features not in FEATURES:
        msg = f"features must be one of {', '.join(map(repr, FEATURES))}, got {features!r}"
        raise ValueError(msg)
    images, photometry, _ = _imaging(images, z_spec, bands, pixel_scale, sky_rms, field)
    sample, extra = _Sample(z_spec, len(images), grid), ebv_column(ebv, len(images))
    flux = torch.cat([photometry.fluxes(stamps) for _, stamps in read(images, photometry.size)])
    data = _Fluxes(flux, photometry, features, extra, sample.z)
    network = {"features": data.features.shape[1]} | (network or {})
    card = sample.card(name, bands, network, ebv) | {"photometry": asdict(photometry), "features": features}
    options = {"members": members, "seed": seed, "directory": directory, "device": device, "progress": progress}
    return _trained(PhotometricEstimator, card, data, sample, _settings(settings, len(sample.rows)), **options)


def train_magnitudes(
    magnitudes, z_spec, *, bands, errors=None, grid=None, ebv=None, seed=0, members=1, name="magnitudes", network=None,
    device="cpu", progress=False, **settings,
):  # fmt: skip
    """
    Train a small dense network on a catalogue's magnitudes; return the `~astro_galtrans.photoz.MagnitudeEstimator`.

    Parameters
    ----------
    magnitudes : array-like
        ``[N, C]``: magnitudes, by increasing wavelength.
    z_spec, bands, grid, ebv, seed, members, name, device, progress
        As for `train_photometric`.
    errors : array-like, optional
        ``[N, C]``: errors of the magnitudes, further inputs of the network; `predict` then needs them too.
    network, **settings
        As for `train_photometric`.

    Raises
    ------
    ValueError
        If the arguments do not fit each other, magnitudes are missing, or fewer than 20 galaxies can be used.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> magnitudes = 19 + np.outer(z_spec, [5, 2, 0]) + rng.normal(0, 0.05, (200, 3))
    >>> estimator = photoz.train_magnitudes(magnitudes, z_spec, bands="gri", epochs=5, progress=False)
    >>> len(estimator.predict(magnitudes[:3]))
    3
    """
    measured = magnitude_features(magnitudes, errors, bands)
    sample = _Sample(z_spec, len(measured), grid)
    data = _Magnitudes(torch.cat([measured, ebv_column(ebv, len(measured))], dim=1), errors, sample.z)
    network = {"features": data.features.shape[1]} | (network or {})
    card = sample.card(name, bands, network, ebv) | {"uses_errors": errors is not None}
    options = {"members": members, "seed": seed, "device": device, "progress": progress}
    return _trained(MagnitudeEstimator, card, data, sample, _settings(settings, len(sample.rows)), **options)


def cross_validated(train, data, z_spec, *, folds=5, seed=0, grid=None, errors=None, ebv=None, **settings):
    """
    Return the PDF of every galaxy from an estimator trained on the other folds, a
    `~astro_galtrans.photoz.pdfs.GridPDF`.

    Parameters
    ----------
    train : callable
        `train_photometric`, `train_magnitudes` or `train_image`.
    data : array-like
        ``[N, ...]``: stamps or magnitudes.
    z_spec : array-like
        ``[N]``: redshifts; a galaxy without one gets a PDF, but trains nothing.
    folds : int, optional
        Number of parts.
    seed : int, optional
        Seed of the division into folds, and of the trainings.
    grid, errors, ebv : array-like, optional
        As for ``train``.
    **settings
        What else ``train`` takes.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or fewer than 20 galaxies outside one.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> magnitudes = 19 + np.outer(z_spec, [5, 2, 0]) + rng.normal(0, 0.05, (200, 3))
    >>> pdfs = photoz.cross_validated(
    ...     photoz.train_magnitudes, magnitudes, z_spec, folds=2, bands="gri", epochs=5, progress=False
    ... )
    >>> len(pdfs)
    200
    """
    if not 2 <= folds <= len(data):
        msg = f"folds must be from 2 to the number of galaxies ({len(data)}), got {folds}"
        raise ValueError(msg)
    sample = _Sample(z_spec, len(data), grid)
    z, grid = sample.z, sample.grid
    fold = np.random.default_rng(seed).permutation(len(data)) % folds
    columns = {name: np.asarray(values) for name, values in (("errors", errors), ("ebv", ebv)) if values is not None}
    density = np.empty((len(data), len(grid)))
    for k in range(folds):
        test, rest = np.flatnonzero(fold == k), np.flatnonzero((fold != k) & np.isfinite(z))
        of_rest = {name: values[rest] for name, values in columns.items()}
        estimator = train(data[rest], z[rest], grid=grid, seed=seed + k, **of_rest, **settings)
        density[test] = estimator.predict(data[test], **{n: values[test] for n, values in columns.items()}).density
    return GridPDF(grid, density)


class _Fluxes:
    """Fluxes in stamps ``[N, A + 1, C]`` and redshifts, as `fit` takes them."""

    def __init__(self, flux, photometry, which, extra, z):
        self.flux, self.photometry, self.which, self.extra = flux, photometry, which, extra
        self.features = torch.cat([photometry.features(flux, which), extra], dim=1)
        self.z = torch.as_tensor(z, dtype=torch.float32)

    def batch(self, rows, noise=0.0):
        if not noise:
            return (self.features[rows],)
        features = self.photometry.features(self.photometry.noisier(self.flux[rows], noise), self.which)
        return (torch.cat([features, self.extra[rows]], dim=1),)


class _Magnitudes:
    """Colours, a magnitude and their errors of each galaxy of a catalogue, and redshifts, as `fit` takes them."""

    def __init__(self, features, errors, z):
        self.features, self.z = features, torch.as_tensor(z, dtype=torch.float32)
        self.errors = None if errors is None else torch.as_tensor(np.asarray(errors), dtype=torch.float32)

    def batch(self, rows, noise=0.0):
        features = self.features[rows]
        if noise and self.errors is not None:
            bands = self.errors.shape[1]
            drawn = colours_and_magnitude(noise * self.errors[rows] * torch.randn(len(rows), bands))
            features = torch.cat([features[:, :bands] + drawn, features[:, bands:]], dim=1)
        return (features,)


def _settings(changes, number):
    """Settings of the training; by default batches are smaller for few galaxies, and epochs make up `STEPS` steps."""
    known = {field.name for field in fields(TrainingSettings)}
    if unknown := set(changes) - known:
        word = min(unknown)
        near = get_close_matches(word, sorted(known), n=1, cutoff=0.0)[0]
        msg = f"there is no setting {word!r}; did you mean {near!r}? (all: {', '.join(sorted(known))})"
        raise ValueError(msg)
    batch = changes.get("batch_size", max(16, min(TrainingSettings.batch_size, number // 20)))
    epochs = changes.get("epochs", int(np.clip(STEPS * batch / max(number, 1), 15, 80)))
    return replace(TrainingSettings(batch_size=batch, epochs=epochs, patience=max(8, epochs // 5)), **changes)


def _imaging(images, z_spec, bands, pixel_scale, sky_rms, field):
    """Checked images, how they are measured, and how many pixels are folded."""
    bands, sky = tuple(map(str, bands)), np.asarray(sky_rms, dtype=float)
    if len(set(bands)) != len(bands) or not bands:
        msg = f"bands must be different names, got {bands}"
        raise ValueError(msg)
    if sky.shape != (len(bands),) or not (np.isfinite(sky) & (sky > 0)).all():
        msg = f"sky_rms must be one positive number per band ({', '.join(bands)}), got {sky_rms!r}"
        raise ValueError(msg)
    if not (np.isfinite(pixel_scale) and pixel_scale > 0):
        msg = f"pixel_scale must be a positive number of arcsec, got {pixel_scale!r}"
        raise ValueError(msg)
    images = checked_images(images, bands)
    if len(images) != len(z_spec):
        msg = f"there must be one redshift per image, got {len(images)} images and {len(z_spec)} redshifts"
        raise ValueError(msg)
    if len(images) < FEWEST:
        msg = f"at least {FEWEST} galaxies are needed to train, got {len(images)}"
        raise ValueError(msg)
    side = min(np.shape(images[:1])[-2:])
    fold = max(1, min(round(COARSE / pixel_scale), side // 4))
    size = crop_size(side, pixel_scale, field, 4 * fold)  # the network halves its maps twice
    return images, Photometry(list(bands), float(pixel_scale), sky.tolist(), size), fold


class _Sample:
    """Redshifts (NaN if unusable), grid, rows that can train, and how many cannot and why."""

    def __init__(self, z_spec, number, grid):
        z = plain(getattr(z_spec, "value", z_spec))
        if z.shape != (number,):
            msg = f"z_spec must be one redshift per galaxy ({number}), got shape {z.shape}"
            raise ValueError(msg)
        given = np.isfinite(z) & (z >= 0)
        if given.sum() < FEWEST:
            without = name_rows(~given)
            msg = f"at least {FEWEST} galaxies with a redshift are needed, got {given.sum()} (without: {without})"
            raise ValueError(msg)
        grid = default_grid(z[given]) if grid is None else np.array(grid, dtype=float)
        if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all():
            msg = f"a redshift grid must be two or more strictly increasing values, got {grid}"
            raise ValueError(msg)
        outside = given & ((z < grid[0]) | (z > grid[-1]))
        reasons = {"missing": ~np.isfinite(z), "negative": z < 0, "outside the grid": outside}
        reasons = {reason: where for reason, where in reasons.items() if where.any()}
        bad = ~given | outside
        told = "; ".join(f"{reason}: {name_rows(where)}" for reason, where in reasons.items())
        if (~bad).sum() < FEWEST:
            msg = f"at least {FEWEST} galaxies are needed to train, {(~bad).sum()} are left (redshift {told})"
            raise ValueError(msg)
        if bad.any():
            msg = f"{bad.sum()} of {number} galaxies are left out of the training, as their redshift is {told}"
            warnings.warn(msg, GaltransWarning, stacklevel=3)
        self.z, self.grid, self.rows = np.where(bad, np.nan, z), grid, np.flatnonzero(~bad)
        self.left_out = {reason: int(where.sum()) for reason, where in reasons.items()}

    def card(self, name, bands, network, ebv):
        """Return the part of the card that all estimators have before they are trained."""
        prior = training_prior(self.z[self.rows], self.grid).density[0]
        return {
            "name": name, "bands": list(map(str, bands)), "grid": self.grid.tolist(), "prior": prior.tolist(),
            "network": network, "uses_ebv": ebv is not None,
        }  # fmt: skip


def _trained(*what, directory=None, **options):
    """Train in memory, or in a folder that nobody else writes to meanwhile."""
    if directory is None:
        return _train(*what, directory=None, **options)
    with held(directory):
        return _train(*what, directory=directory, **options)


def _train(cls, card, data, sample, settings, *, members, seed, device, progress, directory=None):
    """Train every member, calibrate it on what was held out, and put the estimator together."""
    if members < 1:
        msg = f"members must be at least 1, got {members}"
        raise ValueError(msg)
    card = {"kind": cls.kind, "members": members} | card
    settings_dict = asdict(settings)
    described = sorted((card | {"settings": settings_dict, "seed": seed}).items())
    identity = fingerprint(repr(described), data.features.numpy(), data.z.numpy())[:16]
    done = None if directory is None else Path(directory) / ESTIMATOR
    if _done(directory):
        estimator = load(done)
        if estimator.card["training"]["identity"] != identity:
            msg = f"{done} was trained on other galaxies or with other settings; choose another folder or delete it"
            raise ValueError(msg)
        return estimator
    order = np.random.default_rng(seed).permutation(sample.rows)
    number = max(round(HELD_OUT * len(order)), min(100, len(order) // 4))
    held_out, used = torch.from_numpy(order[:number]), torch.from_numpy(order[number:])
    log_prior = torch.tensor(card["prior"], dtype=torch.float32).clamp(min=1e-30).log()
    networks, calibration, runs, seconds = [], [], [], getattr(data, "seconds", 0.0)
    for k in range(members):
        folder = None if directory is None else Path(directory) / f"member-{k}"
        network = cls.untrained(card, seed + k)
        getattr(network, "photometric", network).standardise.fit(data.features[used])
        network = network.to(memory_format=torch.channels_last)
        common = {"seed": seed + k, "identity": identity, "device": device, "progress": progress}
        if cls is ImageEstimator:
            network.photometric, took = _start(network, data.drawn, used, held_out, settings, folder, common)
            seconds += took
        network, run = fit(network, data, used, held_out, settings, directory=folder, **common)
        runs.append(run)
        networks.append(network)
        calibration.append(_calibration(network, data, held_out, log_prior))
    card["calibration"] = calibration
    seconds += sum(run["seconds"] for run in runs)
    card["training"] = {
        "galaxies": len(order), "left_out": sample.left_out, "held_out": number, "identity": identity, "seed": seed,
        "settings": settings_dict, "seconds": round(seconds, 1), "members": runs,
    }  # fmt: skip
    estimator = cls(networks, card)
    if done is not None:
        estimator.save(done)
        for path in done.parent.glob("member-*/checkpoint*.pt"):
            path.unlink()
    return estimator


def _start(network, photometry, used, held_out, settings, folder, common):
    """Train the dense part of an image network, which then stays as it is; return it and the seconds it took."""
    quick = _settings({}, len(used))
    epochs = min(quick.epochs, 8 * settings.epochs)  # in proportion, where the caller asked for a short training
    folder = None if folder is None else folder.with_name(f"{folder.name}-start")
    settings = replace(quick, epochs=epochs, noise=settings.noise, checkpoint_minutes=settings.checkpoint_minutes)
    dense, run = fit(network.photometric, photometry, used, held_out, settings, directory=folder, **common)
    return dense, run["seconds"]


@torch.no_grad()
def _calibration(network, data, held_out, log_prior):
    """Temperature and share of the prior for which the redshifts held out are most likely."""
    if len(held_out) < FEWEST:
        return list(USUAL)
    grid, best = network.head.grid, (-np.inf, None)
    log_f = torch.cat([log_density(network(*data.batch(rows)), grid) for rows in held_out.split(512)])
    for temperature in TEMPERATURES:
        for floor in FLOORS:
            likelihood = interpolate_log(blend(log_f, log_prior, grid, temperature, floor), grid, data.z[held_out])
            best = max(best, (float(likelihood.mean()), [temperature, floor]))
    return best[1]


def _done(directory):
    return directory is not None and (Path(directory) / ESTIMATOR).exists()

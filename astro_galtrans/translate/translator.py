"""Translators: a network with its card, loaded by name or path."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from html import escape

import numpy as np

from astro_galtrans import uncertainty
from astro_galtrans.consistency import Consistency
from astro_galtrans.covariance import Covariance
from astro_galtrans.inputs import Inputs
from astro_galtrans.models._card import check_card
from astro_galtrans.models.checkpoint import Checkpoint, load
from astro_galtrans.models.describe import describe
from astro_galtrans.models.shipped import find_weights, list_weights, pick_device
from astro_galtrans.tiling import TilePlan

from .request import Sampling

__all__ = ["Translator", "list_translators", "load_translator", "ready"]


@dataclass(frozen=True, eq=False, repr=False)
class Translator:
    """
    A network with all that is needed to apply it: flux scalings, surveys, calibration and the range of valid inputs.

    It is called like `translate`: ``translator(image, ...)``.

    Parameters
    ----------
    checkpoint : `~astro_galtrans.models.checkpoint.Checkpoint`
        Network and card.

    Examples
    --------
    >>> from astro_galtrans.demo import sample
    >>> from astro_galtrans import load_translator
    >>> translator = load_translator("srgan-sdss-cfhtls")
    >>> translator.bands_in, translator.spec.scale
    (('u', 'g', 'r', 'i', 'z'), 2)
    >>> translator(sample("sdss"))["r"].shape
    (224, 224)
    """

    checkpoint: Checkpoint

    def __call__(self, image, **options):
        """Translate an image, or many; options as for `translate`."""
        from .pipeline import translate

        return translate(image, self, **options)

    def __repr__(self):
        ends = (
            f"{end['survey']} {','.join(bands)} ({end['pixel_scale']:.3g} arcsec)"
            for end, bands in ((self.source, self.bands_in), (self.target, self.bands_out))
        )
        count = sum(parameter.numel() for parameter in self.model.parameters())
        return f"<Translator {self.name}: {' to '.join(ends)}, {self.spec.name} network with {count:,} parameters>"

    def _repr_html_(self):
        return f"<pre>{escape(describe(self.card, self.checkpoint.sha256))}</pre>"

    @property
    def model(self):
        """The network."""
        return self.checkpoint.model

    @property
    def card(self):
        """The card: what was saved with the network, see `astro_galtrans.models.checkpoint.save`."""
        return self.checkpoint.card

    @property
    def name(self):
        """The name of the translator."""
        return self.card["name"]

    @property
    def spec(self):
        """The network's `~astro_galtrans.models.base.ModelSpec`."""
        return self.model.spec

    @property
    def samples(self):
        """Whether it draws samples: a network that does, or one that was given a sampler."""
        return self.spec.stochastic or self.model.sampler is not None

    @property
    def mean(self):
        """The `Translator` without the sampler that its deterministic network was given."""
        if self.model.sampler is None:
            return self
        model = deepcopy(self.model)
        model.sampler = None
        card = {name: entry for name, entry in deepcopy(self.card).items() if name != "sampling"}
        return Translator(replace(self.checkpoint, model=model, card=card))

    @cached_property
    def _covariances(self):
        """Covariance of errors of the network alone, and where fluxes agree with the image's; None where not known."""
        calibration = self.card["calibration"]
        plain, consistent = (calibration.get(name) for name in ("correlation", "correlation_consistent"))
        known = plain, plain and consistent and plain | consistent
        return tuple(entry and Covariance.from_dict(entry) for entry in known)

    def correlation(self, consistent=()):
        """
        Return how errors of pixels are correlated, as `~astro_galtrans.covariance.Covariance.to_text` has it, or None.

        Fluxes in the bands ``consistent`` have been brought to those of the image (`consistency`).
        """
        plain, other = self._covariances
        return plain and _covariance_text(plain, other, tuple(consistent) if other else ())

    @cached_property
    def inputs(self):
        """What the network sees of an image, `~astro_galtrans.inputs.Inputs`."""
        return Inputs(self.spec, self.source, self.target)

    @cached_property
    def consistency(self):
        """What brings fluxes to those of the image, `~astro_galtrans.consistency.Consistency`, or None."""
        return Consistency.of(self.card, self.spec)

    @property
    def bands_in(self):
        """The bands of the images it takes; all are needed, or as many as `fewest_bands`."""
        return self.spec.in_bands

    @property
    def fewest_bands(self):
        """How few of `bands_in` an image may have."""
        return self.source.get("fewest_bands", len(self.bands_in))

    @property
    def bands_out(self):
        """The bands of the translation."""
        return self.spec.out_bands

    @property
    def source(self):
        """Survey, unit, zero point, pixel scale (arcsec) and noise of the images it takes, from the card."""
        return self.card["source"]

    @property
    def target(self):
        """Survey, unit, zero point and pixel scale (arcsec) of the translations, from the card."""
        return self.card["target"]

    def stamps(self, images, *, n_samples=None, seed=None, variance=False, observation=None):
        """
        Translate many small images of one size at once: arrays in, arrays out, samples apart.

        For what measures translators. No image is checked against the range of the training, and none may have pixels
        that are not finite.

        Parameters
        ----------
        images : array_like
            ``[N, C, H, W]``: flux per pixel in the unit and zero point of `source`, bands as `bands_in`.
        n_samples : int, optional
            Number of samples of a translator that samples; by default what its card recommends.
        seed : int, optional
            Seed of the samples. The same images in the same order and the same seed give the same samples.
        variance : bool, optional
            Give the variance of the error of the mean of the samples, too, as `translate` does.
        observation : `~astro_galtrans.inputs.Observation`, optional
            How the images were taken, ``[C]`` or ``[N, C]``; by default as is typical of the survey.

        Returns
        -------
        `numpy.ndarray`, or two
            float32 ``[N, n_samples, C', scale*H, scale*W]``: flux per pixel in the unit and zero point of `target`;
            with ``variance`` also ``[N, C', scale*H, scale*W]``, in the flux squared.

        Raises
        ------
        ValueError
            If the shape does not fit, a pixel is not finite (the message names the images), or the translator is
            deterministic and more than one sample is asked for.
        GaltransError
            If the network's result is not finite.
        """
        from .pipeline import batch_of
        from .results import to_flux

        images = _checked_stamps(images, self)
        sampling = Sampling.of(self, n_samples, "mean", seed)
        count, _, height, width = images.shape
        # One image of all stamps below each other, each a tile without overlap: tiles never see one another.
        observed = [None] * count if observation is None else observation.rows(count)
        canvas = np.concatenate([self.inputs.planes(*stamp) for stamp in zip(images, observed, strict=True)], axis=1)
        plan = TilePlan.stacked(count, (height, width), self.spec.scale)
        batch = batch_of(self, height * width)
        samples = self.model.predict(canvas, plan, n_samples=sampling.n, seed=sampling.seed, batch_size=batch)
        mean, flux = uncertainty.SampleMean(posterior=sampling.stochastic), []
        for sample in samples:  # [C', N * scale*H, scale*W]
            values, variances = to_flux(sample, self.card)
            flux.append(values.copy())
            mean.add(values, variances)
        shape = (-1, len(self.bands_out), count, self.spec.scale * height, self.spec.scale * width)
        flux = np.ascontiguousarray(np.array(flux).reshape(shape).transpose(2, 0, 1, 3, 4))
        if not variance:
            return flux
        std = uncertainty.combine(mean.variance, self.card["calibration"]["std"])
        return flux, np.ascontiguousarray(np.square(std).reshape(shape)[0].swapaxes(0, 1))

    def to(self, device):
        """Return this translator on a device: itself, or a copy if it lives on another."""
        device, own = pick_device(device), self.model.device
        if device.type == own.type and device.index in {None, own.index}:
            return self
        return Translator(replace(self.checkpoint, model=deepcopy(self.model).to(device)))


def list_translators():
    """
    Return the names of the translators that come with the package, sorted.

    Examples
    --------
    >>> from astro_galtrans import list_translators
    >>> [name for name in list_translators() if name.endswith("cfhtls-sdss")]
    ['capsule-cfhtls-sdss', 'diffusion-cfhtls-sdss', 'srgan-cfhtls-sdss', 'swin-cfhtls-sdss']
    """
    return list_weights()


def load_translator(name_or_path, device=None):
    """
    Load a translator; the ones that come with the package are kept in memory.

    Parameters
    ----------
    name_or_path : str or `~pathlib.Path`
        A name from `list_translators`, or the path of a translator file.
    device : str or `torch.device`, optional
        Where it shall compute; by default as the configuration says (``conf.device``), or else CUDA where available.

    Returns
    -------
    `Translator`

    Raises
    ------
    ValueError
        If the name is unknown (the message gives the nearest ones), or there is no such device.
    FileNotFoundError
        If the path leads nowhere.
    CheckpointError
        If the file is damaged or of another version.

    Examples
    --------
    >>> from astro_galtrans import load_translator
    >>> translator = load_translator("srgan-sdss-cfhtls", device="cpu")
    >>> translator.name, translator.card["target"]["survey"]
    ('srgan-sdss-cfhtls', 'cfhtls-wide')
    """
    path, device = find_weights(name_or_path), pick_device(device)
    if name_or_path in list_weights():
        return _load_shipped(path, device)
    return _load(path, device)


def _load(path, device):
    checkpoint = load(path, device)
    check_card(checkpoint.card, path)
    return Translator(checkpoint)


_load_shipped = cache(_load)


@lru_cache(maxsize=64)  # of thousands of stamps that are made alike
def _covariance_text(plain, other, bands):
    return plain.with_bands_of(other, bands).to_text()


def ready(translator, device):
    """Return a `Translator` on a device (None: where it is), given as itself, by name or as a file."""
    if not isinstance(translator, Translator):
        return load_translator(translator, device)
    return translator if device is None else translator.to(device)


def _checked_stamps(images, translator):
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[1] != len(translator.bands_in) or not images.size:
        bands = ", ".join(translator.bands_in)
        msg = f"{translator.name} takes stamps [N, {len(translator.bands_in)}, H, W] in {bands}, got {images.shape}"
        raise ValueError(msg)
    bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
    if bad.size:
        msg = f"{bad.size} stamps have pixels that are not finite: {bad[:10].tolist()}; fill or leave them out"
        raise ValueError(msg)
    return images

"""
Trained estimators: images or magnitudes of galaxies in, one PDF of redshift per galaxy out.

An estimator has a ``name``, a redshift ``grid`` ``[K]``, the ``prior`` (distribution of redshift in its training
sample, a `~astro_galtrans.photoz.pdfs.GridPDF` with one row) and ``predict(images, *, ebv=None)``, which gives a
`~astro_galtrans.photoz.pdfs.GridPDF`. The metrics of redshifts need nothing else of it.
"""

import numpy as np
import torch

from astro_galtrans._cards import CardFile
from astro_galtrans._columns import name_rows, plain, same_length
from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.photoz.pdfs import GridPDF

from .data import checked_images, measured, read, scaled
from .density import blend, log_density
from .features import Photometry, magnitude_features
from .network import DenseNetwork, InceptionNetwork
from .task import dihedral

__all__ = ["ImageEstimator", "MagnitudeEstimator", "PhotometricEstimator", "ebv_column", "load"]


FILE = CardFile("astro_galtrans_photoz", "redshift estimator", version=1)


class NetworkEstimator:
    """
    Networks trained to give redshift PDFs, and their card; made by training functions or by `load`.

    There is one network, or the members of an ensemble, whose PDFs are averaged. The card is what JSON can hold: bands,
    pixel scale, redshift grid, prior, settings of the networks, their calibration, and what they were trained on.
    """

    kind = ""  #: name of the class in a card
    network_class = DenseNetwork

    def __init__(self, networks, card):
        # in the memory layout of the training, so that a file's estimator answers as the trained one does, to the bit
        self.networks = [network.eval().to(memory_format=torch.channels_last) for network in networks]
        self.card = card
        self.prior = GridPDF.normalised(card["grid"], card["prior"])

    def __repr__(self):
        n, bands = self.card["training"]["galaxies"], "".join(self.bands)
        return f"<{type(self).__name__} {self.name!r}: {bands}, {len(self.networks)} member(s), {n} galaxies>"

    @property
    def name(self):
        """Name of the estimator."""
        return self.card["name"]

    @property
    def bands(self):
        """Names of the bands."""
        return tuple(self.card["bands"])

    @property
    def grid(self):
        """Redshifts at which PDFs are given, ``[K]``."""
        return self.prior.z

    def save(self, path):
        """Write the estimator to a safetensors file, whole or not at all; a file at ``path`` is replaced."""
        tensors = {f"{k}.{name}": t for k, each in enumerate(self.networks) for name, t in each.state_dict().items()}
        self.card = FILE.write(path, tensors, self.card)

    @classmethod
    def untrained(cls, card, seed=0):
        """Return a network as the card describes it, with initial weights; torch's random state stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls.network_class(**card["network"], grid=card["grid"])

    def _reddening(self, ebv, number):
        """E(B-V) as `ebv_column`, but without a column if the networks, trained without it, have no input for it."""
        if self.card["uses_ebv"] and ebv is None:
            msg = f"the estimator {self.name!r} was trained with E(B-V); give ebv, one number per galaxy"
            raise ValueError(msg)
        return ebv_column(ebv if self.card["uses_ebv"] else None, number)

    @torch.inference_mode()
    def _density(self, *inputs, views=1):
        """Mean calibrated density of the members, float64 ``[n, K]``."""
        total = 0.0
        for network, (temperature, floor) in zip(self.networks, self.card["calibration"], strict=True):
            grid, log_prior = network.head.grid, torch.tensor(self.prior.density[0], dtype=torch.float32).log()
            stamps, *others = inputs
            seen = [log_density(network(dihedral(stamps, k), *others), grid) for k in range(views)]
            log_f = torch.stack(seen).mean(dim=0)
            total = total + blend(log_f, log_prior, grid, temperature, floor).double().exp()
        return (total / len(self.networks)).numpy()


class _StampEstimator(NetworkEstimator):
    """An estimator from stamps."""

    def __init__(self, networks, card):
        super().__init__(networks, card)
        self.photometry = Photometry(**card["photometry"])

    @property
    def pixel_scale(self):
        """Size of a pixel (arcsec) of the images it was trained on."""
        return self.photometry.pixel_scale

    def predict(self, images, *, ebv=None, bands=None, pixel_scale=None, batch_size=256):
        """
        Return the redshift PDF of each stamp, a `~astro_galtrans.photoz.pdfs.GridPDF`.

        Parameters
        ----------
        images : array-like
            ``[N, C, H, W]``: stamps with the galaxy in the middle, in the flux unit and pixel scale of the training.
        ebv : array-like, optional
            ``[N]``: Galactic reddening E(B-V) in mag, for an estimator that was trained with it.
        bands, pixel_scale : optional
            Of the images; an error if the estimator is for others.
        batch_size : int, optional
            Stamps evaluated at once.

        Raises
        ------
        ValueError
            If bands, pixel scale, size or number of the images do not fit.
        """
        density = np.empty((len(images), len(self.grid)))
        parts = self.predict_batches(images, ebv=ebv, bands=bands, pixel_scale=pixel_scale, batch_size=batch_size)
        for rows, pdfs in parts:
            density[rows] = pdfs.density
        return GridPDF.normalised(self.grid, density)

    def predict_batches(self, images, *, ebv=None, bands=None, pixel_scale=None, batch_size=256):
        """
        Yield slices of rows and their PDFs, for more galaxies than PDFs fit in memory.

        Parameters
        ----------
        images, ebv, bands, pixel_scale, batch_size
            As for `predict`.
        """
        if bands is not None and tuple(bands) != self.bands:
            msg = f"the estimator {self.name!r} is for bands {', '.join(self.bands)}, got {', '.join(bands)}"
            raise ValueError(msg)
        if pixel_scale is not None and not np.isclose(pixel_scale, self.pixel_scale, rtol=0.01):
            msg = f'the estimator {self.name!r} is for pixels of {self.pixel_scale:.4g}", got {pixel_scale:.4g}"'
            raise ValueError(msg)
        images = checked_images(images, self.bands, self.photometry.size)
        ebv = self._reddening(ebv, len(images))
        for rows, stamps in read(images, self.photometry.size, batch_size):
            yield rows, GridPDF.normalised(self.grid, self._look(stamps, ebv[rows]))


class PhotometricEstimator(_StampEstimator):
    """
    Redshift PDFs from fluxes in stamps; see `~astro_galtrans.photoz.train_photometric`.

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
    ...     images, z_spec, bands="gri", pixel_scale=0.4, sky_rms=[0.1] * 3, epochs=1, name="mine", progress=False
    ... )
    >>> estimator
    <PhotometricEstimator 'mine': gri, 1 member(s), 200 galaxies>
    >>> estimator.predict(images[:3], pixel_scale=0.4)
    <GridPDF: 3 PDFs on 256 redshifts from 0 to ...>
    """

    kind = "photometric"

    def _look(self, stamps, extra):
        features = self.photometry.features(self.photometry.fluxes(stamps), self.card["features"])
        return self._density(torch.cat([features, extra], dim=1))


class ImageEstimator(_StampEstimator):
    """
    Redshift PDFs from stamps; see `~astro_galtrans.photoz.train_image`.

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
    ...     images, z_spec, bands="gri", pixel_scale=0.4, sky_rms=[0.1] * 3,
    ...     epochs=1, members=1, noise=0, progress=False,
    ... )
    >>> estimator.views = 2  # each stamp is also looked at in another orientation
    >>> len(estimator.predict(images[:3])), estimator.pixel_scale
    (3, 0.4)
    """

    kind = "image"
    network_class = InceptionNetwork
    views = 1  #: number of orientations of each stamp, up to 8, over which the PDF is averaged

    def _look(self, stamps, extra):
        features = torch.cat([measured(stamps, self.photometry), extra], dim=1)
        return self._density(scaled(stamps, self.photometry.sky_rms).float(), features, views=self.views)


class MagnitudeEstimator(NetworkEstimator):
    """
    Redshift PDFs from a catalogue's magnitudes; see `~astro_galtrans.photoz.train_magnitudes`.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> magnitudes = 19 + np.outer(z_spec, [5, 2, 0]) + rng.normal(0, 0.05, (200, 3))
    >>> estimator = photoz.train_magnitudes(magnitudes, z_spec, bands="gri", epochs=1, name="mine", progress=False)
    >>> estimator
    <MagnitudeEstimator 'mine': gri, 1 member(s), 200 galaxies>
    >>> estimator.predict(magnitudes[:3]).median().shape
    (3,)
    """

    kind = "magnitudes"

    def predict(self, magnitudes, *, errors=None, ebv=None):
        """
        Return the redshift PDF of each galaxy, a `~astro_galtrans.photoz.pdfs.GridPDF`.

        Parameters
        ----------
        magnitudes : array-like
            ``[N, C]``: magnitudes, in the bands of the training.
        errors : array-like, optional
            ``[N, C]``: their errors, for an estimator that was trained with them.
        ebv : array-like, optional
            As for ``ImageEstimator.predict``.

        Raises
        ------
        ValueError
            If numbers of bands or galaxies do not fit, or values are missing; the message names the rows.
        """
        if (errors is not None) != self.card["uses_errors"]:
            was = "with" if self.card["uses_errors"] else "without"
            msg = f"the estimator {self.name!r} was trained {was} errors of the magnitudes; predict {was} them too"
            raise ValueError(msg)
        features = magnitude_features(magnitudes, errors, self.bands)
        features = torch.cat([features, self._reddening(ebv, len(features))], dim=1)
        parts = [self._density(part) for part in features.split(4096)]
        return GridPDF.normalised(self.grid, np.concatenate(parts or [np.empty((0, len(self.grid)))]))


def ebv_column(ebv, number):
    """Return E(B-V) (mag), a finite number per galaxy, as a column of features, ``[number, 1]``; no column of None."""
    if ebv is None:
        return torch.empty(number, 0)
    ebv = plain(getattr(ebv, "value", ebv))
    same_length(images=range(number), ebv=np.atleast_1d(ebv))
    if not np.isfinite(ebv).all():
        msg = f"E(B-V) is missing in {name_rows(~np.isfinite(ebv))}"
        raise ValueError(msg)
    return torch.as_tensor(np.asarray(ebv), dtype=torch.float32)[:, None]


KINDS = {each.kind: each for each in (ImageEstimator, PhotometricEstimator, MagnitudeEstimator)}


def load(path):
    """
    Read an estimator, of whichever class it is, from its file.

    Parameters
    ----------
    path : path-like
        A file written by ``save``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ~astro_galtrans.exceptions.CheckpointError
        If it is damaged, was edited, or is no file of an estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> rng = np.random.default_rng(1)
    >>> z_spec = rng.uniform(0, 0.4, 200)
    >>> magnitudes = 19 + np.outer(z_spec, [5, 2, 0]) + rng.normal(0, 0.05, (200, 3))
    >>> import tempfile
    >>> estimator = photoz.train_magnitudes(magnitudes, z_spec, bands="gri", epochs=1, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     estimator.save(f"{folder}/mine.safetensors")
    ...     same = photoz.load(f"{folder}/mine.safetensors")
    >>> bool((same.predict(magnitudes).mean() == estimator.predict(magnitudes).mean()).all())
    True
    """
    tensors, card, _ = FILE.read(path)
    try:
        cls = KINDS[card["kind"]]
        networks = [cls.untrained(card) for _ in range(card["members"])]
        for k, network in enumerate(networks):
            start = f"{k}."
            network.load_state_dict({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
        return cls(networks, card)
    except (KeyError, TypeError, RuntimeError) as err:
        msg = f"{path} describes an estimator that this installation cannot build: {err}"
        raise CheckpointError(msg) from err

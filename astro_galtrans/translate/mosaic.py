"""Mosaics that do not fit in memory: translated block by block, into a file or a lazy array."""

import json
import shutil
import warnings
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.nddata import NDData, StdDevUncertainty

from astro_galtrans._files import named
from astro_galtrans._locks import locked
from astro_galtrans.bandstack import FitsStream, Windows, ZarrStream, check_writable, described_meta
from astro_galtrans.exceptions import EmptyImageError, GaltransWarning
from astro_galtrans.geometry import rescale_wcs
from astro_galtrans.observe import with_psf

from .pipeline import ASSUMED, bar, checked_batch, evaluated, warn_of_outside
from .prepare import prepare
from .request import Request, Sampling
from .results import OF_ONE_IMAGE, as_stack
from .translator import ready
from .workers import done_by

__all__ = ["BLOCK", "is_lazy", "lazy_mosaic", "translate_mosaic"]

BLOCK = 1024  # source pixels a side: seconds of a network's work, and 0.2 GB with its result on a grid twice as fine
SPLINE = 16  # pixels from its edge in which an interpolated image differs: splines forget by 0.43 a pixel
PROBE = 64  # pixels a side of the parts that are read first, to find what is wrong before the long work
PROBES = 0.5, 0.3, 0.7, 0.1, 0.9  # where they are tried along each axis: much of a mosaic may be empty


class Block(NamedTuple):
    """Rows and columns of the mosaic that are translated together."""

    rows: slice
    columns: slice


@dataclass(frozen=True)
class Plan:
    """How a mosaic is translated: windows on it, blocks, and what is asked for."""

    windows: Windows
    request: Request
    side: int  #: of a block (source pixels)

    @property
    def blocks(self):
        """List of all blocks, row by row."""
        rows, columns = ([slice(a, min(a + self.side, n)) for a in range(0, n, self.side)] for n in self.windows.shape)
        return [Block(y, x) for y in rows for x in columns]

    @property
    def shape(self):
        """Bands, rows and columns of the result."""
        spec = self.request.translator.spec
        return (len(spec.out_bands), *(spec.scale * n for n in self.windows.shape))

    def window(self, block):
        """Rows and columns to be read for a block: with what the network sees around it, from a multiple on."""
        spec = self.request.translator.spec
        halo, step = spec.margin + SPLINE + self.request.translator.inputs.reach, spec.multiple_of
        return tuple(
            slice(max(0, (part.start - halo) // step * step), min(n, -(-(part.stop + halo) // step) * step))
            for part, n in zip(block, self.windows.shape, strict=True)
        )

    def translated(self, number, pieces=None):
        """
        Translate a block.

        Parameters
        ----------
        number : int
            Of the block.
        pieces : list, optional
            What `Windows.pieces` returned for its window, computed; read here by default.

        Returns
        -------
        flux, std, mask : `~numpy.ndarray`
            ``[C', h, w]``; NaN and True where a band has no pixel to translate.
        outside : dict
            What is unlike the images of the training.
        """
        block = self.blocks[number]
        window, scale = self.window(block), self.request.translator.spec.scale
        shape = (self.shape[0], *(scale * (part.stop - part.start) for part in block))
        try:
            pieces = self.windows.pieces(*window) if pieces is None else pieces
            stack = self.windows.assemble(pieces, **self.request.window_reading)
            image = prepare(stack, self._asked_of(block), self.request.sampling.seed_of(number))
        except EmptyImageError:
            return np.full(shape, np.nan, "f4"), np.full(shape, np.nan, "f4"), np.ones(shape, bool), {}
        ((part,),) = evaluated([image], self.request)
        inner = (slice(None), *(
            slice(scale * (b.start - w.start), scale * (b.stop - w.start)) for b, w in zip(block, window, strict=True)
        ))  # fmt: skip
        flux, variance, mask = (None if plane is None else plane[inner] for plane in part[:3])
        return flux, np.sqrt(variance), np.zeros(shape, bool) if mask is None else mask, image.outside

    def _asked_of(self, block):
        """What is asked of a block: where the PSF varies, with that in its middle."""
        request = self.request
        if not callable(request.psf) or request.seen is None:
            return request
        y, x = ((part.start + part.stop - 1) / 2 for part in block)
        translator = request.translator
        pixel_scale = translator.source["pixel_scale"]
        return replace(request, seen=with_psf(request.seen, request.psf(x, y), translator.bands_in, pixel_scale))

    def write(self, number, stream):
        """Translate a block into a file; return its number, and what is unlike the images of the training."""
        flux, std, mask, outside = self.translated(number)
        block, scale = self.blocks[number], self.request.translator.spec.scale
        stream.write(scale * block.rows.start, scale * block.columns.start, flux=flux, std=std, mask=mask)
        return number, outside

    def template(self):
        """A `~astro_galtrans.bandstack.BandStack` that describes the result, from a part of the mosaic that has light.

        What is wrong with the image or the request shows here, before the long work.
        """
        request, image = self.request, self.probe(PROBE)
        wcs = rescale_wcs(self.windows.wcs, request.translator.spec.scale, self.windows.shape)
        blank = np.broadcast_to(np.float32(0), self.shape)
        described = as_stack((blank, blank, None, wcs), image, request.translator, request.sampling)
        for card in OF_ONE_IMAGE:
            described.meta.pop(card, None)
        return described

    def probe(self, side):
        """`~astro_galtrans.translate.prepare.Prepared` of a part of the mosaic that has light, ``side`` pixels wide."""
        request, shape = self.request, self.windows.shape
        for y in PROBES:
            for x in PROBES:
                starts = (int(max(0, min(share * n, n - side))) for share, n in zip((y, x), shape, strict=True))
                window = (slice(start, min(n, start + side)) for start, n in zip(starts, shape, strict=True))
                try:
                    return prepare(self.windows.read(*window, **request.window_reading), request, request.sampling.seed)
                except EmptyImageError:
                    continue
        msg = "no part of the mosaic that was tried has a pixel that can be used in all bands"
        raise EmptyImageError(msg)


def translate_mosaic(
    image, translator, output, *, bands=None, zeropoint=None, unit=None, n_samples=None, seed=None, bad_planes=None,
    strict=False, block=BLOCK, batch_size=None, device=None, progress=None, overwrite=False, client=None, psf=None,
):  # fmt: skip
    """
    Translate an image that does not fit in memory, block by block, into a FITS file or a zarr group.

    A block is read with what the network sees around it, so that the result is that of `translate`, except where holes
    deeper than 32 pixels are filled, and that samples of a translator that samples are drawn for each block anew. A run
    that was interrupted goes on after the last whole block when the same call is made again.

    Parameters
    ----------
    image : object
        As for `translate`, one image: paths of FITS files (also tile-compressed ones), HDUs, or NDData whose arrays are
        memory maps, zarr or dask arrays.
    translator, bands, zeropoint, unit, n_samples, seed, bad_planes, strict, batch_size, device
        As for `translate`; strict holds for each block, and checksums of files are not looked at.
    output : path-like
        A name ending in .fits or .zarr. It appears when it is complete.
    block : int, optional
        Side of a block, in pixels of the image; rounded up to a multiple that the network needs.
    progress : bool or callable, optional
        True shows a bar with the time left, on terminals and in notebooks. A function is called with 1 after each
        block.
    overwrite : bool, optional
        Replace an output that exists, and start anew.
    client : `distributed.Client`, optional
        Workers that share the blocks; they read the images and write the output by the same paths.
    psf : object, optional
        As for `translate`; by default that of the stars in one block, for all blocks. A function gives that of each
        block, where the PSF varies.

    Returns
    -------
    `~pathlib.Path`
        The output.

    Raises
    ------
    OSError
        If the output exists and ``overwrite`` is false, part of it was made with other settings, or the disk is full.
    ConnectionError
        If the scheduler is lost.
    RuntimeError
        If workers die over a block again and again.
    ValueError
        As for `translate`, or if the output is neither FITS nor zarr.

    Warns
    -----
    DomainWarning
        If blocks are outside the range of the training: once per quantity, with their number.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from astro_galtrans import translate_mosaic
    >>> image = files("astro_galtrans") / "data" / "sample_sdss.fits.fz"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = translate_mosaic(image, "srgan-sdss-cfhtls", f"{folder}/out.fits", block=64)
    >>> path.name
    'out.fits'
    """
    translator = ready(translator, device)
    reading = {
        "bands": bands, "zeropoint": zeropoint, "unit": unit, "align": True, "bad_planes": bad_planes, "strict": strict
    }  # fmt: skip
    output = _checked_output(output, overwrite=overwrite)
    sampling = Sampling.of(translator, n_samples, "mean", seed)
    request = Request(translator, sampling, None, reading, None, None, checked_batch(batch_size), psf)
    plan = _plan(image, request, block)
    with locked(output.parent, output.name), named(output):
        journal = _Journal(output, plan, fresh=overwrite, seeded=seed is not None)
        plan = replace(plan, request=replace(plan.request, sampling=replace(plan.request.sampling, seed=journal.seed)))
        stream = _stream(journal.part, plan)
        todo = [number for number in range(len(plan.blocks)) if number not in journal.done]
        outside = {}
        with bar(progress, len(todo), "block") as step:
            # with each task, not scattered: a worker that ends takes what was scattered with it
            for number, found in done_by(_write, todo, client=client, plan=plan, stream=stream):
                journal.add(number)
                for key, text in found.items():
                    outside.setdefault(key, []).append((number, text))
                if step is not None:
                    step(1)
        stream.close()
        journal.finish()
    warn_of_outside(outside, len(todo), "blocks")
    return output


def _plan(image, request, side):
    step = request.translator.spec.multiple_of
    side = -(-index(side) // step) * step
    if side < 1:
        msg = f"block must be a positive number of pixels, got {side}"
        raise ValueError(msg)
    plan = Plan(Windows(image, request.translator.bands_in, request.reading["bands"]), request, side)
    if not request.translator.spec.observed:
        return plan
    # blocks differ in the stars that they happen to have: one part is measured for all
    probed = plan
    if callable(request.psf):  # of the whole mosaic's pixels, which parts of it do not know
        height, width = plan.windows.shape
        probed = replace(plan, request=replace(request, psf=request.psf((width - 1) / 2, (height - 1) / 2)))
    seen = probed.probe(min(BLOCK, *plan.windows.shape)).seen
    if seen.assumed:
        warnings.warn(ASSUMED.format("no stars tell the PSF", seen.psf), GaltransWarning, stacklevel=3)
    return replace(plan, request=replace(request, seen=seen))


def _checked_output(output, *, overwrite):
    output = Path(output).expanduser()
    if output.suffix == ".zarr":
        if output.exists() and not overwrite:
            msg = f"the output {output} exists; choose another name, or overwrite=True to replace it"
            raise FileExistsError(msg)
        check_writable(output.with_suffix(".fits"), overwrite=True)  # whether its folder is there and can be written to
    elif output.suffix in {".fits", ".fit", ".fts"}:
        check_writable(output, overwrite)
    else:
        msg = f"the output {output} of a mosaic has to end in .fits or .zarr"
        raise ValueError(msg)
    return output


def _stream(part, plan):
    if part.suffix == ".zarr":
        sides = tuple(min(plan.side, n) * plan.request.translator.spec.scale for n in plan.windows.shape)
        return ZarrStream(part, plan.template(), plan.shape, sides)
    return FitsStream(part, plan.template(), plan.shape)


def _write(number, plan, stream):
    return plan.write(number, stream)


class _Journal:
    """Which blocks of an output are done: a text file beside its unfinished part, both hidden."""

    def __init__(self, output, plan, *, fresh, seeded):
        self.output, self.part = output, output.with_name(f".part-{output.name}")
        self._path = output.with_name(f".part-{output.name}.blocks")
        sampling, translator = plan.request.sampling, plan.request.translator
        settings = {
            "translator": translator.name, "weights": translator.checkpoint.sha256, "image": plan.windows.identity,
            "options": plan.request.reading, "block": plan.side, "n_samples": sampling.n,
            "psf": plan.request.seen and plan.request.seen.psf,
        }  # fmt: skip
        settings = {name: json.dumps(value, default=str, sort_keys=True) for name, value in settings.items()}
        self.done, self.seed = set(), sampling.seed
        if fresh or not self.part.exists() or not self._path.exists():
            _remove(self.part)
            self._path.write_text(json.dumps(settings | {"seed": self.seed}) + "\n", encoding="utf8")
            return
        # a line that a killed run did not finish has no end
        first, *lines = self._path.read_text(encoding="utf8").rpartition("\n")[0].split("\n")
        there = json.loads(first)
        differ = [name for name, value in settings.items() if there.get(name) != value]
        if seeded and there["seed"] != self.seed:
            differ.append("seed")
        if differ:
            msg = (
                f"a part of {output} is there, made with other settings ({', '.join(differ)}); overwrite=True starts "
                "anew, or choose another name"
            )
            raise FileExistsError(msg)
        self.done, self.seed = set(map(int, lines)), there["seed"]

    def add(self, number):
        """Note a block that is written."""
        with self._path.open("a", encoding="utf8") as file:
            file.write(f"{number}\n")

    def finish(self):
        """Give the output its name."""
        if self.output.is_dir():
            _remove(self.output)
        self.part.replace(self.output)
        self._path.unlink()


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_lazy(image):
    """Return whether an image is of NDData that hold dask arrays."""
    if isinstance(image, dict | list | tuple) and image:
        image = next(iter(image.values() if isinstance(image, dict) else image))
    return isinstance(image, NDData) and hasattr(image.data, "dask")


def lazy_mosaic(image, request, side=BLOCK):
    """
    Translate dask arrays lazily: NDData, or a list or dict of it, with a chunk for each block.

    CCDData cannot hold a mask that is not computed. A small part is read and checked at once; the rest is computed when
    it is asked for, one task for each block.
    """
    import dask
    from dask import array

    plan, apart = _plan(image, request, side), isinstance(image, dict | list | tuple)
    stack = plan.template()
    light = dask.delayed(replace(plan, windows=plan.windows.without_arrays()), pure=False)
    translated = dask.delayed(Plan.translated, nout=4, pure=False)
    scale, columns = request.translator.spec.scale, -(-plan.windows.shape[1] // plan.side)
    planes = {"flux": [], "std": [], "mask": []}
    for number, block in enumerate(plan.blocks):
        parts = translated(light, number, plan.windows.pieces(*plan.window(block)))
        shape = (plan.shape[0], *(scale * (part.stop - part.start) for part in block))
        for (name, found), part in zip(planes.items(), parts, strict=False):
            if number % columns == 0:
                found.append([])
            found[-1].append(array.from_delayed(part, shape, bool if name == "mask" else np.float32))
    flux, std, mask = map(array.block, planes.values())
    known = {"unit": stack.unit, "wcs": stack.wcs}
    if not apart:
        meta = described_meta(stack)
        return NDData(flux, uncertainty=StdDevUncertainty(std), mask=mask, meta=meta, **known)
    items = {
        band: NDData(
            flux[k], uncertainty=StdDevUncertainty(std[k]), mask=mask[k],
            meta=described_meta(replace(stack, bands=(band,))), **known,
        )
        for k, band in enumerate(stack.bands)
    }  # fmt: skip
    return items if isinstance(image, dict) else type(image)(items.values())

"""The work on one tile: its objects are registered, cut in all bands, checked, and written."""

import warnings
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from astro_galtrans._photutils import aperture_sums
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.units import flux_factor

from .cutting import Cut, LocalMap, cut, resample_psf
from .frames import smoothing
from .journal import BEYOND, DAMAGED, EDGE, MASKED, NOTHING, OFFSET, OUTSIDE, Rejected
from .registration import LIKENESS, corrections, measure_offset
from .stars import HALF_WIDTH
from .tiles import blank_places, objects_of, place_of, split_of

__all__ = ["PairMaker", "Side"]

APERTURE = 3.0  # diameter (arcsec) of the aperture of the magnitudes: that of an SDSS fibre, about twice the seeing
SIGNAL = 3.0  # sigma of the smoothed sky above which a target pixel is signal
GALAXY = 0.001  # redshift above which an object is no star: 300 km/s, about the fastest that stars of the Galaxy are


@dataclass
class Side:
    """One survey of the pairs: its images and its description."""

    frames: object  #: `~astro_galtrans.pairs.observed.frames.Frames`
    survey: object  #: `~astro_galtrans.surveys.Survey`, limited to the bands of the pairs
    reference: str = ""  #: band that is registered
    psf: object = None  #: mapping of band to array, or callable (band, ra, dec) -> array; None: measured
    typical: dict = field(default_factory=dict)  #: PSF by band where a frame has none

    def frame_at(self, place, band, reason):
        """Frame of a band that holds a whole stamp; without one the object is rejected with ``reason``."""
        frame = place.frame_in(self.frames, band)
        if frame is None:
            raise Rejected(reason, f"band {band}")
        return frame

    def psf_at(self, band, frame, place):
        """PSF on the pixels of a frame, or None."""
        if callable(self.psf):
            return self.psf(band, *map(float, place.tile.frame.sky(place.x, place.y)))
        if self.psf is not None:
            return self.psf.get(band)
        return self.typical.get(band) if frame.psf is None else frame.psf


@dataclass
class Stamp:
    """All bands of one side of a pair: lists with an entry per band."""

    cuts: list = field(default_factory=list)  #: of `Cut`, in the survey's flux unit
    psfs: list = field(default_factory=list)
    signal: list = field(default_factory=list)
    frames: list = field(default_factory=list)

    @property
    def image(self):
        """Flux ``[C, H, W]``."""
        return np.stack([part.data for part in self.cuts]).astype(np.float32)

    def planes(self, name):
        """Mask, variance and PSF as `~astro_galtrans.pairs.store.PairWriter.add` takes them."""
        variances = [part.variance for part in self.cuts]
        return {
            f"{name}_mask": np.stack([part.mask for part in self.cuts]),
            f"{name}_variance": None if any(v is None for v in variances) else np.stack(variances),
            f"{name}_psf": None if any(psf is None for psf in self.psfs) else np.stack(self.psfs),
        }


class PairMaker:
    """Maker of the pairs of all ``tiles`` from two `Side`, with the settings of `PairOptions`."""

    def __init__(self, source, target, header, settings, tiles):
        self.source, self.target, self.header, self.settings = source, target, header, settings
        self.tiles, self.pixel = tiles, header.source.pixel_scale
        self.max_offset = 0.5 * self.pixel if settings.max_offset is None else settings.max_offset

    def write_tile(self, tile, catalogue, writer):
        """
        Write the pairs of a tile that the store does not have yet; return its objects' number by what became of them.

        Also returned are the rejected objects, as `~astro_galtrans.pairs.observed.journal.Journal.record` takes them.
        """
        try:
            pixels = lambda: self.source.frames.pixels(tile.frame)  # noqa: E731 - read only if objects are detected
            objects, segments = objects_of(tile, self.tiles, catalogue, pixels, self.settings)
        except (OSError, ValueError) as err:  # the file was readable when it was indexed
            warnings.warn(f"{tile.frame.label} is left out: {err}", GaltransWarning, stacklevel=5)
            return Counter(unreadable=1), [[None, None, -1, DAMAGED, str(err)]]
        counts, rejected = Counter(objects=len(objects)), []
        objects, places, kinds, shifts, offsets = self._placed(tile, objects, segments)
        indices = objects.index
        for k, (place, part) in enumerate(zip(places, split_of(tile, places, self.settings), strict=True)):
            try:
                stamps, residual = self._pair(place, shifts[k], kinds[k])
            except Rejected as why:
                counts[why.reason] += 1
                sky = round(float(objects.ra[k]), 7), round(float(objects.dec[k]), 7)
                rejected.append([*sky, int(objects.row[k]), why.reason, why.detail])
                continue
            counts.update(["pairs", part or "between"] + ["blank"] * (kinds[k] == "blank"))
            row = {"index": int(indices[k]), "kind": kinds[k], "split": part} | self._known(objects[k], place, stamps)
            row |= _registration(offsets[k], shifts[k], residual) | tile.row
            if row["index"] not in writer.indices:  # else written before the run was interrupted
                planes = stamps[0].planes("source") | stamps[1].planes("target")
                if planes["source_psf"] is None or planes["target_psf"] is None:  # a PSF on one side only is of no use
                    planes |= {"source_psf": None, "target_psf": None}
                writer.add(*(stamp.image for stamp in stamps), row, signal=np.stack(stamps[1].signal), **planes)
        return counts, rejected

    def _placed(self, tile, objects, segments):
        """Objects and blank stamps with their places, kinds, shifts to apply and offsets measured."""
        size = self.header.size
        places = [place_of(tile, *sky, size) for sky in zip(objects.ra, objects.dec, strict=True)]
        kinds = ["galaxy" if z > GALAXY else "source" for z in objects.redshift]
        shifts, offsets = self._register(places)
        wanted = int(np.ceil(self.settings.blank * len(objects)))
        if wanted:
            blank, centres = blank_places(tile, segments, wanted, size, self.settings.seed)
            typical = np.median(shifts, axis=0) if len(shifts) else np.zeros(2)  # blank sky has no offset of its own
            shifts = np.concatenate([shifts, np.tile(typical, (len(blank), 1))])
            offsets = np.concatenate([offsets, np.full((len(blank), 2), np.nan)])
            objects, places, kinds = objects + centres, places + blank, kinds + ["blank"] * len(blank)
        return objects, places, kinds, shifts, offsets

    # -- registration

    def _register(self, places):
        """Shifts to apply and offsets measured (arcsec, along the axes of the source's pixels)."""
        offsets, others = np.full((len(places), 2), np.nan), [None] * len(places)
        shifts = np.zeros_like(offsets)
        if self.settings.register == "none":
            return shifts, offsets
        for k, place in enumerate(places):
            try:
                found, others[k] = self._offset(place, np.zeros(2))
            except (Rejected, ValueError, OSError):
                continue  # the error is met again, with its reason, when the pair is cut
            if not found.beyond and found.likeness > LIKENESS:
                offsets[k] = np.array([found.dx, found.dy]) * self.pixel
        x, y = np.array([(place.x, place.y) for place in places]).reshape(-1, 2).T
        for other in {id(o): o for o in others if o is not None}.values():  # each image has errors of its own
            those = np.array([o is other for o in others])
            shifts[those] = corrections(x[those], y[those], offsets[those], self.settings.register)
        return shifts, offsets

    def _offset(self, place, shift):
        """Offset of the reference bands on the source's grid (pixels), and the target's frame."""
        if not place.inside:
            raise Rejected(EDGE)
        other = self.target.frame_at(place, self.target.reference, OUTSIDE)
        images, noise, sigma = [], [], []
        for side, frame, move in ((self.source, place.tile.frame, np.zeros(2)), (self.target, other, shift)):
            local = LocalMap(place.grid, frame.wcs, move / self.pixel)
            factor = flux_factor(frame.zeropoint, self.source.survey.zeropoint)
            data = cut(side.frames.pixels(frame), local, place.grid.shape).data
            images.append(factor * (data - local.centre_area * frame.level))
            noise.append(factor * local.centre_area * frame.smooth_rms)
            sigma.append(smoothing(frame.fwhm, frame.pixel_scale) / np.sqrt(local.centre_area))
        return measure_offset(*images, noise, sigma, self.settings.search / self.pixel), other

    # -- one pair

    def _pair(self, place, shift, kind):
        """Both stamps of a pair, and the offset that is left (arcsec)."""
        if not place.inside:
            raise Rejected(EDGE)
        try:
            stamps = self._stamp(self.source, place, np.zeros(2)), self._stamp(self.target, place, shift)
            found, _ = self._offset(place, shift)
        except (ValueError, OSError) as err:
            raise Rejected(MASKED if "no pixel is good" in str(err) else DAMAGED, str(err)) from err
        for part in stamps[0].cuts + stamps[1].cuts:
            self._check_bad(part.mask)
        if kind == "blank":
            return stamps, np.full(2, np.nan)
        return stamps, self._check_match(found)

    def _check_bad(self, mask):
        share, n = mask.mean(), len(mask)
        middle = slice(n // 2 - n // 32 - 1, n // 2 + n // 32 + 1)  # where the object is: four pixels of 64
        if share > self.settings.max_bad or mask[middle, middle].any():
            raise Rejected(MASKED, f"{100 * share:.0f} % bad")

    def _check_match(self, found):
        residual = np.array([found.dx, found.dy]) * self.pixel
        if found.beyond:
            raise Rejected(BEYOND, f"{np.hypot(*residual):.2f} arcsec")
        if found.likeness < LIKENESS:
            raise Rejected(NOTHING, f"likeness {found.likeness:.2f}")
        if self.settings.register != "none" and np.hypot(*residual) > self.max_offset:
            raise Rejected(OFFSET, f"{np.hypot(*residual):.2f} arcsec")
        return residual

    def _stamp(self, side, place, shift):
        """All bands of one side, the target's on the finer grid."""
        target, stamp = side is self.target, Stamp()
        grid = place.grid._replace(scale=self.header.scale if target else 1)
        pixel = self.pixel / grid.scale
        for band in side.survey.band_names:
            own = not target and band == side.reference
            frame = place.tile.frame if own else side.frame_at(place, band, OUTSIDE if target else EDGE)
            local = LocalMap(grid, frame.wcs, shift / pixel)
            raw = cut(side.frames.pixels(frame), local, grid.shape)
            factor = flux_factor(frame.zeropoint, side.survey.zeropoint)
            noise = None if raw.variance is None else factor**2 * raw.variance
            stamp.cuts.append(Cut(factor * raw.data, noise, raw.mask))
            psf = side.psf_at(band, frame, place)
            side_length = 2 * round(HALF_WIDTH / pixel) + 1
            stamp.psfs.append(None if psf is None else resample_psf(np.asarray(psf), local.jacobian, side_length))
            stamp.signal.append(_signal(raw, frame, local.centre_area))
            stamp.frames.append(frame)
        return stamp

    def _known(self, one, place, stamps):
        """What the table says of an object: catalogue, place, magnitudes and seeing."""
        header = self.header
        x, y = (self.pixel * c for c in place.offset)
        row = {"ra": one.ra, "dec": one.dec, "z": one.redshift, "r": one.magnitude, "x": x, "y": y}
        row |= {"half_light_radius": one.radius, "row": int(one.row)}
        same = "target_" if header.source.name == header.target.name else ""  # two epochs of one survey
        source, target = (header.source, stamps[0], "", ""), (header.target, stamps[1], "target_", same)
        for (survey, stamp, seeing, light), scale in ((source, self.pixel), (target, header.target_pixel_scale)):
            for band, part, frame in zip(survey.band_names, stamp.cuts, stamp.frames, strict=True):
                magnitude = _magnitude(part.data, x / scale, y / scale, scale, survey.zeropoint)
                row |= {f"{light}mag_{survey.name}_{band}": magnitude, f"{seeing}fwhm_{band}": frame.fwhm}
        if not np.isfinite(row["r"]):
            row["r"] = row[f"mag_{header.source.name}_{self.source.reference}"]
        other = stamps[1].frames[header.target_bands.index(self.target.reference)]
        numbers = {name: value if isinstance(value, int) else float(value) for name, value in row.items()}
        return numbers | {"source_file": place.tile.frame.label, "target_file": other.label}


def _registration(offset, shift, residual):
    pairs = (("", offset), ("applied_", shift), ("residual_", residual))
    return {f"{name}d{axis}": float(value[k]) for name, value in pairs for k, axis in enumerate("xy")}


def _signal(raw, frame, area):
    """Which pixels of a stamp exceed the sky noise; ``area`` is that of one in pixels of the frame."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(raw.data - area * frame.level, smoothing(frame.fwhm, frame.pixel_scale) / np.sqrt(area))
    return (smooth > SIGNAL * area * frame.smooth_rms) & ~raw.mask


def _magnitude(image, x, y, scale, zeropoint):
    """AB magnitude in the aperture around ``(x, y)``, which counts from the centre of the stamp (pixels)."""
    from photutils.aperture import CircularAperture

    middle = (len(image) - 1) / 2
    flux = aperture_sums(image, CircularAperture((middle + x, middle + y), APERTURE / 2 / scale)).item()
    return zeropoint - 2.5 * np.log10(flux) if flux > 0 else np.nan

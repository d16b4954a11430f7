"""Pairs from images of a known sky: Gaussian sources of known flux at known places, on two grids that share nothing."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("h5py")

from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table
from astropy.wcs import WCS
from scipy.special import erf

from astro_galtrans.cli import main
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.pairs.observed import StampSet, build_pairs, pairs_from_stamps, read_summary
from astro_galtrans.pairs.observed.cutting import LocalMap, StampGrid, cut
from astro_galtrans.pairs.observed.frames import open_frames
from astro_galtrans.pairs.observed.registration import corrections, measure_offset
from astro_galtrans.pairs.observed.split import split_by_name, split_on_sky
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.surveys import Band, Survey
from helpers import make_wcs, shared_data

CENTRE = (351.6, 0.1)
SOURCE, TARGET = 0.4, 0.21  # arcsec; the refined grid has 0.2
SIZE = 30
FWHM = {"source": 1.3, "target": 0.8}
NOISE = {"source": 0.02, "target": 1.0}  # nanomaggy; counts of AB zero point 30
ZEROPOINT = {"source": 22.5, "target": 30.0}
OPTIONS = {"size": SIZE, "source_bands": "r", "target_bands": "r", "progress": False, "fractions": (1, 0, 0)}


class Sky:
    """Stars and galaxies, all of them round Gaussians, as two surveys see them."""

    def __init__(self, width=70.0, seed=3, magnitudes=(16.5, 19.0)):
        rng = np.random.default_rng(seed)
        grid = (np.stack(np.meshgrid(*[np.arange(5)] * 2), -1).reshape(-1, 2) + 0.5) / 5 - 0.5
        east, north = (width * (grid + rng.uniform(-0.02, 0.02, grid.shape))).T
        self.ra, self.dec = CENTRE[0] + east / 3600 / np.cos(np.radians(CENTRE[1])), CENTRE[1] + north / 3600
        self.magnitude = rng.uniform(*magnitudes, len(self.ra))
        self.z = rng.uniform(0.01, 0.3, len(self.ra))

    def table(self):
        return Table({"RA": self.ra, "Dec": self.dec, "z": self.z, "r": self.magnitude})

    def image(self, side, shape=None, wcs=None, seed=0, move=(0.0, 0.0), without=(), noise=True):
        """Pixel-integrated image; sources moved by ``(east, north)`` arcsec, some of them left out."""
        shape = shape or {"source": (210, 220), "target": (520, 520)}[side]
        angle = {"source": 10.0, "target": -35.0}[side]
        wcs = wcs or make_wcs(shape, {"source": SOURCE, "target": TARGET}[side], angle=angle, centre=CENTRE)
        data = np.zeros(shape)
        keep = ~np.isin(np.arange(len(self.ra)), without)
        place = self.ra + move[0] / 3600 / np.cos(np.radians(self.dec)), self.dec + move[1] / 3600
        x, y = wcs.all_world2pix(*place, 0)
        scale = 3600 * np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))
        sigma = FWHM[side] / 2.3548 / scale
        for a, b, m in np.stack([x, y, self.magnitude])[:, keep].T:
            columns, rows = (_bin_integrals(n, c, sigma) for n, c in zip(shape[::-1], (a, b), strict=True))
            data += 10 ** (0.4 * (ZEROPOINT[side] - m)) * rows[:, None] * columns
        if noise:
            data += np.random.default_rng(seed).normal(0, NOISE[side], shape)
        unit = u.nmgy if side == "source" else u.adu
        meta = {"FILTER": "r"} | ({} if side == "source" else {"MAGZERO": 30.0})
        return CCDData(data.astype(np.float32), unit=unit, wcs=wcs, meta=meta)


def _bin_integrals(n, centre, sigma):
    edges = (np.arange(n + 1) - 0.5 - centre) / sigma / np.sqrt(2)
    return np.diff(erf(edges)) / 2


def centroid(image, x, y, scale, radius=2.5):
    """Flux and centroid (arcsec from the middle of the stamp) within a radius of a place."""
    offset = (np.arange(len(image)) - (len(image) - 1) / 2) * scale
    inside = np.hypot(offset - x, (offset - y)[:, None]) < radius
    light = np.where(inside, image, 0)
    return light.sum(), light.sum(axis=0) @ offset / light.sum(), light.sum(axis=1) @ offset / light.sum()


@pytest.fixture(scope="module")
def sky():
    return Sky()


@pytest.fixture(scope="module")
def store(sky, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return build_pairs(sky.image("source"), sky.image("target", seed=1), folder, sky.table(), blank=0.2, **OPTIONS)


# -- what a pair holds


def test_flux_and_place_are_those_of_the_sky(sky, store):
    table = store.table
    real = np.flatnonzero(table["kind"] != "blank")
    assert len(real) == 25 and store.header.scale == 2 and store.header.size == SIZE
    for k in real:
        truth = sky.magnitude[table["row"][k]]
        assert table["r"][k] == pytest.approx(truth) and table["z"][k] == pytest.approx(sky.z[table["row"][k]])
        for image, side, scale in ((store.source(k), "source", SOURCE), (store.target(k), "target", SOURCE / 2)):
            flux, x, y = centroid(image[0], table["x"][k], table["y"][k], scale)
            assert flux == pytest.approx(10 ** (0.4 * (ZEROPOINT[side] - truth)), rel=0.04), side  # 2.5 sigma of noise
            np.testing.assert_allclose([x, y], [table["x"][k], table["y"][k]], atol=0.06)
            assert table[f"mag_{side}_r"][k] == pytest.approx(truth, abs=0.08)  # of an aperture of 3 arcsec
    assert np.abs(table["x"]).max() <= SOURCE / 2 + 1e-6


def test_noise_free_flux_is_conserved(sky, tmp_path):
    images = sky.image("source", noise=False), sky.image("target", noise=False)
    for image, side in zip(images, ("source", "target"), strict=True):
        image.data += np.random.default_rng(0).normal(0, 1e-3 * NOISE[side], image.shape).astype(np.float32)
    pairs = build_pairs(*images, tmp_path, sky.table(), register="none", **OPTIONS)
    for k in range(0, len(pairs), 6):
        row = pairs.table[k]
        flux, x, y = centroid(pairs.target(k)[0], row["x"], row["y"], SOURCE / 2)
        assert flux == pytest.approx(10 ** (0.4 * (30 - row["r"])), rel=1e-3)
        np.testing.assert_allclose([x, y], [row["x"], row["y"]], atol=2e-3)


def test_the_source_stamp_is_the_images_own_pixels(sky, store):
    image = sky.image("source")
    k = int(np.flatnonzero(store.table["kind"] != "blank")[3])
    x, y = image.wcs.all_world2pix(store.table["ra"][k], store.table["dec"][k], 0)
    corner = [round(float(c) - (SIZE - 1) / 2) for c in (y, x)]
    np.testing.assert_array_equal(
        store.source(k)[0], image.data[corner[0] : corner[0] + SIZE, corner[1] : corner[1] + SIZE]
    )


def test_survey_made_from_the_images(store):
    for survey, side, scale in ((store.header.source, "source", SOURCE), (store.header.target, "target", TARGET)):
        assert survey.name == side and survey.pixel_scale == pytest.approx(scale, rel=1e-4)
        assert survey.zeropoint == pytest.approx(ZEROPOINT[side])
        assert survey["r"].sky_rms == pytest.approx(NOISE[side], rel=0.03)
        assert survey["r"].fwhm == pytest.approx(np.hypot(FWHM[side], 0.68 * scale), rel=0.04)  # the pixel included


def test_psf_is_that_of_the_images_on_the_stamps_pixels(store):
    for psf, side, own, scale in zip(
        store.psf(0), FWHM, (SOURCE, TARGET), (SOURCE, SOURCE / 2), strict=True
    ):  # fmt: skip
        assert psf.shape[0] == 1 and psf.sum() == pytest.approx(1, abs=1e-3)
        assert scale * gaussian_fwhm(psf[0].astype(float)) == pytest.approx(np.hypot(FWHM[side], 0.68 * own), rel=0.04)
    assert store.table["fwhm_r"][0] == pytest.approx(np.hypot(1.3, 0.68 * SOURCE), rel=0.04)
    assert store.table["target_fwhm_r"][0] == pytest.approx(np.hypot(0.8, 0.68 * TARGET), rel=0.04)


def test_signal_is_where_the_source_is(store):
    for k in np.flatnonzero(store.table["kind"] != "blank")[:5]:
        offset = (np.arange(2 * SIZE) - SIZE + 0.5) * SOURCE / 2
        distance = np.hypot(offset - store.table["x"][k], (offset - store.table["y"][k])[:, None])
        signal = store.signal(k)[0]
        assert signal[distance < 0.6].all() and signal[distance > 4].mean() < 0.05


def test_sky_that_was_left_in_is_told_of_and_taken_out(sky, store, tmp_path):
    level = {"source": 1.5, "target": -40.0}  # of the noise: 75 and -40
    images = {side: sky.image(side, seed=int(side == "target")) for side in level}
    for side, image in images.items():
        image.data += np.float32(level[side])
    with pytest.warns(
        GaltransWarning, match=r"1 of the (source|target) images have a level of the sky .*subtract_backgr"
    ):
        raised = build_pairs(*images.values(), tmp_path / "raised", sky.table(), **OPTIONS)
    taken = build_pairs(*images.values(), tmp_path / "taken", sky.table(), subtract_background=True, **OPTIONS)
    assert len(raised) == len(taken) == 25
    for k in range(25):
        for side in level:
            stamp, with_sky = getattr(taken, side)(k)[0], getattr(raised, side)(k)[0]
            edge = np.concatenate([stamp[[0, -1]].ravel(), stamp[:, [0, -1]].ravel()])
            assert abs(np.median(edge)) < 0.8 * NOISE[side] < abs(np.median(with_sky))
        flux = centroid(taken.source(k)[0], taken.table["x"][k], taken.table["y"][k], SOURCE)[0]
        assert flux == pytest.approx(10 ** (0.4 * (22.5 - sky.magnitude[taken.table["row"][k]])), rel=0.04)


def test_planes_of_a_mask_that_mark_light_lose_no_pair(sky, tmp_path):
    paths = {}
    for side in ("source", "target"):
        image = sky.image(side, seed=int(side == "target"))
        flags = np.where(image.data > 5 * NOISE[side], 32, 0).astype("i4")
        planes = fits.Header([("MP_BAD", 0), ("HIERARCH MP_DETECTED", 5)])
        header = image.wcs.to_header()
        header.update({"FILTER": "r", "BUNIT": str(image.unit), "MAGZERO": ZEROPOINT[side]})
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(image.data, header, name="IMAGE"),
            fits.ImageHDU(flags, planes, name="MASK"),
        ]
        paths[side] = tmp_path / f"{side}.fits"
        fits.HDUList(hdus).writeto(paths[side])
    pairs = build_pairs(*paths.values(), tmp_path / "pairs", sky.table(), **OPTIONS)
    assert len(pairs) == 25
    with pytest.raises(ValueError, match="usable"):
        build_pairs(*paths.values(), tmp_path / "none", sky.table(), bad_planes="DETECTED", max_bad=0.001, **OPTIONS)


def test_blank_stamps_hold_nothing_but_sky(sky, store):
    blank = np.flatnonzero(store.table["kind"] == "blank")
    assert len(blank) >= 3
    for k in blank:
        assert store.source(k).std() == pytest.approx(NOISE["source"], rel=0.15)
        place = SkyCoord(store.table["ra"][k], store.table["dec"][k], unit="deg")
        assert place.separation(SkyCoord(sky.ra, sky.dec, unit="deg")).arcsec.min() > SIZE / 2 * SOURCE


def test_objects_are_found_without_a_catalogue(sky, tmp_path):
    pairs = build_pairs(sky.image("source"), sky.image("target", seed=1), tmp_path, faint=18.5, **OPTIONS)
    found, truth = (SkyCoord(t["ra"], t["dec"], unit="deg") for t in (pairs.table, {"ra": sky.ra, "dec": sky.dec}))
    index, distance, _ = found.match_to_catalog_sky(truth)
    assert distance.arcsec.max() < 0.2
    np.testing.assert_allclose(pairs.table["r"], sky.magnitude[index], atol=0.1)
    assert len(pairs) == pytest.approx((sky.magnitude < 18.5).sum(), abs=2)  # by a tenth of a magnitude
    assert (pairs.table["row"] == -1).all()


def test_variance_and_mask_are_carried(sky, tmp_path):
    source, target = sky.image("source"), sky.image("target", seed=1)
    for image, side in ((source, "source"), (target, "target")):
        image.uncertainty = StdDevUncertainty(np.full(image.shape, NOISE[side], np.float32))
        image.mask = np.zeros(image.shape, bool)
    x, y = target.wcs.all_world2pix(sky.ra, sky.dec, 0)
    for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        target.mask[row + 18 : row + 20, column + 18 : column + 20] = True
        target.data[row + 18 : row + 20, column + 18 : column + 20] = 1e5
    pairs = build_pairs(source, target, tmp_path, sky.table(), **OPTIONS)
    np.testing.assert_allclose(pairs.source_variance(0), NOISE["source"] ** 2, rtol=1e-5)
    # spline weights leave some of the noise, and the flux in a smaller pixel is less
    fine = NOISE["target"] * (SOURCE / 2 / TARGET) ** 2
    assert np.sqrt(np.median(pairs.target_variance(0))) == pytest.approx(0.9 * fine, rel=0.05)
    assert not pairs.source_mask(0).any() and 4 <= pairs.target_mask(0).sum() <= 60
    assert pairs.target(0).max() < 1e4  # what was masked does not shine in


# -- registration


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.37, -1.21), (2.5, 3.0)])
def test_offset_of_two_images(rng, offset):
    n = 48
    images = []
    for dx, dy, sigma, noise in ((0, 0, 1.6, 0.02), (*offset, 1.1, 0.02)):
        rows, columns = (_bin_integrals(n, 20.3 + d, sigma) for d in (dy, dx))
        images.append(10 * rows[:, None] * columns + rng.normal(0, noise, (n, n)))
    found = measure_offset(*images, (0.005, 0.008), (1.5, 1.0), 5.0)
    np.testing.assert_allclose(found[:2], offset, atol=0.05)
    assert found.likeness > 0.8 and not found.beyond


def test_offsets_that_cannot_be_measured(rng):
    sky, noise = rng.normal(0, 0.02, (2, 40, 40)), (0.005, 0.005)
    star = 10 * _bin_integrals(40, 20, 1.5)[:, None] * _bin_integrals(40, 20, 1.5)
    assert np.isnan(measure_offset(*sky, noise, (1.5, 1.5), 5).likeness)  # nothing to see
    assert measure_offset(star + sky[0], sky[1], noise, (1.5, 1.5), 5).likeness == 0  # something in one only
    far = np.roll(star, 9, axis=1)
    assert measure_offset(star, far, noise, (1.5, 1.5), 5).beyond


def test_corrections_follow_the_offsets_of_the_others(rng):
    x, y = rng.uniform(0, 1000, (2, 200))
    smooth = np.stack([0.2 + 1e-4 * x, -0.1 + 1e-4 * y], axis=1)
    offsets = smooth + rng.normal(0, 0.02, smooth.shape)
    offsets[7] = 5.0  # one object moves
    offsets[8] = np.nan
    methods = "none", "global", "local"
    left = {how: np.median(np.hypot(*(corrections(x, y, offsets, how) - smooth).T)) for how in methods}
    assert left["local"] < 0.02 < left["global"] < 0.05 < left["none"]
    np.testing.assert_allclose(corrections(x, y, offsets, "local")[7], smooth[7], atol=0.05)
    assert np.isfinite(corrections(x, y, offsets, "each")).all()
    np.testing.assert_array_equal(corrections(x, y, offsets, "each")[7], [5, 5])


@pytest.mark.parametrize("known", [6, 7, 24])
def test_a_pair_is_corrected_by_the_others_alone(rng, known):
    """So few that all others are neighbours: each correction is the median without the pair, whose noise is its own."""
    x, y = rng.uniform(0, 1000, (2, known + 1))
    offsets = rng.normal(0.3, 0.1, (known + 1, 2))
    offsets[-1] = np.nan  # corrected too, by all others
    expected = [np.nanmedian(np.delete(offsets, k, axis=0), axis=0) for k in range(known + 1)]
    np.testing.assert_allclose(corrections(x, y, offsets, "local"), expected, rtol=1e-12)


def test_wcs_that_disagree_are_registered(sky, tmp_path):
    images = sky.image("source"), sky.image("target", seed=1, move=(0.5, -0.3))
    pairs = build_pairs(*images, tmp_path / "local", sky.table(), **OPTIONS)
    table = pairs.table
    # along the axes of an image turned by 10 degrees, whose x points west
    cos, sin = np.cos(np.radians(10)), np.sin(np.radians(10))
    np.testing.assert_allclose(np.median(table["dx"]), -0.5 * cos - 0.3 * sin, atol=0.02)
    np.testing.assert_allclose(np.median(table["dy"]), 0.5 * sin - 0.3 * cos, atol=0.02)
    assert np.median(np.hypot(table["residual_dx"], table["residual_dy"])) < 0.005
    for k in range(5):
        _, x, y = centroid(pairs.target(k)[0], table["x"][k], table["y"][k], SOURCE / 2)
        np.testing.assert_allclose([x, y], [table["x"][k], table["y"][k]], atol=0.08)
    with pytest.raises(ValueError, match="only 0 usable pairs"):  # nothing is that good
        build_pairs(*images, tmp_path / "strict", sky.table(), register="global", max_offset=1e-7, **OPTIONS)
    loose = build_pairs(*images, tmp_path / "none", sky.table(), register="none", **OPTIONS)
    assert np.median(np.hypot(loose.table["residual_dx"], loose.table["residual_dy"])) == pytest.approx(0.583, abs=0.03)


def test_every_loss_has_its_reason(sky, tmp_path):
    missing, moved, hidden = 11, 12, 13
    source, target = sky.image("source"), sky.image("target", seed=1, without=(missing, moved))
    other = Sky()
    other.ra, other.dec, other.magnitude = (a[[moved]] for a in (sky.ra, sky.dec, sky.magnitude))
    target.data += other.image("target", move=(0.6, 0.6), noise=False).data
    x, y = (int(np.rint(c)) for c in source.wcs.all_world2pix(sky.ra[hidden], sky.dec[hidden], 0))
    source.data[y - 3 : y + 4, x - 3 : x + 4] = np.nan
    table = sky.table()
    table.add_row([CENTRE[0] + 0.0112, CENTRE[1], 0.1, 18.0])  # at the edge of the source
    pairs = build_pairs(source, target, tmp_path, table, **OPTIONS)
    number = dict(read_summary(tmp_path).iterrows("what", "number"))
    assert number["no counterpart"] == number["offset"] == number["masked"] == 1 and number["edge"] == 1
    assert number["pairs"] == len(pairs) == number["train"]
    losses = ("edge", "not in target", "masked", "no counterpart", "beyond search", "offset", "damaged")
    assert number["objects"] == number["pairs"] + sum(number[name] for name in losses)
    assert not {missing, moved, hidden} & set(pairs.table["row"])


# -- more than one image


def write_tiles(sky, folder, n=4):
    """Cut the source into overlapping tiles, as FITS files."""
    image = sky.image("source")
    for k, (y, x) in enumerate([(0, 0), (0, 90), (80, 0), (80, 90)][:n]):
        header = image.wcs.to_header()
        header["CRPIX1"] -= x
        header["CRPIX2"] -= y
        header["BUNIT"], header["FILTER"] = "nanomaggy", "r"
        fits.PrimaryHDU(image.data[y : y + 130, x : x + 130], header).writeto(folder / f"tile-{k}.fits")
    return folder / "tile-*.fits"


def test_overlapping_tiles_give_each_object_once(sky, tmp_path):
    pattern = write_tiles(sky, tmp_path)
    pairs = build_pairs(pattern, sky.image("target", seed=1), tmp_path / "pairs", sky.table(), **OPTIONS)
    assert len(set(pairs.table["row"])) == len(pairs) > 20
    assert len(set(pairs.table["source_file"])) == 4
    whole = build_pairs(sky.image("source"), sky.image("target", seed=1), tmp_path / "w", sky.table(), **OPTIONS)
    rows = {row: k for k, row in enumerate(whole.table["row"])}
    for k in range(0, len(pairs), 5):
        np.testing.assert_allclose(pairs.source(k), whole.source(rows[pairs.table["row"][k]]), atol=1e-6)


def test_a_corrupt_file_is_reported_and_skipped(sky, tmp_path):
    pattern = write_tiles(sky, tmp_path)
    path = tmp_path / "tile-2.fits"
    path.write_bytes(path.read_bytes()[:40000])
    (tmp_path / "tile-5.fits").write_text("not FITS")
    with pytest.warns(GaltransWarning, match=r"tile-[25]\.fits is left out: OSError"):
        pairs = build_pairs(pattern, sky.image("target", seed=1), tmp_path / "pairs", sky.table(), **OPTIONS)
    assert len(pairs) > 10
    assert dict(read_summary(tmp_path / "pairs").iterrows("what", "number"))["unreadable"] == 2


def test_interrupted_it_resumes_to_the_same_pairs(sky, tmp_path, monkeypatch):
    pattern = write_tiles(sky, tmp_path)
    arguments = pattern, sky.image("target", seed=1)
    whole = build_pairs(*arguments, tmp_path / "whole", sky.table(), shard=8, **OPTIONS)

    from astro_galtrans.pairs.store import PairWriter

    add, count = PairWriter.add, []

    def interrupted(self, *pair, **planes):
        count.append(1)
        if len(count) == 15:
            raise KeyboardInterrupt
        add(self, *pair, **planes)

    monkeypatch.setattr(PairWriter, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_pairs(*arguments, tmp_path / "parts", sky.table(), shard=8, **OPTIONS)
    monkeypatch.undo()
    assert len(PairStore(tmp_path / "parts")) == 8
    parts = build_pairs(*arguments, tmp_path / "parts", sky.table(), shard=8, **OPTIONS)
    np.testing.assert_array_equal(parts.table["index"], whole.table["index"])
    for k in range(len(whole)):
        np.testing.assert_array_equal(parts.target(k), whole.target(k))
    summaries = [list(read_summary(tmp_path / name)["number"]) for name in ("whole", "parts")]
    assert summaries[0] == summaries[1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.h5")}
    again = build_pairs(*arguments, tmp_path / "parts", sky.table(), shard=8, **OPTIONS)  # nothing left to do
    assert len(again) == len(whole) and all(path.stat().st_mtime_ns == t for path, t in before.items())


def test_more_images_can_be_added_later(sky, tmp_path):
    target = sky.image("target", seed=1)
    write_tiles(sky, tmp_path)
    tiles = [str(tmp_path / f"tile-{k}.fits") for k in range(4)]
    first = len(build_pairs(tiles[:2], target, tmp_path / "pairs", sky.table(), **OPTIONS))
    both = build_pairs(tiles, target, tmp_path / "pairs", sky.table(), **OPTIONS)
    assert len(both) > first and len(set(both.table["index"])) == len(both)
    with pytest.raises(ValueError, match=r"other settings.*observation.search"):
        build_pairs(tiles, target, tmp_path / "pairs", sky.table(), search=1.0, **OPTIONS)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_tiles(sky, tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("astro_galtrans.pairs.observed.frames.KEPT_BYTES", 0)
    target, peaks = sky.image("target", seed=1), []
    write_tiles(sky, tmp_path)
    tiles = [str(tmp_path / f"tile-{k}.fits") for k in range(4)]
    build_pairs(tiles[:1], target, tmp_path / "warm", sky.table(), shard=2, minimum=1, **OPTIONS)
    for n in (1, 4):
        tracemalloc.start()
        build_pairs(tiles[:n], target, tmp_path / f"{n}", sky.table(), shard=2, minimum=1, **OPTIONS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


def test_bands_with_grids_of_their_own_and_more_bands_out_than_in(sky, tmp_path):
    source = {"g": sky.image("source", seed=5), "r": sky.image("source", seed=6)}
    shape, wcs = (200, 205), make_wcs((200, 205), 0.41, angle=12.0, centre=(CENTRE[0] + 1e-3, CENTRE[1]))
    source["i"] = sky.image("source", shape, wcs, seed=7)
    target = {"r": sky.image("target", seed=1)}
    for image, band in ((source["g"], "g"), (source["i"], "i")):
        image.meta["FILTER"] = band
    options = OPTIONS | {"source_bands": None, "target_bands": None}
    pairs = build_pairs(source, target, tmp_path, sky.table(), **options)
    assert pairs.header.source_bands == ("g", "r", "i") and pairs.header.target_bands == ("r",)
    assert pairs.header.observation["register_bands"] == ["r", "r"]
    for k in range(4):  # all three show the same sky
        row = pairs.table[k]
        flux = [centroid(plane, row["x"], row["y"], SOURCE)[0] for plane in pairs.source(k)]
        np.testing.assert_allclose(flux, 10 ** (0.4 * (22.5 - row["r"])), rtol=0.05)


# -- the split


def test_no_stamp_shares_sky_with_one_of_another_part(rng):
    n, half = 3000, 0.5 * 64 * 0.396 / 3600
    ra, dec = rng.uniform(10, 10.5, n), rng.uniform(59.8, 60.2, n)
    cos = np.cos(np.radians(dec))
    corner_ra = ra[:, None] + half / cos[:, None] * [-1, 1, 1, -1]
    parts = np.array(split_on_sky(corner_ra, dec[:, None] + half * np.array([-1, -1, 1, 1]), 3.0, (0.7, 0.15, 0.15)))
    overlap = (np.abs(ra[:, None] - ra) * cos < 2 * half) & (np.abs(dec[:, None] - dec) < 2 * half)
    other = (parts[:, None] != parts) & (parts[:, None] != "") & (parts != "")
    assert overlap.sum() > 5 * n and not (overlap & other).any()
    shares = [np.mean(parts[parts != ""] == part) for part in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, (0.7, 0.15, 0.15), atol=0.05)
    assert (parts == "").mean() < 0.25


def test_the_split_is_fixed_and_another_seed_is_another(rng):
    ra, dec = rng.uniform(0, 360, (50, 1)), rng.uniform(-89, 89, (50, 1))
    split = split_on_sky(ra, dec, 10.0, (0.5, 0.25, 0.25))
    assert split == split_on_sky(ra + 360, dec, 10.0, (0.5, 0.25, 0.25))
    assert split != split_on_sky(ra, dec, 10.0, (0.5, 0.25, 0.25), seed=1)
    names = [f"stamp {k}" for k in range(2000)]
    shares = [split_by_name(names, (0.8, 0.1, 0.1)).count(part) / 2000 for part in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.03)


def test_a_part_without_pairs_is_said(sky, tmp_path):
    with pytest.warns(GaltransWarning, match=r"no pair is in .*lower cell="):
        build_pairs(
            sky.image("source"), sky.image("target", seed=1), tmp_path, sky.table(),
            **OPTIONS | {"fractions": (0.8, 0.1, 0.1), "cell": 600.0},
        )  # fmt: skip


# -- catalogues


def test_an_object_listed_many_times_is_one(sky, tmp_path, rng):
    table = sky.table()
    order = np.r_[np.full(30, 7), np.arange(25)]
    many = table[order]
    many["RA"][:30] += rng.normal(0, 0.05, 30) / 3600  # as several observations of one object have it
    many["z"] = np.where(np.arange(55) == 12, 0.25, np.where(order == 7, np.nan, many["z"]))
    with pytest.warns(GaltransWarning, match=r"within 1 arcsec of another .*: 30 \(rows 0, 1, 2, .* and 20 more of 55"):
        pairs = build_pairs(sky.image("source"), sky.image("target", seed=1), tmp_path, many, **OPTIONS)
    assert sorted(pairs.table["row"]) == sorted([12, *(30 + k for k in range(25) if k != 7)])
    assert pairs.table["z"][pairs.table["row"] == 12] == 0.25  # the row with a redshift is the one kept


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (Table({"x": [1.0], "mag": [2.0]}), "no sky coordinates: its columns are x, mag"),
        (Table({"ra": [1e5], "dec": [2e5]}), "no sky coordinates in degrees; give them units"),
        (Table({"ra": [np.nan], "dec": [np.nan]}), "no sky coordinates in degrees"),
    ],
)
def test_a_catalogue_without_coordinates(sky, tmp_path, table, match):
    with pytest.raises(ValueError, match=match):
        build_pairs(sky.image("source"), sky.image("target"), tmp_path, table, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


# -- bad input


def test_images_that_share_no_sky(sky, tmp_path):
    far = sky.image("target")
    far.wcs = make_wcs(far.shape, TARGET, centre=(CENTRE[0] + 1, CENTRE[1]))
    with pytest.raises(ValueError, match=r"share no sky. Source: .* in r: RA 351.58.* Target: .*RA 352.58.*CRPIX"):
        build_pairs(sky.image("source"), far, tmp_path, sky.table(), **OPTIONS)


def test_wcs_off_by_more_than_the_search_radius(sky, tmp_path):
    target = sky.image("target", seed=1)
    target.wcs.wcs.crpix += [40, 0]  # 8.4 arcsec
    with pytest.raises(ValueError, match=r"usable pairs.*no counterpart.*CRPIX.* lie \+7 arcsec east and \+5 north"):
        build_pairs(sky.image("source"), target, tmp_path, sky.table(), **OPTIONS)
    assert read_summary(tmp_path)["number"][0] == 25  # what was found out is kept


def test_a_cutout_that_kept_the_crpix_of_its_frame(sky, tmp_path):
    image = sky.image("target")
    cutout = CCDData(image.data[300:, 300:], unit="adu", wcs=image.wcs, meta=image.meta)
    with pytest.raises(ValueError, match="CRPIX"):
        build_pairs(sky.image("source"), cutout, tmp_path, sky.table(), **OPTIONS)


@pytest.mark.parametrize("side", ["source", "target"])
def test_bands_missing_in_one_survey(sky, tmp_path, side):
    options = OPTIONS | {f"{side}_bands": "gr"}
    with pytest.raises(ValueError, match=rf"bands missing among the {side} images: g; they have r"):
        build_pairs(sky.image("source"), sky.image("target"), tmp_path, sky.table(), **options)


def test_a_survey_without_the_bands_of_the_images(sky, tmp_path):
    survey = Survey("mine", "mine", SOURCE, "nanomaggy", 22.5, (Band("J", 1.0, 0.1),))
    with pytest.raises(ValueError, match=r"bands missing in the source: r; survey 'mine' has J"):
        build_pairs(sky.image("source"), sky.image("target"), tmp_path, source_survey=survey, **OPTIONS)


def test_an_image_of_nothing_but_nan(sky, tmp_path):
    nothing = sky.image("target")
    nothing.data[:] = np.nan
    with pytest.raises(ValueError, match=r"none of the target images can be used.*no pixel is finite"):
        build_pairs(sky.image("source"), nothing, tmp_path, sky.table(), **OPTIONS)
    half = sky.image("target", seed=1)
    half.data[:, :260] = np.nan
    build_pairs(sky.image("source"), half, tmp_path, sky.table(), minimum=3, **OPTIONS)
    assert dict(read_summary(tmp_path).iterrows("what", "number"))["masked"] > 3


def test_too_few_pairs(sky, tmp_path):
    images = sky.image("source"), sky.image("target", seed=1)
    with pytest.raises(ValueError, match=r"only \d+ usable pairs, 500 are the fewest.*is kept in"):
        build_pairs(*images, tmp_path, sky.table(), minimum=500, **OPTIONS)
    assert len(PairStore(tmp_path)) == 25


def test_a_run_that_made_nothing_does_not_bind_the_next(sky, tmp_path):
    """Header and records of a run without pairs are in the folder, and those of one that was cut off in writing."""
    images = sky.image("source"), sky.image("target", seed=1, move=(1.5, 0.0))
    with pytest.raises(ValueError, match="only 0 usable pairs"):
        build_pairs(*images, tmp_path, sky.table(), search=0.8, **OPTIONS)
    assert (tmp_path / "pairs.json").exists() and not list(tmp_path.glob("*.h5"))
    assert len(build_pairs(*images, tmp_path, sky.table(), **OPTIONS)) > 20
    (tmp_path / "cut").mkdir()
    for leftover in ('{"format": ', "[]", "{}"):
        (tmp_path / "cut" / "pairs.json").write_text(leftover)
        with pytest.raises(ValueError, match=r"pairs\.json (is damaged|was written by another version)"):
            PairStore(tmp_path / "cut")
    assert len(build_pairs(*images, tmp_path / "cut", sky.table(), **OPTIONS)) > 20


WITHOUT_H5PY = """
import sys
sys.modules["h5py"] = None  # as where it is not installed
from astro_galtrans.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [["pairs", "out", "--source", "x.fits", "--target", "y.fits"], ["simulate", "out"]])
def test_h5py_is_missed_before_any_work(tmp_path, command):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_H5PY, *command], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1 and "'h5py' is needed for this; install it with" in done.stderr
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_exist(sky, tmp_path):
    with pytest.raises(ValueError, match="unknown options serach; known are search"):
        build_pairs(sky.image("source"), sky.image("target"), tmp_path, serach=1.0)
    with pytest.raises(ValueError, match="register='all' must be one of local, global, each, none"):
        build_pairs(sky.image("source"), sky.image("target"), tmp_path, register="all")


def test_command_line(sky, tmp_path, capsys):
    pattern = write_tiles(sky, tmp_path, n=1)
    sky.image("target", seed=1).write(tmp_path / "target.fits")
    sky.table().write(tmp_path / "objects.ecsv")
    command = ["pairs", tmp_path / "pairs", "--source", pattern, "--target", tmp_path / "target.fits", "--size", SIZE]
    options = ["--catalogue", tmp_path / "objects.ecsv", "--minimum", 3, "--cell", 0.3, "--source-bands", "r"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaltransWarning)  # that a part is empty
        assert main(list(map(str, command + options))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == [str(len(PairStore(tmp_path / "pairs"))), "pairs"]
    assert lines[-1].startswith("<PairStore") and "source r -> target r, scale 2, 30 pixels" in lines[-1]
    assert main(["pairs", str(tmp_path / "none"), "--source", "nowhere/*.fits", "--target", str(pattern)]) == 1
    assert "matches no file" in capsys.readouterr().err


def test_files_that_are_not_there(sky, tmp_path):
    with pytest.raises(FileNotFoundError, match="matches no file"):
        build_pairs(tmp_path / "*.fits", sky.image("target"), tmp_path / "pairs", **OPTIONS)
    with pytest.raises(ValueError, match="there is no file"):
        build_pairs(tmp_path / "one.fits", sky.image("target"), tmp_path / "pairs", **OPTIONS)


# -- cutting


def test_local_map_is_that_of_the_wcs(rng):
    distorted = WCS(fits.Header(dict(make_wcs((500, 500), 0.186, angle=70.0).to_header())))
    grid = StampGrid(make_wcs((300, 300), 0.396, angle=15.0), 120, 130, 64, 2)
    local = LocalMap(grid, distorted, shift=(0.5, -1.5))
    y, x = rng.integers(0, 128, (2, 20))
    sky = grid.wcs.pixel_to_world(*grid.to_frame(x + 0.5, y - 1.5))
    expected = distorted.world_to_pixel(sky)
    for k in range(20):
        found_y, found_x = local.positions(y[[k]], x[[k]])
        np.testing.assert_allclose([found_x.item(), found_y.item()], [expected[0][k], expected[1][k]], atol=1e-6)
    np.testing.assert_allclose(local.area(y, x), (0.198 / 0.186) ** 2, rtol=1e-5)


def test_whole_pixels_are_taken_as_they_are(rng):
    wcs, data = make_wcs((60, 60), 0.4), rng.normal(size=(60, 60)).astype(np.float32)
    grid = StampGrid(wcs, 11, 22, 20)
    same = cut((data, None, None), LocalMap(grid, wcs), grid.shape)
    np.testing.assert_array_equal(same.data, data[22:42, 11:31])
    moved = cut((data, None, None), LocalMap(grid, wcs, (1.0, 2.0)), grid.shape)
    np.testing.assert_array_equal(moved.data, data[24:44, 12:32])
    with pytest.raises(ValueError, match="no pixel is good"):
        cut((np.full_like(data, np.nan), None, None), LocalMap(grid, wcs), grid.shape)


# -- stamps without WCS


def make_stamps(sky, tmp_path=None, n=8):
    """Cutouts of the same objects, their middles where the objects are to a fraction of an arcsec."""
    rng, out = np.random.default_rng(4), {"source": [], "target": []}
    for k in range(n):
        for side, size, scale in (("source", 60, SOURCE), ("target", 121, TARGET)):
            miss = rng.uniform(-0.3, 0.3, 2) / 3600
            wcs = make_wcs((size, size), scale, centre=(sky.ra[k] + miss[0], sky.dec[k] + miss[1]))
            data = sky.image(side, (size, size), wcs, seed=k).data
            if tmp_path is not None:
                path = tmp_path / f"{side}-{k}.fits"
                fits.PrimaryHDU(data).writeto(path)
            out[side].append(data if tmp_path is None else path)
    target = StampSet(out["target"], TARGET, "r", unit="adu", zeropoint=30.0)
    return StampSet(out["source"], SOURCE, "r", unit="nanomaggy"), target


@pytest.mark.parametrize("as_files", [False, True])
def test_stamps_paired_by_their_centres(sky, tmp_path, as_files):
    (tmp_path / "in").mkdir()
    stamps = make_stamps(sky, tmp_path / "in" if as_files else None)
    pairs = pairs_from_stamps(*stamps, tmp_path / "pairs", size=SIZE, progress=False, fractions=(1, 0, 0))
    assert len(pairs) == 8 and list(pairs.table["row"]) == list(range(8))
    assert np.hypot(pairs.table["dx"], pairs.table["dy"]).max() > 0.1  # they were not well centred
    for k in range(8):
        _, *place = centroid(pairs.source(k)[0], 0, 0, SOURCE)
        flux, *fine_place = centroid(pairs.target(k)[0], 0, 0, SOURCE / 2)
        np.testing.assert_allclose(fine_place, place, atol=0.05)
        assert flux == pytest.approx(10 ** (0.4 * (30 - sky.magnitude[k])), rel=0.05)
    again = pairs_from_stamps(*stamps, tmp_path / "pairs", size=SIZE, progress=False, fractions=(1, 0, 0))
    assert len(again) == 8


def test_stamps_with_all_that_the_user_knows(sky, tmp_path):
    source, target = make_stamps(sky)
    source.sigma, target.sigma = ([np.full(np.shape(i), 0.5) for i in s.images] for s in (source, target))
    target.mask = [np.zeros(np.shape(i), int) for i in target.images]
    target.mask[2][40:80, 40:80] = 4
    width = [np.outer(*[_bin_integrals(31, 15, 1.5)] * 2)] * 8
    source.psf, target.psf = width, width
    catalogue = sky.table()[:8]
    pairs = pairs_from_stamps(source, target, tmp_path, catalogue, size=SIZE, progress=False, fractions=(1, 0, 0))
    assert list(pairs.table["row"]) == [0, 1, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(pairs.table["ra"], catalogue["RA"][pairs.table["row"]])
    np.testing.assert_allclose(pairs.table["z"], catalogue["z"][pairs.table["row"]])
    np.testing.assert_allclose(pairs.source_variance(0), 0.25)
    assert gaussian_fwhm(pairs.psf(0)[0][0].astype(float)) == pytest.approx(1.5 * 2.355, rel=0.05)
    assert gaussian_fwhm(pairs.psf(0)[1][0].astype(float)) == pytest.approx(1.5 * 2.355 * TARGET / SOURCE * 2, rel=0.05)


def test_a_stamp_without_a_position_is_split_by_its_name(sky, tmp_path):
    catalogue = sky.table()[:8]
    catalogue["RA"][1] = np.nan
    shares = (0.3, 0.3, 0.4)
    source, target = make_stamps(sky)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaltransWarning)  # that a part is empty
        pairs = pairs_from_stamps(source, target, tmp_path, catalogue, size=SIZE, progress=False, fractions=shares)
    np.testing.assert_array_equal(np.isnan(pairs.table["ra"]), np.arange(8) == 1)
    np.testing.assert_allclose(pairs.table["z"], catalogue["z"])
    assert [pairs.table["split"][1]] == split_by_name([source.label(1)], shares)


def test_bad_stamps(sky, tmp_path):
    source, target = make_stamps(sky)
    with pytest.raises(ValueError, match="8 source and 7 target stamps"):
        pairs_from_stamps(source, StampSet(target.images[1:], TARGET, "r", unit="adu", zeropoint=30.0), tmp_path)
    with pytest.raises(ValueError, match=r"8 images but 2 in sigma="):
        StampSet(source.images, SOURCE, "r", sigma=source.images[:2])
    with pytest.raises(ValueError, match="pixel scale must be positive"):
        StampSet(source.images, 0.0, "r")
    with pytest.raises(ValueError, match="the catalogue has 25 rows for 8 stamps"):
        pairs_from_stamps(source, target, tmp_path, sky.table())
    source.images[3] = np.full((60, 60), np.nan)
    target.images[4] = np.zeros((3, 60, 60))
    pairs = pairs_from_stamps(source, target, tmp_path, size=SIZE, progress=False, fractions=(1, 0, 0))
    assert list(pairs.table["row"]) == [0, 1, 2, 5, 6, 7]
    assert dict(read_summary(tmp_path).iterrows("what", "number"))["damaged"] == 2


def test_stamps_in_files_are_read_as_surveys_write_them(sky, tmp_path):
    def read(name, **known):
        return StampSet([tmp_path / name], TARGET, "r", **known).read((name, 0, None))

    data = make_stamps(sky)[1].images[0]
    counts = np.round(data * 10).astype(np.int16)
    counts[3, 4] = -32768
    header = fits.Header({"BUNIT": "adu", "BLANK": -32768, "BSCALE": 0.1, "MAGZERO": 25.0})
    mask = np.zeros(data.shape, np.uint8)
    mask[60, 60] = 1
    hdus = [fits.PrimaryHDU(counts), fits.ImageHDU(mask, name="MASK"), fits.ImageHDU(0 * data + 4, name="VARIANCE")]
    hdus[0].header.update(header)
    fits.HDUList(hdus).writeto(tmp_path / "x.fits")
    stack = read("x.fits")
    assert stack.zeropoint == 25 and np.isnan(stack.data[0, 3, 4])
    np.testing.assert_allclose(stack.data, np.where(counts == -32768, np.nan, 0.1 * counts)[None], rtol=1e-5)
    np.testing.assert_array_equal(stack.mask[0], mask == 1)
    np.testing.assert_allclose(stack.variance, 4)
    assert read("x.fits", zeropoint=30.0).zeropoint == 30  # the user knows better
    hdus[0].header["MAGZERO"] = 27.5  # of another band: its counts are worth a tenth
    fits.HDUList(hdus).writeto(tmp_path / "y.fits")
    both = StampSet([{"r": tmp_path / "x.fits", "i": tmp_path / "y.fits"}], TARGET, "ri").read(("both", 0, None))
    np.testing.assert_allclose(both.data, [stack.data[0], 0.1 * stack.data[0]], rtol=1e-5)
    np.testing.assert_allclose(both.variance[1], 0.04, rtol=1e-5)
    hdus[0].header["PHOTSYS"] = "Vega"
    fits.HDUList(hdus).writeto(tmp_path / "vega.fits")
    with pytest.raises(ValueError, match="not in the AB system"):
        read("vega.fits")


def test_sky_of_a_model_without_noise_is_told():
    wcs = make_wcs((200, 200), SOURCE)
    image = CCDData(np.full((200, 200), 5.0), unit="nmgy", wcs=wcs, meta={"FILTER": "r"})
    image.data[90:110, 90:110] += 100
    with pytest.warns(GaltransWarning, match="a level of the sky that is not zero .inf sigma in r of the image"):
        open_frames(image, progress=False)


# -- real data


def test_gama_galaxies_in_sdss_and_kids(tmp_path):
    folder = shared_data("gama_sdss_kids")
    names = sorted(path.name[:7] for path in (folder / "SDSS").glob("*fitim.fits"))
    stamps = [
        StampSet(
            *([folder / survey / f"{name}fitim.fits" for name in names], scale, "r"), unit="adu", zeropoint=0.0,
            survey=survey.lower(),
            **{key: [folder / survey / f"{name}{kind}.fits" for name in names]
               for key, kind in (("sigma", "sigma"), ("psf", "psfim"))},
        ) for survey, scale in (("SDSS", 0.339), ("KiDS", 0.2))
    ]  # fmt: skip
    with pytest.warns(GaltransWarning, match=r"0.339 arcsec, not the 0.396 arcsec of 'sdss'"):
        pairs = pairs_from_stamps(*stamps, tmp_path, size=56, progress=False, fractions=(1, 0, 0))
    assert len(pairs) == 6
    assert np.hypot(pairs.table["residual_dx"], pairs.table["residual_dy"]).max() < 0.02
    bright = [np.sum(pairs.source(k)[0]) / np.sum(pairs.target(k)[0]) for k in range(6)]
    np.testing.assert_allclose(bright, 1, atol=0.1)  # the same galaxies, in the same filter, in nanomaggies
    assert pairs.table["fwhm_r"].mean() == pytest.approx(1.23, abs=0.03)


@pytest.mark.slow
def test_stripe_82_two_epochs(tmp_path):
    folder = shared_data("sdss_stripe82")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = build_pairs(
            folder / "sdss-004192-*.fits.fz", folder / "sdss-006377-*.fits.fz", tmp_path,
            source_survey="sdss", target_survey="sdss", faint=21.5, progress=False,
        )  # fmt: skip
    table = pairs.table
    assert len(pairs) >= 115 and pairs.header.scale == 1 and pairs.header.source_bands == tuple("ugriz")
    offset, residual = (np.hypot(table[f"{name}dx"], table[f"{name}dy"]) for name in ("", "residual_"))
    assert np.median(residual) < 0.05 < np.median(offset)
    bright = table["r"] < 19
    difference = (table["mag_sdss_r"] - table["target_mag_sdss_r"])[bright]
    assert np.median(np.abs(difference)) < 0.08  # what the README of the data says of two epochs
    assert {"train", "validation", "test"} <= set(table["split"])

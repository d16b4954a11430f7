"""Stamps: checked once, read lazily, taken from arrays, files, cutouts, pairs and translators."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, Cutout2D, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.table import Table

from astro_galtrans import load_translator
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.inputs import Observation
from astro_galtrans.psf import Frequencies, MoffatPSF, SampledPSF, as_psf, widths
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.lazy import joined, middle, rows_of
from astro_galtrans.stamps.stamps import translations
from astro_galtrans.surveys import get_survey
from helpers import make_survey


@pytest.fixture
def stamps(rng):
    planes = {"mask": rng.random((7, 3, 12, 10)) < 0.1, "variance": rng.random((7, 3, 12, 10))}
    psf = rng.uniform(1, 2, (7, 3))
    return Stamps(rng.normal(size=(7, 3, 12, 10)), make_survey("gri", 0.2, [1, 2, 3]), psf=psf, **planes)


def test_what_is_not_said_is_the_surveys():
    found = Stamps(np.zeros((2, 5, 8, 8)), "sdss", pixel_scale=0.198)
    survey = get_survey("sdss")
    np.testing.assert_allclose(found.sky_rms, [survey.sky_rms(0.198)])
    np.testing.assert_allclose(found.psf, [band.fwhm for band in survey.bands])
    assert found.bands == tuple("ugriz") and found.pixel_scale == 0.198 and len(found) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((7, 12, 10))}, r"\[N, C, H, W\]"),
        ({"images": np.zeros((7, 2, 12, 10))}, "has 2 bands, the survey mine has 3: g, r, i"),
        ({"pixel_scale": -1}, "pixel_scale of mine must be a positive number of arcsec, got -1"),
        ({"sky_rms": [1, 2]}, r"sky_rms of mine must be one positive number per band \(g, r, i\)"),
        ({"sky_rms": [1, 2, 0]}, "sky_rms"),
        ({"mask": np.zeros((7, 10, 12))}, "mask of mine must have the shape of its images"),
        ({"variance": np.zeros((7, 12, 10))}, "variance of mine must have the shape of its images"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"images": np.zeros((7, 3, 12, 10)), "survey": make_survey("gri"), "name": "mine"}
    with pytest.raises(ValueError, match=message):
        Stamps(**given | change)


def test_rows_take_everything_along(stamps):
    rows = [4, 1]
    found = stamps[rows]
    for name in ("images", "mask", "variance", "psf"):
        np.testing.assert_array_equal(getattr(found, name), getattr(stamps, name)[rows])
    np.testing.assert_array_equal(stamps[np.arange(7) > 4].read(), stamps.read(slice(5, 7)))
    np.testing.assert_allclose(found.noise(), np.sqrt(stamps.variance[rows]), rtol=1e-6)


def test_rows_take_their_own_psf_along(stamps, rng):
    """PSFs that are objects are those of the rows, as arrays are; one for all stays."""
    frequencies, bands = Frequencies((16, 16), 1, 0.2), [0, 1, 2]
    for psf in (MoffatPSF(stamps.psf, 3.0), SampledPSF(rng.random((7, 3, 5, 5)), 0.2), MoffatPSF([1.0, 1.1, 1.2])):
        found = replace(stamps, psf=psf)[[4, 1]].psf
        expected = psf.transform(frequencies, [4, 1], bands)
        np.testing.assert_allclose(found.transform(frequencies, [0, 1], bands), expected, rtol=1e-6)


def test_the_middle_is_cut_from_everything(stamps):
    found = stamps.middle(6)
    np.testing.assert_array_equal(found.images, stamps.images[..., 3:9, 2:8])
    np.testing.assert_array_equal(found.mask, stamps.mask[..., 3:9, 2:8])
    with pytest.raises(ValueError, match="cannot be taken"):
        stamps.middle(7)


def test_samples_are_chosen_or_averaged(rng):
    images = rng.normal(size=(3, 4, 3, 5, 5))
    found = Stamps(images, make_survey("gri"))
    assert found.n_samples == 4 and found.sample().n_samples is None
    np.testing.assert_array_equal(found.sample(2).images, images[:, 2])
    np.testing.assert_allclose(found.sample("mean").images, images.mean(axis=1))


def test_stamps_are_read_when_they_are_asked_for():
    asked = []
    images = rows_of(lambda row: asked.append(row) or np.full((3, 8, 8), row), 200, (3, 8, 8))
    found = Stamps(images, make_survey("gri"))[150:160].middle(4)
    assert not asked
    np.testing.assert_array_equal(found.read()[:, 0, 0, 0], np.arange(150, 160))
    assert len(asked) <= 64
    assert sum(rows.stop - rows.start for rows in Stamps(images, make_survey("gri")).blocks(30)) == 200


def test_parts_follow_one_another_and_missing_samples_are_nan(rng):
    few, many = rng.normal(size=(2, 1, 3, 4, 4)), rng.normal(size=(3, 4, 3, 4, 4))
    found = np.asarray(joined([few, many]))
    np.testing.assert_array_equal(found[:2, :1], few)
    np.testing.assert_array_equal(found[2:], many)
    assert np.isnan(found[:2, 1:]).all()
    assert middle(found, 2).shape == (5, 4, 3, 2, 2)


@pytest.mark.parametrize("kind", [NDData, CCDData])
def test_cutouts_keep_unit_mask_and_uncertainty(rng, kind):
    survey, data = get_survey("sdss").select("r"), rng.normal(size=(4, 9, 9))
    mask, noise = rng.random((4, 9, 9)) < 0.2, 1 + rng.random((4, 9, 9))
    cutouts = [
        kind(d, unit=u.nJy, mask=m, uncertainty=StdDevUncertainty(s)) for d, m, s in zip(data, mask, noise, strict=True)
    ]
    found = Stamps.from_cutouts(cutouts, survey)
    nanomaggy = (1 * u.nJy).to_value(u.nmgy, u.zero_point_flux(1 * u.AB))
    np.testing.assert_allclose(found.images[:, 0], nanomaggy * data, rtol=1e-4)
    np.testing.assert_allclose(found.variance[:, 0], (nanomaggy * noise) ** 2, rtol=1e-4)
    np.testing.assert_array_equal(found.mask[:, 0], mask)


def test_cutouts_in_a_table(rng):
    survey, data = make_survey("r"), rng.normal(size=(4, 9, 9))
    table = Table({"id": range(4), "cutout": data})
    np.testing.assert_allclose(Stamps.from_cutouts(table, survey).images[:, 0], data, rtol=1e-6)
    parts = [Cutout2D(plane, (4, 4), 5) for plane in data]
    np.testing.assert_allclose(Stamps.from_cutouts(parts, survey).images[:, 0], data[:, 2:7, 2:7], rtol=1e-6)
    with pytest.raises(ValueError, match="no column 'image'; its columns are id, cutout"):
        Stamps.from_cutouts(table, survey, column="image")
    with pytest.raises(ValueError, match="different shapes"):
        Stamps.from_cutouts([data[0], data[1, 1:]], survey)


def test_cutouts_of_every_kind_state_their_unit(rng):
    data = rng.normal(size=(9, 9)).astype(np.float32)
    hdu = fits.ImageHDU(data, fits.Header([("BUNIT", "nanomaggy")]))
    kinds = [data * u.nmgy, CCDData(data, unit="nmgy"), hdu, fits.HDUList([fits.PrimaryHDU(), hdu])]
    found = Stamps.from_cutouts(kinds, make_survey("r"))  # of zero point 30
    np.testing.assert_allclose(found.images[:, 0], [1000 * data] * 4, rtol=1e-5)


def test_variance_of_some_cutouts_only(rng):
    data = rng.normal(size=(2, 9, 9))
    known = NDData(data[0], unit="adu", uncertainty=VarianceUncertainty(np.full((9, 9), 4.0)))
    found = Stamps.from_cutouts([known, NDData(data[1], unit="adu")], make_survey("r"))
    assert (found.variance[0] == 4).all() and np.isnan(found.variance[1]).all()


@pytest.mark.parametrize("ending", ["npy", "fits"])
def test_stamps_in_files(tmp_path, rng, ending):
    data = rng.normal(size=(6, 3, 8, 8)).astype(np.float32)

    def write(path, array):
        return np.save(path, array) if ending == "npy" else fits.writeto(path, array)

    write(tmp_path / f"all.{ending}", data)
    folder = tmp_path / "each"
    folder.mkdir()
    for k, stamp in enumerate(data):
        write(folder / f"{k}.{ending}", stamp)
    for path in (tmp_path / f"all.{ending}", folder):
        found = Stamps.from_files(path, make_survey("gri"))
        np.testing.assert_array_equal(found.read(), data)
        np.testing.assert_array_equal(found[[5, 2]].read(), data[[5, 2]])
    both = Stamps.from_files([folder, tmp_path / f"all.{ending}"], make_survey("gri"))
    np.testing.assert_array_equal(both.read(), np.concatenate([data, data]))
    write(folder / f"x.{ending}", data[0, :, 1:])
    with pytest.raises(ValueError, match="stamps of different shapes"):
        Stamps.from_files(folder, make_survey("gri")).read()
    with pytest.raises(FileNotFoundError, match="there are no stamps"):
        Stamps.from_files(tmp_path / "nothing.npy", make_survey("gri"))


@pytest.mark.parametrize(
    ("cards", "factor"),
    [
        ({}, 1.0),  # states nothing: the survey's, counts of zero point 30
        ({"BUNIT": "adu"}, 1.0),
        ({"BUNIT": "adu", "MAGZERO": 25.0}, 100.0),  # five magnitudes
        ({"MAGZERO": 25.0}, 100.0),
        ({"BUNIT": "nanomaggy"}, 1000.0),  # AB 22.5
        ({"BUNIT": "uJy"}, 10 ** (0.4 * (30 - 23.9))),
        ({"BUNIT": "adu", "MAGZPT": 25.0, "EXPTIME": 100.0}, 1.0),  # of one count per second
    ],
)
def test_flux_of_a_file_is_brought_to_the_surveys(tmp_path, rng, cards, factor):
    data = rng.normal(size=(4, 3, 8, 8)).astype(np.float32)
    noise = fits.ImageHDU(np.full(data.shape, 2, np.float32), name="ERR")
    fits.HDUList([fits.PrimaryHDU(data, fits.Header(cards)), noise]).writeto(tmp_path / "x.fits")
    found = Stamps.from_files(tmp_path / "x.fits", make_survey("gri"))
    np.testing.assert_allclose(found.read(), factor * data, rtol=1e-5)
    np.testing.assert_allclose(found.noise(), 2 * factor, rtol=1e-5)


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ({"BUNIT": "mag"}, "magnitudes cannot hold"),
        ({"BUNIT": "electron"}, "no zero point for electron"),  # not the survey's counts
        ({"BUNIT": "MJy/sr"}, "surface brightness"),
        ({"BUNIT": "adu", "MAGZERO": 25.0, "PHOTSYS": "VEGA"}, "not in the AB system"),
        ({"BSOFTEN": 1.0}, "asinh-compressed"),
    ],
)
def test_flux_that_cannot_be_understood_is_refused(tmp_path, cards, message):
    fits.writeto(tmp_path / "x.fits", np.ones((4, 3, 8, 8)), fits.Header(cards))
    with pytest.raises(ValueError, match=message):
        Stamps.from_files(tmp_path / "x.fits", make_survey("gri"))


def test_pixels_of_a_file_that_are_no_flux(tmp_path, rng):
    counts = rng.integers(-300, 300, (4, 3, 8, 8)).astype(np.int16)
    counts[1, 2, :3, :3] = -32768
    scaled = fits.PrimaryHDU(counts)
    scaled.header.update({"BLANK": -32768, "BSCALE": 0.01})
    scaled.writeto(tmp_path / "i.fits")
    found = Stamps.from_files(tmp_path / "i.fits", make_survey("gri")).read()
    np.testing.assert_allclose(found, np.where(counts == -32768, np.nan, 0.01 * counts), rtol=1e-5)

    flux = rng.normal(size=(4, 3, 8, 8))
    packed = 2.5 * np.log10(np.e) * np.arcsinh((flux - 0.5) / 2)  # Waters et al. (2020), with softening 1
    fits.writeto(tmp_path / "a.fits", packed, fits.Header([("BSOFTEN", 1.0), ("BOFFSET", 0.5)]))
    np.testing.assert_allclose(Stamps.from_files(tmp_path / "a.fits", make_survey("gri")).read(), flux, rtol=1e-5)

    flux[2, 1, :3, :3] = -9999
    fits.writeto(tmp_path / "m.fits", flux)
    with pytest.warns(GaltransWarning, match="plane 1: 9 pixels of -9999"):
        found = Stamps.from_files(tmp_path / "m.fits", make_survey("gri"))
    np.testing.assert_array_equal(found.bad(), flux == -9999)


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 8, 8)])
def test_masks_beside_stamps(tmp_path, rng, shape):
    data, mask = rng.normal(size=(4, 2, 3, 8, 8)), rng.random(shape) < 0.2
    hdus = [fits.PrimaryHDU(data[:, 0]), fits.ImageHDU(mask.astype(np.uint8), name="MASK")]
    fits.HDUList(hdus).writeto(tmp_path / "x.fits")
    whole = mask if mask.ndim == 4 else np.repeat(mask[:, None], 3, axis=1)
    found = Stamps.from_files(tmp_path / "x.fits", make_survey("gri"))
    np.testing.assert_array_equal(found.mask, whole)
    hdus[0] = fits.PrimaryHDU(data)
    fits.HDUList(hdus).writeto(tmp_path / "samples.fits")
    found = Stamps.from_files(tmp_path / "samples.fits", make_survey("gri"))
    np.testing.assert_array_equal(found.mask, whole)
    assert found.n_samples == 2


def test_masks_and_noise_of_a_file_per_galaxy(tmp_path, rng):
    data, mask = rng.normal(size=(4, 3, 8, 8)), np.zeros((4, 3, 8, 8), bool)
    mask[2] = rng.random((3, 8, 8)) < 0.2
    (tmp_path / "each").mkdir()
    for k in range(4):
        hdus = [fits.PrimaryHDU(data[k]), fits.ImageHDU(np.full((3, 8, 8), k + 1.0), name="VARIANCE")]
        hdus += [fits.ImageHDU(mask[k].astype(np.uint8), name="MASK")] if mask[k].any() else []
        fits.HDUList(hdus).writeto(tmp_path / "each" / f"{k}.fits")
    np.save(tmp_path / "more.npy", data[:2])
    found = Stamps.from_files([tmp_path / "each", tmp_path / "more.npy"], make_survey("gri"))
    np.testing.assert_array_equal(found.bad(), np.concatenate([mask, np.zeros((2, 3, 8, 8), bool)]))
    np.testing.assert_array_equal(found.variance[:, 0, 0, 0], [1, 2, 3, 4, np.nan, np.nan])
    fits.writeto(tmp_path / "each" / "!.fits", data[0])
    with pytest.raises(ValueError, match=r"0.fits says how noisy it is and !.fits does not"):
        Stamps.from_files(tmp_path / "each", make_survey("gri")).read()


def test_translators_are_told_the_psf_and_noise_of_stamps(rng):
    translator, sdss = load_translator("srgan-sdss-cfhtls"), get_survey("sdss")
    fwhm, noise = 1.2 * np.array(translator.source["fwhm"]), 1.5 * sdss.sky_rms()
    source = Stamps(rng.normal(size=(3, 5, 16, 16)), sdss, psf=fwhm, sky_rms=noise)
    found = Stamps.from_translator(translator, source).read()
    observed = Observation(fwhm, noise, np.ones(5, bool))
    direct = translator.stamps(source.read(), seed=0, observation=observed)
    np.testing.assert_allclose(found, direct, rtol=1e-3, atol=1e-3 * np.abs(direct).max())
    typical = translator.stamps(source.read(), seed=0)
    assert np.abs(found - typical).max() > 0.01 * np.abs(typical).max()


def test_translations_are_converted_kept_and_found_again(tmp_path, rng):
    sdss, cfhtls = get_survey("sdss"), get_survey("cfhtls-wide")
    translator = load_translator("swin-sdss-cfhtls")
    fwhm, noise = np.array(translator.source["fwhm"]), sdss.sky_rms()
    told = {"psf": fwhm, "sky_rms": noise}
    source = Stamps(rng.normal(size=(3, 5, 16, 16)), sdss, name="source", **told)
    real = Stamps(np.zeros((3, 2, 32, 32)), cfhtls.select("gi"), 0.198)
    found = Stamps.from_translator(translator, source, real)
    profiles = widths(as_psf(fwhm, 3, source.bands, source.pixel_scale, "stamps"), range(3), source.pixel_scale)
    observed = Observation(profiles, noise, np.ones(5, bool))
    direct, variance = translator.stamps(source.read(), seed=0, variance=True, observation=observed)
    np.testing.assert_allclose(found.read(), direct[:, :, [1, 3]], rtol=1e-5)
    np.testing.assert_allclose(found.variance, variance[:, [1, 3]], rtol=1e-5)
    assert found.bands == ("g", "i") and found.shape == (32, 32)

    kept = Stamps.from_translator(translator, source, directory=tmp_path)
    np.testing.assert_allclose(kept.read(), direct, rtol=1e-5)
    np.testing.assert_allclose(kept.variance, variance, rtol=1e-5)
    (folder,) = tmp_path.iterdir()
    np.testing.assert_array_equal(Stamps.from_files(folder, cfhtls, pixel_scale=0.198).noise(), kept.noise())
    files = sorted(tmp_path.rglob("*.npy"))
    Stamps.from_translator(translator, source, directory=tmp_path)
    assert sorted(tmp_path.rglob("*.npy")) == files
    # One pixel that differs makes other stamps: they must not be taken for these.
    other = source.read()
    other[1, 2, 3, 4] += 1
    Stamps.from_translator(translator, Stamps(other, sdss, **told), directory=tmp_path)
    assert len(sorted(tmp_path.rglob("*.npy"))) == 2 * len(files)
    with pytest.raises(ValueError, match="needs u, g, r, i, z, but few has g, r, i: u, z missing"):
        Stamps.from_translator(translator, Stamps(np.zeros((1, 3, 8, 8)), sdss.select("gri"), name="few"))


def test_translations_must_show_the_targets_galaxies():
    real = Stamps(np.zeros((3, 3, 8, 8)), make_survey("gri"))
    assert list(translations(real, np.zeros((3, 3, 8, 8)))) == ["translated"]
    for wrong, message in (
        ({}, "empty dict"),
        ({"target": real.images}, "cannot be called 'target'"),
        (np.zeros((2, 3, 8, 8)), "translated has 2 rows, target 3"),
        (np.zeros((3, 3, 9, 8)), "have 9 x 8 pixels, those of the target 8 x 8"),
        (Stamps(np.zeros((3, 3, 8, 8)), make_survey("grz")), "is in bands g, r, z, the target in g, r, i"),
    ):
        with pytest.raises(ValueError, match=message):
            translations(real, wrong)


def test_units_and_masks_of_arrays_are_not_lost(rng):
    data, bad = rng.normal(size=(2, 3, 8, 8)), rng.random((2, 3, 8, 8)) < 0.1
    survey = get_survey("sdss").select("gri")
    found = Stamps(data * u.uJy, survey)
    np.testing.assert_allclose(found.images, data * (1 * u.uJy).to_value(u.nmgy, u.zero_point_flux(1 * u.AB)))
    np.testing.assert_array_equal(Stamps(data * u.adu, make_survey("gri")).images, data)
    masked = Stamps(np.ma.MaskedArray(data, bad), survey, mask=np.eye(8, dtype=bool)[None].repeat(2, axis=0))
    np.testing.assert_array_equal(masked.mask, bad | np.eye(8, dtype=bool))
    with pytest.raises(ValueError, match="zero point"):
        Stamps(data * u.ct, survey)


@pytest.mark.parametrize("psf", [[1, 2], [1, 0, 1], np.ones((3, 3)), np.ones((2, 5, 5)), np.ones((3, 3, 5, 5))])
def test_psfs_that_do_not_fit_are_refused(psf):
    with pytest.raises(ValueError, match="psf of stamps must be positive FWHMs"):
        Stamps(np.zeros((7, 3, 8, 8)), make_survey("gri"), psf=psf)


def test_what_cannot_be_stamps_is_told(tmp_path):
    real = Stamps(np.zeros((3, 3, 8, 8)), make_survey("gri"))
    with pytest.raises(ValueError, match="must be real numbers, got complex"):
        Stamps(np.zeros((3, 3, 8, 8), complex), make_survey("gri"))
    with pytest.raises(ValueError, match="must be Stamps, an array or files, got None"):
        translations(real, None)
    with pytest.raises(ValueError, match="of a PairStore and its side"):
        Stamps.from_pairs("pairs", "source")
    with pytest.raises(ValueError, match="load_translator gives one"):
        Stamps.from_translator("srgan-sdss-cfhtls", real)
    np.save(tmp_path / "x.npy", np.zeros((3, 5, 8, 8)))
    with pytest.raises(ValueError, match="in the order of the survey, u, g, r, i, z"):
        Stamps.from_files(tmp_path / "x.npy", "sdss", bands="zirgu")


def test_notebooks_show_what_stamps_hold():
    page = Stamps(
        np.zeros((10, 5, 16, 16), "f4"), "sdss", name="<b>mine", mask=np.zeros((10, 16, 16), bool)
    )._repr_html_()
    assert "&lt;Stamps &lt;b&gt;mine: 10, sdss ugriz, 16 x 16" in page and "<b>" not in page
    assert "<td>nanomaggy</td>" in page and "mask" in page and "variance" not in page

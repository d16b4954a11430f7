"""
Files as surveys publish them, end to end: made to their format, read, written, and read again by astropy.

Every file holds the same galaxy; the truth is its image in nanomaggies, which each format scales by its own rule.
"""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import distance_transform_cdt
from toy_network import ToyTranslator, toy_card

from astro_galtrans import translate
from astro_galtrans.bandstack import read, to_unit, write_fits
from astro_galtrans.batch import translate_file
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.translate import Translator
from helpers import SKY_RMS, galaxy, make_wcs

SHAPE = (48, 56)
NMGY_IN_JY = (1 * u.nmgy).to_value(u.Jy, u.zero_point_flux(3631.1 * u.Jy))
RMS = 0.02


def truth(band="r", rms=RMS):
    rng = np.random.default_rng([7, "ugrizy".index(band)])
    return (galaxy(SHAPE, 50) + rng.normal(0, rms, SHAPE)).astype("f4")


def wcs_cards(scale, **cards):
    header = make_wcs(SHAPE, scale).to_header()
    header["RADESYS"] = "ICRS"
    for key, value in cards.items():
        header[key.replace("__", ".")] = value
    return header


def scaled(magnitude, band="r"):
    """The galaxy in counts of a zero point."""
    return truth(band) * 10 ** (0.4 * (magnitude - 22.5))


def table(name):
    return fits.BinTableHDU.from_columns([fits.Column("X", "E", array=np.ones(3))], name=name)


def extension(name, data, header=None, compressed=False, **cards):
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    lossless = {"compression_type": "GZIP_2", "quantize_level": 0} if compressed else {}
    hdu = kind(data, header, name=name, **lossless)
    hdu.header.update(cards)
    return hdu


BAD = np.zeros(SHAPE, bool)
BAD[2, 3] = True
LSST_PLANES = {f"HIERARCH MP_{name}": bit for bit, name in enumerate(["BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED"])}


def sdss_frame(path, band="r"):
    # data.sdss.org/datamodel, frame: image, sky vector, sky and calibration tables; EXPTIME is a text there
    cards = wcs_cards(0.396, BUNIT="nanomaggy", FILTER=band, TELESCOP="2.5m", EXPTIME="53.907456", NMGY=0.0038)
    fits.HDUList(
        [
            fits.PrimaryHDU(truth(band, SKY_RMS[band]), cards),
            fits.ImageHDU(np.ones(56, "f4")),
            table("SKY"),
            table("CALIB"),
        ]
    ).writeto(path)


def cfhtls_t0007(path):
    # T0007 release document, section on FITS headers: AB and Vega zero points, no BUNIT
    cards = wcs_cards(0.186, FILTER="r.MP9601", MZP_AB=30.0, MZP_VEGA=29.875, VEGA_AB=0.125, EXPTIME=2000.8, GAIN=42.2)
    fits.PrimaryHDU(scaled(30), cards).writeto(path)


def megapipe(path):
    # Gwyn 2008, PASP 120, 212: PHOTZP of the stack; the first exposure's Elixir cards are still there
    cards = wcs_cards(0.186, FILTER="r.MP9601", PHOTZP=30.0, PHOT_C=26.22, PHOT_K=-0.1, AIRMASS=1.1, EXPTIME=2500.0)
    fits.PrimaryHDU(scaled(30), cards).writeto(path)


def lsst_exposure(path):
    # lsst.afw.image.ExposureF: IMAGE, MASK, VARIANCE with EXTTYPE, then the archive of PSF, WCS and the like
    mask = np.where(BAD, 1, 0) | np.where(truth() > 5 * RMS, 32, 0)
    jansky = NMGY_IN_JY * 1e9
    fits.HDUList([
        fits.PrimaryHDU(header=fits.Header([("FILTER", "LSST r"), ("TELESCOP", "LSST")])),
        extension("IMAGE", truth() * jansky, wcs_cards(0.2, BUNIT="nJy", EXTTYPE="IMAGE"), compressed=True),
        extension("MASK", mask.astype("i4"), wcs_cards(0.2, EXTTYPE="MASK", **LSST_PLANES), compressed=True),
        extension("VARIANCE", np.full(SHAPE, (RMS * jansky) ** 2, "f4"), wcs_cards(0.2, EXTTYPE="VARIANCE")),
        table("ARCHIVE_INDEX"), table("PsfexPsf"),
    ]).writeto(path)  # fmt: skip


def hsc_cutout(path):
    # HSC data archive, DAS cutouts: as above in counts, with the counts of magnitude zero in the primary header
    mask = np.where(BAD, 8, 0) | np.where(truth() > 5 * RMS, 32, 0)
    factor = 10 ** (0.4 * (27 - 22.5))
    fits.HDUList([
        fits.PrimaryHDU(header=fits.Header([("FILTER", "HSC-R2"), ("FLUXMAG0", 63095734448.0194)])),
        extension("IMAGE", scaled(27), wcs_cards(0.168)),
        extension("MASK", mask.astype("i4"), fits.Header(LSST_PLANES)),
        extension("VARIANCE", np.full(SHAPE, (RMS * factor) ** 2, "f4")),
    ]).writeto(path)  # fmt: skip


def des_tile(path):
    # des.ncsa.illinois.edu/releases, coadd images: SCI, MSK, WGT (inverse variance), compressed, zero point 30
    flags = np.where(BAD, 2, 0) | np.where(truth() > 10 * RMS, 32, 0)  # saturated; near a bright star
    weight = np.full(SHAPE, 1 / (RMS * 1000) ** 2, "f4")
    cards = {"BAND": "r", "FILTER": "r DECam SDSS c0002 6415.0 1480.0", "MAGZERO": 30.0, "TELESCOP": "CTIO 4.0-m"}
    fits.HDUList([
        fits.PrimaryHDU(), extension("SCI", scaled(30), wcs_cards(0.263, **cards, DES_EXT="IMAGE"), compressed=True),
        extension("MSK", flags.astype("i4"), compressed=True, DES_EXT="MASK"),
        extension("WGT", weight, compressed=True, DES_EXT="WEIGHT"),
    ]).writeto(path)  # fmt: skip


def legacy_cube(path):
    # legacysurvey.org/viewer/fits-cutout?layer=ls-dr10&bands=grz&invvar: no BUNIT, no names of extensions
    cards = {"SURVEY": "LegacySurvey", "VERSION": "DR10", "BANDS": "grz", "BAND0": "g", "BAND1": "r", "BAND2": "z"}
    images = fits.PrimaryHDU(np.stack([truth(band) for band in "grz"]), wcs_cards(0.262, IMAGETYP="IMAGE", **cards))
    ivar = np.where(BAD, 0, np.full((3, *SHAPE), RMS**-2)).astype("f4")
    fits.HDUList([images, fits.ImageHDU(ivar, fits.Header([("IMAGETYP", "INVVAR")]))]).writeto(path)


def pan_starrs_stack(path):
    # Waters et al. 2020, ApJS 251, 4; STScI "PS1 Stack images": asinh pixels, 25 + 2.5 log10 EXPTIME, PC00i00j
    linear, a = scaled(25 + 2.5 * np.log10(900)).astype(float), 2.5 * np.log10(np.e)
    offset, soften = float(np.median(linear)), float(linear.std())
    header = fits.Header({
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 351.6, "CRVAL2": 0.1, "CRPIX1": 28.5, "CRPIX2": 24.5,
        "CDELT1": 0.25 / 3600, "CDELT2": 0.25 / 3600, "PC001001": -1.0, "PC001002": 0.0, "PC002001": 0.0,
        "PC002002": 1.0, "EXPTIME": 900.0, "BSOFTEN": soften, "BOFFSET": offset, "HIERARCH FPA.FILTERID": "r.00000",
        "HIERARCH FPA.ZP": 25.0, "HIERARCH FPA.TELESCOPE": "PS1",
    })  # fmt: skip
    compressed = np.where(BAD, np.nan, a * np.arcsinh((linear - offset) / (2 * soften)))
    fits.HDUList([fits.PrimaryHDU(), extension("", compressed.astype("f4"), header, compressed=True)]).writeto(path)


def kids_tile(path):
    # kids.strw.leidenuniv.nl, DR4 (ESO phase 3): AB zero point 0, weight and mask in files of their own
    cards = wcs_cards(
        0.2, FILTER="OCAM_r_SDSS", PHOTZP=0.0, PHOTSYS="AB", INSTRUME="OMEGACAM", OBJECT="KIDS_129.0_-0.5"
    )
    fits.PrimaryHDU(truth() * np.float32(1e-9), cards).writeto(path)


def hst_drizzled(path):
    # DrizzlePac handbook: SCI in electrons per second, WHT, CTX; PHOTFLAM is of one electron per second
    wavelength = 8045.5
    flam = (
        (1 * u.Jy).to_value(u.erg / u.s / u.cm**2 / u.AA, u.spectral_density(wavelength * u.AA))
        * 3631
        / 10 ** (0.4 * 25.94)
    )
    primary = [
        ("TELESCOP", "HST"),
        ("INSTRUME", "ACS"),
        ("FILTER1", "CLEAR1L"),
        ("FILTER2", "F814W"),
        ("EXPTIME", 2028.0),
    ]
    cards = wcs_cards(0.05, BUNIT="ELECTRONS/S", PHOTFLAM=flam, PHOTPLAM=wavelength, PHOTZPT=-21.1)
    fits.HDUList([
        fits.PrimaryHDU(header=fits.Header(primary)), extension("SCI", scaled(25.94), cards, EXTVER=1),
        extension("WHT", np.where(BAD, 0, 2028).astype("f4"), EXTVER=1),
        extension("CTX", np.ones(SHAPE, "i4"), EXTVER=1), table("HDRTAB"),
    ]).writeto(path)  # fmt: skip


def jwst_i2d(path, area=True):
    # jwst-pipeline.readthedocs.io, "i2d": MJy/sr, ERR, CON, WHT and the parts of the variance
    sr = ((0.031 * u.arcsec) ** 2).to_value(u.sr)
    to_brightness = NMGY_IN_JY / 1e6 / sr
    cards = wcs_cards(0.031, BUNIT="MJy/sr", PHOTMJSR=0.5, **({"PIXAR_SR": sr, "PIXAR_A2": 0.031**2} if area else {}))
    sigma = np.full(SHAPE, RMS * to_brightness, "f4")
    weight = np.where(BAD, 0, 1000).astype("f4")
    fits.HDUList([
        fits.PrimaryHDU(header=fits.Header([("TELESCOP", "JWST"), ("INSTRUME", "NIRCAM"), ("FILTER", "F200W")])),
        extension("SCI", truth() * np.float32(to_brightness), cards), extension("ERR", sigma, BUNIT="MJy/sr"),
        extension("CON", np.ones((1, *SHAPE), "i4")), extension("WHT", weight),
        *(extension(f"VAR_{part}", sigma**2) for part in ("POISSON", "RNOISE", "FLAT")), table("HDRTAB"), table("ASDF"),
    ]).writeto(path)  # fmt: skip


def euclid_mer(path):
    # Euclid Q1, MER data product description (EUC_MER_BGSUB-MOSAIC-VIS): MAGZERO; RMS and FLAG in files of their own
    cards = wcs_cards(0.1, FILTER="VIS", MAGZERO=24.6, TELESCOP="Euclid", INSTRUME="VIS", TILEID=102018211)
    fits.PrimaryHDU(scaled(24.6), cards).writeto(path)


# format: band, pixel scale (arcsec), whether it says what is bad, and how noisy it is
FORMATS = {
    sdss_frame: ("r", 0.396, False, False),
    cfhtls_t0007: ("r", 0.186, False, False),
    megapipe: ("r", 0.186, False, False),
    lsst_exposure: ("r", 0.2, True, True),
    hsc_cutout: ("r", 0.168, True, True),
    des_tile: ("r", 0.263, True, True),
    legacy_cube: ("grz", 0.262, True, True),
    pan_starrs_stack: ("r", 0.25, None, False),  # undefined pixels are NaN
    kids_tile: ("r", 0.2, False, False),
    hst_drizzled: ("F814W", 0.05, True, False),
    jwst_i2d: ("F200W", 0.031, True, True),
    euclid_mer: ("VIS", 0.1, False, False),
}


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_format_end_to_end(write, tmp_path):
    band, scale, masked, noisy = FORMATS[write]
    write(tmp_path / "image.fits")
    stack = to_unit(read(tmp_path / "image.fits"), "nmgy")
    bands = tuple(band) if band == "grz" else (band,)
    assert stack.bands == bands
    rms = SKY_RMS["r"] if write is sdss_frame else RMS
    expected = np.stack([truth(one if band == "grz" else "r", rms) for one in bands])
    bad = np.broadcast_to(BAD, expected.shape)
    usable = np.isfinite(stack.data)
    assert_array_equal(usable, ~bad if masked is None else usable | True)
    # four digits: a jansky and an AB magnitude differ by 2e-5 in their zero points
    assert_allclose(stack.data[usable], expected[usable], rtol=2e-4, atol=2e-4 * RMS)
    if masked:
        assert_array_equal(stack.mask, bad)
    else:
        assert stack.mask is None
    if noisy:
        assert_allclose(stack.variance[~bad], RMS**2, rtol=5e-4)
    else:
        assert stack.variance is None
    there = stack.wcs.pixel_to_world(*(27.5, 23.5))
    assert there.separation(make_wcs(SHAPE).pixel_to_world(27.5, 23.5)).arcsec < 1e-6
    assert_allclose(np.sqrt(np.abs(np.linalg.det(stack.wcs.pixel_scale_matrix))) * 3600, scale)

    write_fits(stack, tmp_path / "out.fits")
    ccd = CCDData.read(tmp_path / "out.fits")
    assert ccd.unit == u.nmgy
    assert_array_equal(ccd.data.reshape(stack.data.shape), stack.data)
    assert_allclose(ccd.wcs.celestial.pixel_to_world_values(3, 4), stack.wcs.pixel_to_world_values(3, 4), atol=1e-11)
    assert not {"TELESCOP", "EXPTIME", "PIXAR_SR", "PHOTFLAM", "BSOFTEN", "MZP_AB"} & set(ccd.meta)
    again = read(tmp_path / "out.fits")
    assert (again.bands, again.zeropoint) == (bands, 22.5)
    assert_array_equal(again.data, stack.data)


def translator_for(bands, scale):
    """A translator of these bands and pixels that interpolates, to AB magnitude 30 of a count."""
    card = toy_card(bands, pixel_scale=scale, sky=[RMS] * len(bands))
    return Translator(Checkpoint(ToyTranslator.from_preset("tiny", bands, bands, 2).eval(), card, "0" * 64))


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_is_translated(write, tmp_path):
    band, scale, masked, _ = FORMATS[write]
    bands = tuple(band) if band == "grz" else (band,)
    write(tmp_path / "image.fits")
    translate_file([tmp_path / "image.fits"], translator_for(bands, scale), tmp_path / "out.fits", progress=False)
    ccd, counts = CCDData.read(tmp_path / "out.fits"), read(tmp_path / "out.fits")
    assert (ccd.unit, counts.unit, counts.bands) == (u.adu, u.adu, bands)
    assert_array_equal(ccd.data.reshape(counts.data.shape), counts.data)
    stack = to_unit(counts, "nmgy")
    there = ccd.wcs.celestial.pixel_to_world(55.5, 47.5)  # the middle of twice as many pixels
    assert there.separation(make_wcs(SHAPE).pixel_to_world(27.5, 23.5)).arcsec < 1e-6
    for plane, one in zip(stack.data, bands, strict=True):
        light = truth(one if band == "grz" else "r", SKY_RMS["r"] if write is sdss_frame else RMS)
        assert_allclose(plane[20:-20, 20:-20].sum(), light[10:-10, 10:-10].sum(), rtol=5e-3)
    bad = np.zeros(stack.data.shape, bool) if stack.mask is None else stack.mask
    assert bad[:, 4:6, 6:8].all() == (masked is not False) and not bad[:, 40:56, 50:60].any()
    assert (stack.variance > 0).all()


def test_jwst_without_the_area_of_its_pixels(tmp_path):
    jwst_i2d(tmp_path / "i2d.fits", area=False)
    reason = r"'MJy / sr' is not a flux per pixel; it is a surface brightness, and the area"
    with pytest.raises(ValueError, match=reason):
        read(tmp_path / "i2d.fits")
    with pytest.raises(ValueError, match=reason):
        translate_file([tmp_path / "i2d.fits"], translator_for(("F200W",), 0.031), tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_sdss_frames_are_translated(tmp_path):
    for band in "ugriz":
        sdss_frame(tmp_path / f"{band}.fits", band)
    out = translate([tmp_path / f"{band}.fits" for band in "ugriz"], "swin-sdss-cfhtls", psf=1.3)
    assert out[0].header["BANDS"] == "u,g,r,i,z"
    assert "TELESCOP = '2.5m'" in list(out[0].header["HISTORY"])


def test_bit_planes_do_not_cost_light(tmp_path):
    # what an LSST-like file gives is what the plain image gives: DETECTED is light, and one bad pixel is filled
    images = {}
    for band in "ugriz":
        data = truth(band, SKY_RMS[band])
        images[band] = CCDData(data, unit="nmgy", wcs=make_wcs(SHAPE), meta={"FILTER": band})
        mask = np.where(BAD, 1, 0) | np.where(data > 5 * SKY_RMS[band], 32, 0)
        fits.HDUList([
            fits.PrimaryHDU(header=fits.Header([("FILTER", f"HSC-{band.upper()}")])),
            extension("IMAGE", data, wcs_cards(0.396, BUNIT="nanomaggy")),
            extension("MASK", mask.astype("i4"), fits.Header(LSST_PLANES)),
        ]).writeto(tmp_path / f"{band}.fits")  # fmt: skip
    plain = translate(images, "swin-sdss-cfhtls", psf=1.3)
    out = translate([tmp_path / f"{band}.fits" for band in "ugriz"], "swin-sdss-cfhtls", psf=1.3)
    assert out[0].header["GTMASKED"] == "MASK: BAD SAT CR EDGE"
    hidden = np.kron(BAD, np.ones((2, 2)))
    reach = distance_transform_cdt(1 - hidden, "chessboard")[out["MASK"].data.any(axis=0)].max()
    assert reach * 0.198 < 6.5  # arcsec from the bad pixel, as test_translate has it
    for plane, image in zip(out[0].data, plain.values(), strict=True):
        assert_allclose(plane.sum(), image.data.sum(), rtol=5e-3)
    everything = translate(
        [tmp_path / f"{band}.fits" for band in "ugriz"], "swin-sdss-cfhtls", bad_planes=["DETECTED", "BAD"], psf=1.3
    )
    assert everything[0].header["GTMASKED"] == "MASK: DETECTED BAD"
    assert everything["MASK"].data.mean() > 0.3

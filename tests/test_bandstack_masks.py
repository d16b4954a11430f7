"""Masks, noise and weights beside an image, as surveys write them: every plane and extension for what it means."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from numpy.testing import assert_allclose, assert_array_equal

from astro_galtrans.bandstack import read, write_fits
from astro_galtrans.exceptions import GaltransWarning
from helpers import make_ccd, make_wcs

SHAPE = (12, 15)
CCD = make_ccd(SHAPE, "g", uncertainty=False)


def image_hdu(name="SCI", data=CCD.data, **cards):
    header = make_wcs(SHAPE).to_header()
    header.update({"BUNIT": "nmgy", **cards})
    return fits.ImageHDU(data, header, name=name)


def file_of(*extensions, primary=(), band="g", **cards):
    """A file with one image, the filter named in the primary header, and what is beside it."""
    first = fits.PrimaryHDU(header=fits.Header([("FILTER", band), *primary]))
    return fits.HDUList([first, image_hdu(**cards), *extensions])


def one_bit_each(n=9):
    """Pixel [0, k] has bit k."""
    flags = np.zeros(SHAPE, "i4")
    flags[0, :n] = 2 ** np.arange(n)
    return flags


LSST = ["BAD", "SAT", "INTRP", "CR", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "SUSPECT", "NO_DATA"]
LSST_BAD = [name in {"BAD", "SAT", "CR", "EDGE", "SUSPECT", "NO_DATA"} for name in LSST]


def named(names, template="MP_{}", values=None):
    """Cards that name the planes of a mask."""
    values = range(len(names)) if values is None else values
    keys = [template.format(name) for name in names]
    return fits.Header([(f"HIERARCH {k}" if len(k) > 8 else k, v) for k, v in zip(keys, values, strict=True)])


@pytest.mark.parametrize(
    "header",
    [
        named(LSST),
        named(LSST, values=[str(bit) for bit in range(9)]),  # numbers as text
        named(LSST, "DQ_{}", values=[2**bit for bit in range(9)]),  # 2**bit instead of the bit
        named(range(9), "BIT{:02d}", LSST),  # the bit in the keyword, the name as the value
        named(range(9), "MASKBIT{}", [name.lower() for name in LSST]),
        named(range(9), "DQNAME{}", LSST),
        named([2**bit for bit in range(9)], "MY_FLAG_{}", LSST),  # 2**bit in the keyword
    ],
    ids=["LSST", "text", "values", "BITnn", "MASKBITn", "DQNAMEn", "FLAG_values"],
)
def test_planes_by_name(header):
    stack = read(file_of(fits.ImageHDU(one_bit_each(), header, name="MASK")))
    assert_array_equal(stack.mask[0, 0, :9], LSST_BAD)
    assert stack.mask.sum() == sum(LSST_BAD)
    assert stack.meta["GTMASKED"] == "MASK: BAD SAT CR EDGE SUSPECT NO_DATA"


def test_numbers_of_lsst_are_bits_whatever_they_look_like():
    flags = fits.ImageHDU(one_bit_each(3) & 6, named(["BAD", "DETECTED"], values=[1, 2]), name="MASK")
    assert_array_equal(read(file_of(flags)).mask[0, 0, :3], [False, True, False])


@pytest.mark.parametrize(
    ("choice", "bits"),
    [
        ("SAT", [1]), ("sat, detected", [1, 5]), (["BAD", 3], [0, 3]), (5, [5]), ("none", []), ((), []),
        ("nonzero", range(9)), ("VIGNETTED", []), ("0,1", [0, 1]),
    ],
)  # fmt: skip
def test_planes_that_are_chosen(choice, bits):
    stack = read(file_of(fits.ImageHDU(one_bit_each(), named(LSST), name="MASK")), bad_planes=choice)
    assert_array_equal(np.flatnonzero(stack.mask[0, 0]), list(bits))
    assert not stack.mask[0, 1:].any()


def test_planes_that_are_not_there():
    mask = fits.ImageHDU(one_bit_each(), named(LSST), name="MASK")
    with pytest.raises(ValueError, match=r"the mask has no plane SATURN; it has BAD, SAT, INTRP"):
        read(file_of(mask), bad_planes="SATURN")
    with pytest.raises(ValueError, match=r"no plane SAT; it has no names: give bit numbers"):
        read(file_of(fits.ImageHDU(one_bit_each(), name="MASK")), bad_planes="SAT")


def test_planes_that_no_convention_explains():
    header = named(["BAD", "WOBBLY", "OBJECTS_OF_A_KIND"])
    with pytest.warns(GaltransWarning, match=r"MASK\].* taken as bad: WOBBLY; choose with bad_planes="):
        stack = read(file_of(fits.ImageHDU(one_bit_each(3), header, name="MASK")))
    assert_array_equal(stack.mask[0, 0, :3], [True, True, False])
    with pytest.warns(GaltransWarning, match="bit 3"):  # a bit that the header forgot
        assert read(file_of(fits.ImageHDU(one_bit_each(4), named(LSST[:3]), name="MASK"))).mask[0, 0, 3]


@pytest.mark.parametrize(
    ("name", "primary", "cards", "good"),
    [
        # pixcorrect's mask_bits.h: interpolated, bright star, fixed; near edge and tape bump lie in bits 13 and 14
        ("MSK", (), {"DES_EXT": "MASK"}, {2, 5, 11, 12, 13, 14}),
        ("DQ", [("TELESCOP", "JWST")], {}, set(range(1, 15))),  # only DO_NOT_USE, bit 0
        ("DQ", [("TELESCOP", "HST")], {}, {4, 6, 8}),  # driz_bits 16 + 64 + 256
        ("FLG", [("INSTRUME", "OMEGACAM")], {}, set(range(8, 15))),  # KiDS: eight planes, all of them of defects
        # bits of NOIRLab's Community Pipeline before 3.5: interpolated pixels stay
        ("DQM", [("PRODTYPE", "dqmask"), ("PLVER", "DES V2.2.0")], {}, {2}),
    ],
)
def test_planes_that_documents_name(name, primary, cards, good):
    used = {"FLG": 8, "DQM": 3}.get(name, 15)
    flags = fits.ImageHDU(one_bit_each(used), fits.Header(cards), name=name)
    stack = read(file_of(flags, primary=primary))
    assert set(np.flatnonzero(~stack.mask[0, 0, :used])) == good & set(range(used))


def test_values_without_names_are_all_bad_and_said():
    flags = fits.ImageHDU(one_bit_each(3), name="DQ")
    with pytest.warns(GaltransWarning, match=r"taken as bad: the values 1, 2, 4; choose with bad_planes="):
        assert read(file_of(flags, primary=[("TELESCOP", "Gemini-North")])).mask.sum() == 3


# names of planes as pipelines write them beside the numbers, and which of the first bits are bad
@pytest.mark.parametrize(
    ("cards", "bad"),
    [
        # PTF (Laher et al. 2014, PASP 126, 674): the number twice, the name as comment
        ([("BIT00", 0, "AIRCRAFT/SATELLITE TRACK"), ("BIT01", 1, "OBJECT (detected by SExtractor)"),
          ("BIT02", 2, "LOW RESPONSIVITY"), ("BIT03", 3, "SATURATED")], [0, 2, 3]),
        ([("FLAG1", 1, "detected source"), ("FLAG2", 2, "bad pixel"), ("FLAG3", 4, "interpolated"),
          ("FLAG4", 8, "cosmic ray")], [1, 3]),  # counted from one, with 2**bit as the value
        # Legacy Surveys, maskbits: the value of each bit under its name
        ([("NPRIMARY", 1, "Mask value for non-primary brick area"), ("BRIGHT", 2, "Mask value for bright star in blob"),
          ("SATUR_G", 4, "Mask value for saturated (& nearby) pixels in g"), ("GALAXY", 8, "Mask value for galaxy")],
         [2]),
        # Pan-STARRS: names and values in cards of their own; two names may share a value, one may sum up others
        ([("MSKNUM", 5), ("MSKNAM00", "DETECTOR"), ("MSKVAL00", 1), ("MSKNAM01", "STARCORE"), ("MSKVAL01", 2),
          ("MSKNAM02", "SAT"), ("MSKVAL02", 4), ("MSKNAM03", "CONV.POOR"), ("MSKVAL03", 8),
          ("MSKNAM04", "MASK.VALUE"), ("MSKVAL04", 5)], [0, 2]),
        ([("COMMENT", "The planes are"), ("COMMENT", "bit 0: interpolated (repaired)"),
          ("COMMENT", "bit 1 = saturated"), ("COMMENT", " BIT 2 - hot pixel"), ("COMMENT", "bit 3: detected")], [1, 2]),
    ],
    ids=["PTF", "FLAGn", "Legacy", "Pan-STARRS", "COMMENT"],
)  # fmt: skip
def test_planes_that_comments_name(cards, bad):
    stack = read(file_of(fits.ImageHDU(one_bit_each(4), fits.Header(cards), name="MASK")))
    assert_array_equal(np.flatnonzero(stack.mask[0, 0]), bad)


def test_numbers_that_may_be_bits_or_values_name_nothing():
    cards = fits.Header([("FLAG1", 1, "detected source"), ("FLAG2", 2, "bad pixel")])
    with pytest.warns(GaltransWarning, match="the values 1, 2"):
        assert read(file_of(fits.ImageHDU(one_bit_each(2), cards, name="MASK"))).mask.sum() == 2


def test_codes_are_no_bits():
    # NOIRLab's Community Pipeline since 3.5: 3 is saturated, and not bad (1) and saturated (2) together
    flags = np.zeros(SHAPE, "i2")
    flags[0, :9] = range(9)
    mask = fits.ImageHDU(flags, fits.Header([("PRODTYPE", "dqmask")]), name="DQM")
    primary = [("PLVER", "V4.8.2")]
    assert_array_equal(np.flatnonzero(read(file_of(mask, primary=primary)).mask[0, 0]), range(1, 9))
    chosen = read(file_of(mask, primary=primary), bad_planes="SATURATED,STREAK")
    assert_array_equal(np.flatnonzero(chosen.mask[0, 0]), [3, 8])
    assert_array_equal(np.flatnonzero(read(file_of(mask, primary=primary), bad_planes=[5]).mask[0, 0]), [5])


def test_cards_that_only_look_like_planes():
    header = fits.Header([("MASK_VER", 2), ("BPM_ID", 7), ("FLAG1", 3)])
    with pytest.warns(GaltransWarning, match="the values 1, 2, 4, 8, 16, 32, 64, 128, ..."):
        stack = read(file_of(fits.ImageHDU(one_bit_each(), header, name="MASK"), primary=[("DQ_BAD", 3)]))
    assert stack.mask[0, 0, :9].all()
    assert stack.meta["GTMASKED"] == "MASK: nonzero"


def test_planes_that_a_table_names():
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("BIT", "J", array=[0, 1, 2]),
            fits.Column("NAME", "20A", array=["DETECTED", "COSMIC RAY", "HOT PIXEL"]),
        ],
        name="DQ_DEF",
    )
    stack = read(file_of(fits.ImageHDU(one_bit_each(3), name="DQ"), table))
    assert_array_equal(stack.mask[0, 0, :3], [False, True, True])


# --- masks in which nonzero is good


def spotless():
    good = np.ones(SHAPE, "u1")
    good[3, 4] = 0
    return good


@pytest.mark.parametrize(
    ("name", "cards"),
    [
        ("MASK", [("HDUCLAS3", "MASKZERO")]),
        ("GOODPIX", []),
        ("valid", []),
        ("MASK", [("COMMENT", "pixel mask: 1 = good, 0 = bad")]),
        ("BPM", [("BUNIT", "", "good=1")]),
        ("MASK", [("GOODVAL", 1)]),
        ("MASK", [("BADVAL", "0")]),
        ("FLAGS", [("GOODPIX", True)]),
    ],
)
def test_one_means_good(name, cards):
    stack = read(file_of(fits.ImageHDU(spotless(), fits.Header(cards), name=name)))
    assert_array_equal(stack.mask[0], spotless() == 0)
    assert "zero" in stack.meta["GTMASKED"]


@pytest.mark.parametrize("cards", [[("HDUCLAS3", "MASKONE")], [("COMMENT", "0 = good, 1 = bad")], [("BADPIX", 1)], []])
def test_one_means_bad(cards):
    bad = 1 - spotless()
    assert_array_equal(read(file_of(fits.ImageHDU(bad, fits.Header(cards), name="MASK"))).mask[0], bad)


def test_a_mask_that_may_mean_the_opposite_is_refused():
    hdulist = file_of(fits.ImageHDU(spotless(), name="MASK"))
    with pytest.raises(ValueError, match=r"2 MASK\]: it calls 99.44 % of the pixels bad.*bad_planes='zero'.*'nonzero'"):
        read(hdulist)
    assert_array_equal(read(hdulist, bad_planes="zero").mask[0], spotless() == 0)
    assert_array_equal(read(hdulist, bad_planes="nonzero").mask[0], spotless() == 1)
    # but where there is no data, a mask that covers most of an image is what it says
    data = np.where(spotless(), 0, CCD.data)
    hdulist = fits.HDUList([image_hdu(data=data, FILTER="g"), fits.ImageHDU(spotless(), name="MASK")])
    assert_array_equal(read(fits.HDUList([fits.PrimaryHDU(), *hdulist])).mask[0], spotless() == 1)


@pytest.mark.parametrize("header", [named(LSST), fits.Header([("HDUCLAS3", "MASKONE")])])
def test_all_bad(header):
    flags = fits.ImageHDU(np.ones(SHAPE, "i4"), header, name="MASK")
    with pytest.raises(
        ValueError, match=r"2 MASK\] calls all pixels bad \((BAD .*|nonzero)\); choose others with bad_pl"
    ):
        read(file_of(flags))
    assert not read(file_of(flags), bad_planes="none").mask.any()


def test_noise_of_some_bands_only():
    ivar = np.ones(SHAPE)
    ivar[0, 0] = 0
    with_noise = file_of(fits.ImageHDU(ivar, name="IVAR"))
    with pytest.warns(
        GaltransWarning, match="files of bands r do not say how noisy they are: the noise of g is not used"
    ):
        stack = read({"g": with_noise, "r": file_of(band="r")})
    assert stack.variance is None
    assert "GTNOISE" not in stack.meta
    assert_array_equal(np.argwhere(stack.mask), [[0, 0, 0]])  # what is bad stays bad


def test_weights_of_zero_everywhere():
    with pytest.raises(ValueError, match=r"2 WHT\] calls all pixels bad \(weight 0\); remove this extension"):
        read(file_of(fits.ImageHDU(np.zeros(SHAPE), name="WHT")))


def test_noise_of_a_kind_that_is_not_understood():
    unknown = fits.ImageHDU(np.ones(SHAPE), fits.Header([("UTYPE", "UnknownUncertainty")]), name="UNCERT")
    with pytest.raises(ValueError, match="UNCERT is of kind 'UnknownUncertainty', which is not understood"):
        read(file_of(unknown))


def test_masks_of_bits_in_objects():
    flags = one_bit_each()
    meta = {"FILTER": "g", **named(LSST)}
    image = NDData(CCD.data, unit="nmgy", wcs=CCD.wcs, mask=flags, meta=meta)
    assert_array_equal(read(image).mask[0, 0, :9], LSST_BAD)
    assert_array_equal(np.flatnonzero(read(image, bad_planes="CR").mask[0, 0]), [3])
    plain = NDData(CCD.data, unit="nmgy", wcs=CCD.wcs, mask=flags > 0, meta={"FILTER": "g"})
    assert_array_equal(read(plain).mask[0], flags > 0)


# --- noise and weights


@pytest.mark.parametrize(
    ("name", "cards", "stored"),
    [
        ("ERR", {}, 2.0), ("SIGMA", {}, 2.0), ("rms", {}, 2.0), ("UNCERT", {"UTYPE": "StdDevUncertainty"}, 2.0),
        ("VARIANCE", {}, 4.0), ("VAR", {"BUNIT": "nmgy2"}, 4.0), ("UNCERT", {"UTYPE": "VarianceUncertainty"}, 4.0),
        ("IVAR", {}, 0.25), ("INVVAR", {"BUNIT": "1/nmgy^2"}, 0.25), ("WGT", {"DES_EXT": "WEIGHT"}, 0.25),
        ("NOISE_1", {"HDUCLAS2": "ERROR", "HDUCLAS3": "MSE"}, 4.0), ("STAT", {"HDUCLAS3": "RMSE"}, 2.0),
        ("ERR", {"BUNIT": "mgy"}, 2e-9),
        ("ERR", {"BUNIT": "nJy"}, 2 * 3630.78), ("VAR", {"BUNIT": "uJy2"}, 4 * 3.63078**2),
        ("", {"IMAGETYP": "INVVAR"}, 0.25), ("X", {"EXTTYPE": "VARIANCE"}, 4.0),
    ],
)  # fmt: skip
def test_noise(name, cards, stored):
    stack = read(file_of(fits.ImageHDU(np.full(SHAPE, stored), fits.Header(cards), name=name)))
    assert_allclose(stack.variance, 4.0, rtol=1e-6)
    assert stack.mask is None
    assert stack.meta["GTNOISE"].startswith(f"{name.upper()}: ")


@pytest.mark.parametrize("name", ["WHT", "WGT", "WEIGHT", "IVAR", "INVVAR"])
def test_weight_zero_is_bad(name):
    weight = np.full(SHAPE, 3.0, "f4")
    weight[2, 3], weight[4, 5], weight[6, 7] = 0, -1, np.nan
    stack = read(file_of(fits.ImageHDU(weight, name=name)))
    assert_array_equal(stack.mask[0], ~(weight > 0))
    assert (stack.variance is None) == name.startswith("W")  # a weight may be on a scale of its own


def test_noise_in_a_unit_that_is_not_the_image_s():
    error = fits.ImageHDU(np.ones(SHAPE), fits.Header([("BUNIT", "adu")]), name="ERR")
    with pytest.raises(ValueError, match=r"the uncertainty is in adu and the image in nmgy; convert one, or"):
        read(file_of(error))


def test_all_of_an_unexplained_mask(tmp_path):
    for mask in (fits.ImageHDU(np.ones(SHAPE, "u1"), name="MASK"), fits.ImageHDU(np.ones(SHAPE, "i2"), name="BPM")):
        with pytest.raises(ValueError, match=r"(MASK|BPM)\]: it calls all pixels bad"):
            read(file_of(mask))


def test_everything_at_once():
    weight, flags = np.ones(SHAPE), np.zeros(SHAPE, "i2")
    weight[0, 0], flags[1, 1] = 0, 4
    beside = [fits.ImageHDU(array, name=name) for array, name in ((weight, "WHT"), (flags, "DQ"), (weight + 1, "ERR"))]
    ignored = [fits.ImageHDU(np.ones(SHAPE), name=name) for name in ("VAR_POISSON", "SEGMAP", "BKG", "CON")]
    stack = read(file_of(*ignored, *beside))
    assert_array_equal(np.argwhere(stack.mask[0]), [[0, 0], [1, 1]])
    assert_allclose(stack.variance[0], (weight + 1) ** 2)


def test_what_is_not_understood_is_named():
    unknown = fits.ImageHDU(np.ones(SHAPE), name="NEXP")
    with pytest.warns(
        GaltransWarning, match=r"2 NEXP of the image is not understood and not used; pass it as mask= or"
    ):
        read(file_of(unknown))
    with pytest.warns(GaltransWarning, match=r"2 DQ\] has shape \(3, 4\), the image \(12, 15\): not used"):
        assert read(file_of(fits.ImageHDU(np.ones((3, 4), "i2"), name="DQ"))).mask is None
    read(file_of(fits.ImageHDU(np.ones(7), name="SKYLINE"), fits.ImageHDU(np.ones((5, 5)), name="STAMP")))


# --- several images in a file


def chips(**cards):
    """Two detectors of one exposure: SCI, DQ and ERR with versions, the filter in the primary header."""
    hdus = [fits.PrimaryHDU(header=fits.Header([("FILTER", "F814W")]))]
    for chip in (1, 2):
        dq = np.zeros(SHAPE, "i2")
        dq[chip, chip] = 1
        sci = image_hdu(data=CCD.data + chip, **cards)
        hdus += [sci, fits.ImageHDU(np.full(SHAPE, float(chip)), name="ERR"), fits.ImageHDU(dq, name="DQ")]
        for hdu in hdus[-3:]:
            hdu.ver = chip
    return fits.HDUList(hdus)


def test_several_detectors_are_listed(tmp_path):
    path = tmp_path / "flc.fits"
    chips().writeto(path)
    for image in (path, chips()):
        with pytest.raises(
            ValueError, match=r"2 images, such as one per detector.*1 SCI,1; 4 SCI,2; .*'file.fits\[SCI,1\]'"
        ):
            read(image)


@pytest.mark.parametrize(("extension", "chip"), [("SCI,1", 1), ("SCI,2", 2), ("4", 2), ("1", 1)])
def test_companions_of_the_chip_that_is_chosen(extension, chip, tmp_path):
    chips().writeto(tmp_path / "flc.fits")
    stack = read(f"{tmp_path}/flc.fits[{extension}]")
    assert stack.bands == ("F814W",)
    assert_array_equal(stack.data[0], CCD.data + chip)
    assert_allclose(stack.variance, chip**2)
    assert_array_equal(np.argwhere(stack.mask[0]), [[chip, chip]])


@pytest.mark.parametrize("layout", ["numbers", "order", "ccdnum", "grouped", "filter"])
def test_companions_without_versions(layout, tmp_path):
    hdulist = chips()
    for index, hdu in enumerate(hdulist[1:]):
        chip = index // 3 + 1
        del hdu.header["EXTVER"]
        if layout == "numbers":
            hdu.name += str(chip)
        elif layout == "ccdnum":
            hdu.header["CCDNUM"] = chip
        elif layout == "filter":  # which tells none of them apart
            hdu.header["FILTER"] = "F814W"
    if layout == "grouped":
        hdulist = fits.HDUList([hdulist[k] for k in (0, 1, 4, 2, 5, 3, 6)])
    elif layout in {"numbers", "ccdnum"}:
        hdulist = fits.HDUList([hdulist[k] for k in (0, 6, 5, 1, 4, 2, 3)])
    hdulist.writeto(tmp_path / "mef.fits")
    for place, hdu in enumerate(hdulist):
        if hdu.name.startswith("SCI"):
            chip = round(float(hdu.data[0, 0] - CCD.data[0, 0]))
            stack = read(f"{tmp_path}/mef.fits[{place}]")
            assert_allclose(stack.variance, chip**2)
            assert_array_equal(np.argwhere(stack.mask[0]), [[chip, chip]])


def test_chips_that_each_name_the_filter():
    hdus = [image_hdu(f"CCD{chip}", FILTER="g") for chip in (1, 2)]
    with pytest.raises(ValueError, match=r"band 'g' comes twice, .*pass one at a time, as 'file.fits\[1\]'"):
        read(fits.HDUList([fits.PrimaryHDU(), *hdus]))


def test_unnamed_images_are_bands_if_the_caller_says_so():
    hdulist = fits.HDUList([fits.PrimaryHDU(), *(image_hdu("", CCD.data + k) for k in range(2))])
    with pytest.raises(ValueError, match="2 images, such as one per detector"):
        read(hdulist)
    assert_array_equal(read(hdulist, "gr").data, [CCD.data, CCD.data + 1])


def test_empty_extensions_are_passed_over():
    hdulist = file_of()
    hdulist.insert(1, fits.ImageHDU(name="EMPTY"))
    hdulist.insert(1, fits.ImageHDU(np.zeros((0, 4)), name="NOTHING"))
    assert_array_equal(read(hdulist).data[0], CCD.data)


@pytest.mark.parametrize("look", [lambda hdus: hdus, lambda hdus: hdus.info(0) and hdus, lambda hdus: hdus[1]])
def test_closed_file(look, tmp_path):
    file_of().writeto(tmp_path / "g.fits")
    with fits.open(tmp_path / "g.fits") as hdulist:
        image = look(hdulist)
    with pytest.raises(ValueError, match=r"was closed before its pixels were read; pass its path, .*g\.fits"):
        read(image)


def test_flags_of_an_object_are_not_dropped_in_silence():
    image = CCDData(CCD, flags=np.eye(*SHAPE, dtype=int))
    with pytest.warns(GaltransWarning, match="has flags, which are not used; pass them as its mask"):
        assert read(image).mask is None
    read(CCDData(CCD, flags=np.zeros(SHAPE, int)))


@pytest.mark.parametrize("url", ["https://example.org/image.fits", "s3://bucket/image.fits"])
def test_url(url):
    with pytest.raises(ValueError, match="is a URL; download the file first"):
        read(url)


def test_the_package_s_own_files(tmp_path):
    ccd = CCDData(CCD, mask=np.ones(SHAPE, bool))
    ccd.mask[5:7, 5:9] = False  # 96 % masked, and known to be so when it is read again
    write_fits(ccd, tmp_path / "g.fits")
    assert_array_equal(read(tmp_path / "g.fits").mask[0], ccd.mask)

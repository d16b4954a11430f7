"""
Every kind of file that once gave a wrong answer, tried on every command that reads such files.

A command sees a spoilt file as the same file whose bad pixels are NaN, or ends in an error that names the cause and
leaves nothing behind, or gives a warning; it never gives another answer in silence.
"""

import json
import re
import shutil
from contextlib import nullcontext
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_allclose, assert_array_equal
from toy_network import ToyTranslator, toy_card

from astro_galtrans import cutout
from astro_galtrans.bandstack import read
from astro_galtrans.batch import translate_file, translate_files
from astro_galtrans.check import describe_image
from astro_galtrans.cli import main
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.models.checkpoint import Checkpoint
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.pairs.observed.frames import open_frames
from astro_galtrans.pairs.store import HEADER_FILE, PairHeader, PairWriter
from astro_galtrans.stamps import Stamps
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator
from helpers import SKY_RMS, galaxy, make_wcs

h5py = pytest.importorskip("h5py")
pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

MODEL = "swin-sdss-cfhtls"
SHAPE, RMS = (64, 64), SKY_RMS["r"]
TRUTH = (galaxy(SHAPE, 40) + np.random.default_rng(1).normal(0, RMS, SHAPE)).astype("f4")  # nanomaggy
BAD = np.zeros(SHAPE, bool)
BAD[40:42, 12] = True
NONE = np.zeros(SHAPE, bool)


@cache
def translator():
    model = ToyTranslator.from_preset("tiny", ("r",), ("r",), 2).eval()
    return Translator(Checkpoint(model, toy_card("r"), "0" * 64))


# -- commands: the flux that they see, and the pixels that they do not use


def by_translate(path, folder):
    translate_file([path], translator(), folder / "out.fits", progress=False)
    stack = read(folder / "out.fits")
    return stack.data[0], np.zeros(stack.data[0].shape, bool) if stack.mask is None else stack.mask[0]


def by_batch(path, folder):
    (folder / "in").mkdir()
    shutil.copy(path, folder / "in" / "image.fits")
    failures = translate_files([folder / "in"], translator(), folder / "many", progress=False)
    if failures:
        raise ValueError(failures["image"])
    stack = read(folder / "many" / "image.fits")
    return stack.data[0], np.zeros(stack.data[0].shape, bool) if stack.mask is None else stack.mask[0]


def by_pairs(path, _folder):
    frames = open_frames([str(path)], "r", progress=False)
    data, _, mask = frames.pixels(frames.frames[0])
    factor = 10 ** (0.4 * (22.5 - frames.frames[0].zeropoint))
    return factor * data, ~np.isfinite(data) | (False if mask is None else mask)


def by_fidelity(path, folder):
    (folder / "stamps").mkdir()
    shutil.copy(path, folder / "stamps" / "0.fits")
    stamps = Stamps.from_files(folder / "stamps", get_survey("sdss").select("r"))
    return stamps.read()[0, 0], stamps.bad()[0, 0] | ~np.isfinite(stamps.read()[0, 0])


def by_cutout(path, _folder):
    stamp = cutout([path], make_wcs(SHAPE).pixel_to_world(31.5, 31.5), 64)["r"]
    factor = 10 ** (0.4 * (22.5 - stamp.meta["MAGZERO"]))
    return factor * stamp.data, ~np.isfinite(stamp.data) | (False if stamp.mask is None else stamp.mask)


def by_check(path, _folder):
    row = next(line for line in describe_image(path).splitlines() if line.startswith("r "))
    return np.zeros((1, 1)), np.array([[float(row.split()[1].rstrip("%"))]])


COMMANDS = {f.__name__[3:]: f for f in (by_translate, by_batch, by_pairs, by_fidelity, by_cutout, by_check)}
#: Stamps need no WCS, have the unit of their survey, and may be without a galaxy; so may frames.
NO_MATTER = {
    "fidelity": {
        "WCS as text", "WCS of a word", "frame that nobody knows", "frame in small letters", "place off the sky",
        "no unit", "nothing but NaN", "one value", "two filters",
    },
    "pairs": {"one value", "two filters"},  # its bands are named, which a warning tells
    "cutout": {"one value"}, "check": {"one value"},
}  # fmt: skip


# -- kinds of files


def image(data=TRUTH, **cards):
    header = make_wcs(SHAPE).to_header()
    header.update({"FILTER": "r", "BUNIT": "nanomaggy"} | cards)
    header = fits.Header([card for card in header.cards if card.value is not None])
    return fits.PrimaryHDU(data.astype("f4") if data.dtype.kind == "f" else data, header)


def beside(name, data, **cards):
    return fits.HDUList([image(), fits.ImageHDU(data, fits.Header(list(cards.items())), name=name)])


def counts(zeropoint, **cards):
    return image(TRUTH * np.float32(10 ** (0.4 * (zeropoint - 22.5))), **{"BUNIT": "adu"} | cards)


def asinh_pixels():
    a, soften = 2.5 * np.log10(np.e), 3.0
    return image(a * np.arcsinh(TRUTH / (2 * soften)), BUNIT=None, BSOFTEN=soften, BOFFSET=0.0, MAGZERO=22.5)


def integers():
    scaled = np.round(TRUTH.astype(float) * 1e5)
    hdu = image(np.where(BAD, -2147483648, scaled).astype("i4"), BLANK=-2147483648)
    hdu.header["BSCALE"] = 1e-5
    return hdu


def several_chips():
    chips = [fits.ImageHDU(TRUTH, image(FILTER=None).header, name="SCI", ver=k) for k in (1, 2)]
    return fits.HDUList([fits.PrimaryHDU(header=fits.Header([("FILTER", "r")])), *chips])


def behind_an_empty_extension():
    hdu = image()
    science = fits.ImageHDU(hdu.data, hdu.header, name="SCI")
    return fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(name="EMPTY"), science])


def good_is_one():
    return beside("MASK", (~BAD).astype("u1"), GOODVAL=1)


def noise(values, **cards):
    return beside("UNCERT", values.astype("f4"), **cards)


STD = np.full(SHAPE, RMS)
PLANES = {"MP_BAD": 0, "HIERARCH MP_DETECTED": 5}
#: kind: the file, the pixels that are bad, the warning, the error
KINDS = {
    "planes by name": (beside("MASK", np.where(BAD, 1, 0) | np.where(TRUTH > 0.2, 32, 0), **PLANES), BAD, None, None),
    "data quality": (beside("DQ", BAD.astype("i2")), BAD, None, None),
    "weight zero": (beside("WHT", np.where(BAD, 0, 7.0)), BAD, None, None),
    "confidence zero": (beside("CONF", np.where(BAD, 0, 100)), BAD, None, None),
    "one is good": (good_is_one(), BAD, None, None),
    "one may be good": (beside("MASK", (~BAD).astype("u1")), None, None, "bad_planes='zero'"),
    "all is bad": (beside("MASK", np.ones(SHAPE, "i4"), **PLANES), None, None, "calls all pixels bad"),
    "values without names": (beside("DQ", np.where(BAD, 6, 0)), BAD, None, None),
    "not understood": (beside("WOBBLE", STD), NONE, "WOBBLE of .* is not understood and not used", None),
    "asinh": (asinh_pixels(), NONE, None, None),
    "magnitudes of Vega": (counts(25, MAGZERO=25.0, PHOTSYS="VEGA"), None, None, "not in the AB system"),
    "per second": (counts(25 + 2.5, MAGZPT=25.0, EXPTIME="10.0"), NONE, None, None),
    "per second, no time": (counts(25, MAGZPT=25.0), None, None, "exposure time is not known"),
    "zero points disagree": (counts(25, MAGZERO=25.0, PHOTZP=26.0), None, None, "zero points disagree"),
    "no zero point": (counts(25), None, None, "no zero point"),
    "no unit": (image(BUNIT=None), None, None, "no unit"),
    "surface brightness": (image(BUNIT="MJy/sr"), None, None, "surface brightness"),
    "zero point as text": (counts(25, MAGZERO="25.0"), NONE, None, None),
    "zero point of a word": (counts(25, MAGZERO=True), None, None, "must be a finite AB magnitude, got True"),
    "WCS as text": (image(CRVAL1=" 351.6 "), NONE, None, None),
    "WCS of a word": (image(CRVAL1="23:26:24"), None, None, "CRVAL1 must hold a number"),
    "frame that nobody knows": (image(RADESYS="FK7"), None, None, "RADESYS"),
    "frame in small letters": (image(RADESYS="fk5"), NONE, None, None),
    "place off the sky": (image(CRVAL1=1e30), None, None, "none on the sky"),
    "two filters": (image(FILTER=None, FILTER1="g", FILTER2="r"), None, None, "name different bands"),
    "zero point of no image": (counts(25, MAGZERO=-1e9), None, None, "which no image has"),
    "unit with its pixel": (image(BUNIT="nanomaggies/pixel"), NONE, None, None),
    "noise of zero": (noise(np.zeros(SHAPE)), NONE, "zero everywhere, which says nothing", None),
    "undefined integers": (integers(), BAD, None, None),
    "several detectors": (several_chips(), None, None, r"holds 2 images.*file.fits\[SCI,1\]"),
    "empty extensions": (behind_an_empty_extension(), NONE, None, None),
    "marks for no data": (image(np.where(BAD, -9999, TRUTH)), BAD, "2 pixels of -9999: usual marks", None),
    "beyond all numbers": (image(np.where(BAD, 3e38, TRUTH)), BAD, "2 pixels beyond 1e\\+20", None),
    "noise that means bad": (noise(np.where(BAD, 1e20, STD)), BAD, "so large that they can only mark bad", None),
    "negative noise": (noise(np.where(BAD, -1, STD)), BAD, "2 values of the uncertainty are negative", None),
    "noise of no kind": (noise(STD, UTYPE="Wobble"), None, None, "kind 'Wobble', which is not understood"),
    "noise in another unit": (noise(STD, BUNIT="K"), None, None, "the uncertainty is in K"),
    "nothing but NaN": (image(np.full(SHAPE, np.nan)), None, None, "no pixel is finite"),
    "one value": (image(np.full(SHAPE, 3.0)), None, None, "there is no image in it"),
    "a table": (fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(np.ones(3, [("x", "f4")]))]), None, None, "no image"),
}  # fmt: skip


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What a command sees of the file whose bad pixels are NaN."""

    @cache
    def seen(command, bad):
        folder = tmp_path_factory.mktemp("usual")
        image(np.where(np.frombuffer(bad, bool).reshape(SHAPE), np.nan, TRUTH)).writeto(folder / "image.fits")
        return COMMANDS[command](folder / "image.fits", folder)

    return seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_images(command, kind, usual, tmp_path):
    file, bad, warning, error = KINDS[kind]
    file.writeto(tmp_path / "image.fits")
    if kind in NO_MATTER.get(command, ()):
        pytest.skip("no matter to this command")
    if error:
        with pytest.raises((ValueError, OSError), match=error):
            COMMANDS[command](tmp_path / "image.fits", tmp_path)
        assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {"image.fits", "0.fits"}
        return
    with pytest.warns(GaltransWarning, match=warning) if warning else nullcontext():
        data, unused = COMMANDS[command](tmp_path / "image.fits", tmp_path)
    expected, lost = usual(command, bad.tobytes())
    assert_array_equal(unused, lost)
    assert_allclose(data[lost == 0], expected[lost == 0], rtol=2e-5, atol=2e-5 * np.nanmax(expected))


# -- stores of pairs


def spoil(dataset, value, part=...):
    """Put a value into all images of one kind, or into some pixels of them."""

    def change(folder):
        for path in folder.glob("shard-*.h5"):
            with h5py.File(path, "a") as file:
                images = file[dataset][()]
                images[part] = value
                file[dataset][...] = images

    return change


def spoil_header(**entries):
    def change(folder):
        path = folder / HEADER_FILE
        content = json.loads(path.read_text())
        for key, value in entries.items():
            place = content["source"] if key == "name" else content
            place[key] = value
        path.write_text(json.dumps(content))

    return change


def link_elsewhere(folder):
    with h5py.File(folder / "shard-00000.h5", "a") as file:
        del file["target"]
        file["target"] = h5py.ExternalLink("/etc/hostname", "x")


def no_redshifts(folder):
    for path in folder.glob("shard-*.h5"):
        with h5py.File(path, "a") as file:
            rows = file["table"][()]
            rows["z"] = np.nan
            file["table"][...] = rows


STORES = {
    "links": (link_elsewhere, "target is a link .* which is not followed"),
    "nothing but NaN": (spoil("source", np.nan), "source band u, no pixel is finite"),
    "one value": (spoil("target", 0), "target band u, all pixels are 0"),
    "beyond all numbers": (spoil("source", 3e38, (..., 0, 0)), r"source band u, pixels reach 3e\+38"),
    "a name that leads elsewhere": (spoil_header(name="../../elsewhere"), "the name of a survey is '../../elsewhere'"),
    "a later version": (spoil_header(format_version=99), "format 99"),
    "another size": (spoil_header(size=10**9), "this store's format says"),
    "no store": (lambda folder: (folder / HEADER_FILE).unlink(), f"no {HEADER_FILE}"),
    "no redshifts": (no_redshifts, "none of the 80 pairs in .* has a redshift in its column 'z'"),
}  # fmt: skip
READERS = {
    "train": lambda store, out: ["train", "swin", str(store), "-o", str(out), "--steps", "1", "--device", "cpu"],
    "calibrate": lambda store, out: ["calibrate", MODEL, str(store), "-o", f"{out}.safetensors"],
    "fidelity": lambda store, out: ["fidelity", str(store), "-o", str(out), "-m", MODEL, "--skip", "morphology"],
    "redshift": lambda store, out: ["redshift", str(store), "-o", str(out), "-m", MODEL],
}


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory):
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("pairs") / "whole"
    with PairWriter(folder, PairHeader(get_survey("sdss"), get_survey("cfhtls-wide"), 2, 16), shard=40) as writer:
        for index in range(80):
            images = [rng.normal(0, 1, (5, side, side)).astype("f4") for side in (16, 32)]
            part = ("train", "train", "validation", "test")[index % 4]
            row = {"index": index, "kind": "galaxy", "z": 0.1 + index / 200, "split": part}
            writer.add(*images, row, signal=np.ones((5, 32, 32), bool))
    return folder


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("command", READERS)
def test_stores(command, kind, whole_store, tmp_path, capsys):
    if kind == "no redshifts" and command != "redshift":
        pytest.skip("no matter to this command")
    store = shutil.copytree(whole_store, tmp_path / "store")
    change, error = STORES[kind]
    change(store)
    assert main(READERS[command](store, tmp_path / "out")) == 1
    assert re.search(error, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


# -- files of translators

WEIGHTS = {
    "cut": (lambda whole: whole[:-1000], "truncated or damaged"),
    "text": (lambda _: b"not weights at all " * 50, "not a safetensors file"),
    "damaged": (lambda whole: whole[:-5000] + bytes(1000) + whole[-4000:], "the weights do not match their checksum"),
    "edited": (lambda whole: whole.replace(b"0.396", b"0.496", 1), "the card does not match its checksum"),
    "absent": (lambda _: None, "there is no translator file"),
}
USERS = {
    "translate": lambda it, image, _store, out: ["translate", image, "-m", it, "-o", f"{out}.fits"],
    "batch": lambda it, image, _store, out: ["translate", image, "-m", it, "-o", f"{out}/"],
    "check": lambda it, image, _store, _out: ["check", image, "-m", it],
    "info": lambda it, _image, _store, _out: ["info", it],
    "train": lambda it, _image, store, out: ["train", "swin", store, "-o", out, "--init", it, "--device", "cpu"],
    "calibrate": lambda it, _image, store, out: ["calibrate", it, store, "-o", f"{out}.safetensors"],
    "fidelity": lambda it, _image, store, out: ["fidelity", store, "-o", out, "-m", it, "--skip", "morphology"],
    "redshift": lambda it, _image, store, out: ["redshift", store, "-o", out, "-m", it],
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("command", USERS)
def test_weights(command, kind, whole_store, tmp_path, capsys):
    if (command, kind) in {("check", "damaged"), ("info", "damaged")}:
        pytest.skip("this command reads the card only")
    change, error = WEIGHTS[kind]
    content = change(find_weights(MODEL).read_bytes())
    if content is not None:
        (tmp_path / "it.safetensors").write_bytes(content)
    image().writeto(tmp_path / "image.fits")
    before = sorted(tmp_path.iterdir())
    names = [tmp_path / "it.safetensors", tmp_path / "image.fits", whole_store, tmp_path / "out"]
    assert main(USERS[command](*map(str, names))) == 1
    said = capsys.readouterr()
    assert error in said.err + said.out
    assert sorted(tmp_path.iterdir()) == before


# -- settings without sense

SETTINGS = {
    "translate": ["--tile 0", "--n-samples 0", "--seed -1", "--zeropoint nan", "--subtract-background 3"],
    "batch": ["--device toaster"],
    "simulate": ["-n 0", "--size 7", "--scale 0", "--workers -1", "--seed -1", "--source-bands q"],
    "pairs": [
        "--scale 0", "--scale 17", "--size 7", "--faint nan", "--blank -1", "--search 0", "--search nan",
        "--max-offset -1", "--cell 0", "--cell nan", "--source-bands q", "--catalogue /nowhere.ecsv",
    ],
    "train": ["--hours -1", "--hours nan", "--steps 0", "--devices 0", "--precision 8-bit", "--number -1"],
    "calibrate": ["--n-samples 0"],
    "fidelity": ["--n-samples 0", "--bins 0", "--number 0", "--seed -1", "--source-fwhm -1"],
    "redshift": [
        "--n-samples 0", "--bins 0", "--number 0", "--number 24", "--epochs 0", "--epochs -1", "--members 0",
        "--crop 7", "--floor 1", "--floor nan", "--z nowhere", "--seed -1",
    ],
    "zspec": ["--z-max -1", "--z-max nan"],
}  # fmt: skip
#: What messages call a setting that they do not call by its option.
CALLED = {
    "n": "number", "source-fwhm": "psf", "source-bands": "band", "subtract-background": "background",
    "catalogue": "nowhere", "z-max": "z_range", "z": "nowhere", "size": "size|small",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.DomainWarning")
@pytest.mark.parametrize(("command", "setting"), [(name, text) for name, texts in SETTINGS.items() for text in texts])
def test_settings(command, setting, whole_store, tmp_path, capsys):
    pytest.importorskip("galsim")
    image(np.stack([TRUTH] * 5), FILTER=None, BANDS="u,g,r,i,z").writeto(tmp_path / "image.fits")
    frame, out = str(tmp_path / "image.fits"), tmp_path / "out"
    commands = {
        "simulate": ["simulate", str(out)], "zspec": ["zspec", frame, "-o", f"{out}.ecsv"],
        "pairs": ["pairs", str(out), "--source", frame, "--target", frame],
        **{name: make(whole_store, out) for name, make in READERS.items()},
        **{name: make(MODEL, frame, whole_store, str(out)) for name, make in USERS.items() if name not in READERS},
    }  # fmt: skip
    assert main(commands[command] + setting.split()) == 1
    name = setting.split()[0].strip("-")
    assert re.search(CALLED.get(name, name.replace("-", "[-_ ]")), capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["image.fits"]

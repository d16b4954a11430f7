"""Files of spectra, and catalogues of their redshifts."""

import bz2
import gzip
import lzma

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import StdDevUncertainty
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.exceptions import AstropyWarning

from helpers import shared_data

specutils = pytest.importorskip("specutils", minversion="2.0")
from specutils import Spectrum  # noqa: E402

from astro_galtrans import spectra  # noqa: E402
from astro_galtrans._locks import locked  # noqa: E402
from astro_galtrans.cli import main  # noqa: E402
from astro_galtrans.exceptions import GaltransWarning  # noqa: E402
from astro_galtrans.spectra.samples import samples  # noqa: E402

FLUX = u.Unit("1e-17 erg / (s cm2 Angstrom)")
WAVELENGTH = np.arange(3600.0, 9800.0, 2.0)
# specutils leaves files open where they are not what a reader expects
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def flux_at(z, seed=0, wavelength=WAVELENGTH):
    flux = np.full(len(wavelength), 3.0)
    for line, strength in ((3728.5, 12), (4862.69, 9), (4960.30, 8), (5008.24, 24), (6564.61, 27)):
        flux += strength * np.exp(-0.5 * ((wavelength / (1 + z) - line) / (line * 130 / 299792.458)) ** 2)
    return flux + np.random.default_rng(seed).normal(0, 1, len(wavelength))


def write(path, z, seed=0):
    """A file of the kind that specutils writes, with a position."""
    sigma = StdDevUncertainty(np.ones(len(WAVELENGTH)))
    meta = {"header": fits.Header({"RA": 10.0 + z, "DEC": -5.0})}
    spectrum = Spectrum(flux=flux_at(z, seed) * FLUX, spectral_axis=WAVELENGTH * u.AA, uncertainty=sigma, meta=meta)
    spectrum.write(path, format="tabular-fits")
    return path


@pytest.fixture
def folder(tmp_path):
    for k, z in enumerate((0.1, 0.25, 0.4)):
        write(tmp_path / f"galaxy-{k}.fits", z, seed=k)
    return tmp_path


def test_catalogue_of_a_folder(folder):
    table = spectra.catalogue(folder, folder / "z.ecsv", progress=False)
    np.testing.assert_allclose(table["z_spec"], [0.1, 0.25, 0.4], atol=2e-4)
    assert (table["flag"] == 0).all()
    np.testing.assert_allclose(table["ra"].to_value(u.deg), [10.1, 10.25, 10.4])
    again = QTable.read(folder / "z.ecsv")
    assert again.colnames == table.colnames
    np.testing.assert_array_equal(again["z_spec"], table["z_spec"])
    assert again["z_spec"].info.description


def test_catalogue_goes_on_where_it_stopped(folder):
    files = sorted(folder.glob("*.fits"))
    output = folder / "z.ecsv"
    first = spectra.catalogue(files[:2], output, progress=False)
    first["sn"] = [11.0, 12.0]  # a mark of what was there before
    first.write(output, overwrite=True)
    whole = spectra.catalogue(folder, output, progress=False)
    np.testing.assert_array_equal(whole["z"][:2], first["z"])
    np.testing.assert_array_equal(whole["sn"][:2], [11, 12])
    assert abs(whole["z"][2] - 0.4) < 2e-4
    assert list(whole["file"]) == list(map(str, files))
    for other in ({"z_range": (0, 0.5)}, {"file_format": "tabular-fits"}):
        with pytest.raises(ValueError, match="measured with"):
            spectra.catalogue(folder, output, **other, progress=False)


def test_a_spectrum_that_changed_is_measured_again(folder):
    first = spectra.catalogue(folder, folder / "z.ecsv", progress=False)
    (folder / "galaxy-1.fits").unlink()
    write(folder / "galaxy-1.fits", 0.15, seed=7)
    again = spectra.catalogue(folder, folder / "z.ecsv", progress=False)
    again.sort("file")
    np.testing.assert_allclose(again["z"], [0.1, 0.15, 0.4], atol=2e-4)
    np.testing.assert_array_equal(again["z"] == first["z"], [True, False, True])


def test_packed_spectra_are_checked_as_images_are(folder):
    path, whole = folder / "galaxy-0.fits", (folder / "galaxy-0.fits").read_bytes()
    for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress)):
        packed = path.with_suffix(f".fits.{suffix}")
        packed.write_bytes(pack(whole))
        flux = spectra.read(packed)[0].arms[0].flux
        np.testing.assert_array_equal(flux, spectra.read(path)[0].arms[0].flux)
        lies = whole.replace(b"NAXIS2  =                 3100", b"NAXIS2  =           2147483647")
        assert lies != whole
        packed.write_bytes(pack(lies))
        with pytest.raises(ValueError, match=r"galaxy-0.*truncated"):
            spectra.read(packed)
        packed.write_bytes(pack(whole)[:-100])
        with pytest.raises(ValueError, match=r"galaxy-0.*truncated"):
            spectra.read(packed)
        packed.write_bytes(pack(whole) + 600 * pack(bytes(2**20)))
        with pytest.raises(ValueError, match="unpacks to more than 537 MB"):
            spectra.read(packed)
    (folder / "a.fits.xz").write_bytes(lzma.compress(whole))
    with pytest.raises(ValueError, match="packed by xz"):
        spectra.read(folder / "a.fits.xz")


def test_one_writer_to_a_catalogue(folder):
    with locked(folder, "z.ecsv"), pytest.raises(OSError, match="is being written to by process"):
        spectra.catalogue(folder, folder / "z.ecsv", progress=False)
    assert not (folder / "z.ecsv").exists()


def test_damaged_files_are_reported_and_passed_over(folder):
    good = (folder / "galaxy-0.fits").read_bytes()
    (folder / "cut.fits").write_bytes(good[: len(good) // 2])
    (folder / "nonsense.fits").write_bytes(b"this is not FITS at all" * 500)
    masked = Spectrum(flux=np.ones(500) * np.nan * FLUX, spectral_axis=np.linspace(4000, 8000, 500) * u.AA)
    masked.write(folder / "masked.fits", format="tabular-fits")
    with pytest.warns(GaltransWarning, match=r"3 of 6 spectra could not be measured: .*cut\.fits.*cut short"):
        table = spectra.catalogue(folder, progress=False)
    failed = table[table["flag"] == spectra.Flag.UNREADABLE]
    assert len(failed) == 3
    assert np.isnan(failed["z_spec"]).all() and np.isnan(failed["z"]).all()
    notes = dict(zip([str(f).rpartition("/")[2] for f in failed["file"]], failed["note"], strict=True))
    assert "cut.fits" in notes["cut.fits"] and "nonsense.fits" in notes["nonsense.fits"]
    assert "only 0 of 500 pixels" in notes["masked.fits"]
    assert np.isfinite(table["z_spec"]).sum() == 3


def test_flagged_redshifts_are_not_z_spec(tmp_path):
    noise = 3 + np.random.default_rng(2).normal(0, 1, len(WAVELENGTH))
    sigma = StdDevUncertainty(np.ones(len(noise)))
    spectrum = Spectrum(flux=noise * FLUX, spectral_axis=WAVELENGTH * u.AA, uncertainty=sigma)
    spectrum.write(tmp_path / "noise.fits", format="tabular-fits")
    table = spectra.catalogue(tmp_path, progress=False)
    assert table["flag"][0] != 0
    assert np.isnan(table["z_spec"][0]) and np.isfinite(table["z"][0])


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no FITS file"):
        spectra.catalogue(tmp_path, progress=False)
    with pytest.raises(FileNotFoundError, match="matches no file"):
        spectra.catalogue(tmp_path / "*.fits", progress=False)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.fits"):
        spectra.catalogue(tmp_path / "gone.fits", progress=False)
    with pytest.raises(FileNotFoundError, match=r"gone\.fits"):
        spectra.read(tmp_path / "gone.fits")


def test_desi_files_have_many_targets_in_three_arms(tmp_path):
    arms = {"B": np.arange(3600.0, 5800, 0.8), "R": np.arange(5760.0, 7620, 0.8), "Z": np.arange(7520.0, 9824, 0.8)}
    redshifts = 0.15, 0.35
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["INFIL000"] = "cframe-b0.fits"  # by this specutils knows a coadd
    fibres = Table({"TARGETID": [39627, 39628], "TARGET_RA": [150.1, 150.2], "TARGET_DEC": [2.1, 2.2]})
    hdus += [fits.BinTableHDU(fibres, name="FIBERMAP"), fits.BinTableHDU(Table({"TARGETID": [1, 2]}), name="SCORES")]
    for arm, wavelength in arms.items():
        flux = np.stack([flux_at(z, seed=k, wavelength=wavelength) for k, z in enumerate(redshifts)])
        unit = "10**-17 erg/(s cm2 Angstrom)"
        for name, values, bunit in (
            ("WAVELENGTH", wavelength, "Angstrom"),
            ("FLUX", flux.astype("f4"), unit),
            ("IVAR", np.ones_like(flux, "f4"), "10**34 (s2 cm4 Angstrom2) / erg2"),
            ("MASK", np.zeros(flux.shape, "i4"), ""),
        ):
            hdus.append(fits.ImageHDU(values, name=f"{arm}_{name}"))
            hdus[-1].header["BUNIT"] = bunit
    fits.HDUList(hdus).writeto(tmp_path / "coadd-main-dark-1.fits")
    targets = spectra.read(tmp_path / "coadd-main-dark-1.fits")
    assert [(t.name, t.ra, len(t.arms)) for t in targets] == [("39627", 150.1, 3), ("39628", 150.2, 3)]
    table = spectra.catalogue(tmp_path, progress=False)
    np.testing.assert_allclose(table["z_spec"], redshifts, atol=1e-4)
    assert list(table["medium"]) == ["vacuum", "vacuum"]


def test_sdss_masks_only_what_is_bad():
    path = shared_data("sdss_spectra", "spec-2515-54180-0377.fits")
    target = spectra.read(path)[0]
    with fits.open(path) as hdus:
        assert ((hdus[1].data["and_mask"] != 0).mean()) > 0.4  # a bad column of the CCD, said of half the spectrum
        assert target.ra == pytest.approx(hdus[0].header["PLUG_RA"])
    assert target.arms[0].mask.mean() < 0.01


def test_sdss_wavelengths_are_those_of_the_table():
    path = shared_data("sdss_spectra", "spec-2515-54180-0377.fits")
    with fits.open(path) as hdus:
        wavelength, first = 10.0 ** hdus[1].data["loglam"], 10 ** hdus[0].header["COEFF0"]
    np.testing.assert_allclose(spectra.read(path)[0].arms[0].spectral_axis.to_value(u.AA), wavelength, rtol=1e-7)
    assert wavelength[0] / first > 1.001  # the header's start is that of the plate, whose empty pixels were left out


SDSS_CARDS = {"TELESCOP": "SDSS 2.5-M", "RA": 261.30167, "DEC": 60.926492, "COEFF0": 3.58, "COEFF1": 1e-4, "DC-FLAG": 1}
SDSS_CARDS |= {"CRVAL1": 3.58, "CD1_1": 1e-4, "CRPIX1": 1, "BUNIT": "1.0E-17 erg/cm/s/Ang", "MJD": 52000, "PLATEID": 1}
SDSS_WAVELENGTH = 10 ** (3.58 + 1e-4 * np.arange(3850))  # read_spSpec: pixels are counted from zero


def write_spspec(path, flux, rows, **cards):
    """A spectrum as SDSS-I and -II distributed it (classic.sdss.org, "Reading individual spectrum files")."""
    image = np.zeros((rows, len(flux)), "f4")
    image[0], image[2] = flux, 1
    image[2, 50] = 0  # pixels without data
    image[3, 60:80] = 1 << 23  # BRIGHTSKY
    image[3, 100:2000] = 1 << 16  # NEARBADPIXEL
    tables = [fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[0.0])]) for _ in range(6)]
    header = fits.Header(SDSS_CARDS | {"FIBERID": 1} | cards)
    fits.HDUList([fits.PrimaryHDU(image, header), *tables]).writeto(path)


@pytest.mark.parametrize("rows", [4, 5])
def test_spectra_of_sdss_i_and_ii(tmp_path, rows):
    path = tmp_path / "spSpec-52000-0001-001.fit"
    write_spspec(path, flux_at(0.15, wavelength=SDSS_WAVELENGTH), rows, RAOBJ=260.1234, DECOBJ=60.5)
    target = spectra.read(path)[0]
    np.testing.assert_allclose(target.arms[0].spectral_axis.to_value(u.AA), SDSS_WAVELENGTH, rtol=1e-12)
    np.testing.assert_array_equal(np.flatnonzero(target.arms[0].mask), np.arange(60, 80))
    row = spectra.catalogue(path, progress=False)[0]
    assert abs(row["z_spec"] - 0.15) < 4 * row["z_err"] and row["z_err"] < 5e-5  # a pixel is 2.6e-4
    assert (row["ra"].to_value(u.deg), row["dec"].to_value(u.deg)) == (260.1234, 60.5)
    assert row["medium"] == "vacuum"


def test_the_plates_position_is_not_the_objects(tmp_path):
    path = tmp_path / "spSpec-52000-0001-001.fit"
    write_spspec(path, flux_at(0.15, wavelength=SDSS_WAVELENGTH), 5)
    assert np.isnan([spectra.read(path)[0].ra, spectra.read(path)[0].dec]).all()


def test_a_plate_of_sdss_has_a_target_per_fibre(tmp_path):
    flux = np.stack([flux_at(z, seed=k, wavelength=SDSS_WAVELENGTH) for k, z in enumerate((0.12, 0.31))] * 3)
    mask = np.zeros(flux.shape, "i4")
    mask[1, :200] = 1 << 24  # NODATA
    plugs = Table({"FIBERID": np.arange(1, 7), "RA": 10 + np.arange(6) / 10, "DEC": np.full(6, 3.0)})
    hdus = [fits.PrimaryHDU(flux.astype("f4"), fits.Header(SDSS_CARDS)), fits.ImageHDU(np.ones(flux.shape, "f4"))]
    hdus += [fits.ImageHDU(mask) for _ in range(3)] + [fits.BinTableHDU(plugs)]
    fits.HDUList(hdus).writeto(tmp_path / "spPlate-0001-52000.fits")
    targets = spectra.read(tmp_path / "spPlate-0001-52000.fits")
    assert [(t.name, t.ra, t.dec) for t in targets] == [(str(k + 1), 10 + k / 10, 3.0) for k in range(6)]
    assert [int(t.arms[0].mask.sum()) for t in targets] == [0, 200, 0, 0, 0, 0]
    for target, z in zip(targets[:2], (0.12, 0.31), strict=True):
        found = spectra.redshift(target.arms[0])
        assert abs(found.z - z) < 4 * found.uncertainty and found.medium == "vacuum"


def test_reading_does_not_warn_about_units(recwarn):
    spectra.read(shared_data("sdss_spectra", "spec-2515-54180-0377.fits"))
    assert not [w for w in recwarn if issubclass(w.category, AstropyWarning)]


def test_match_by_position():
    known = QTable({"file": ["a", "b", "c", "d"], "ra": [10, 10, 20, np.nan] * u.deg, "dec": [0, 0, 5, np.nan] * u.deg})
    known["z_spec"], known["z_err"] = [np.nan, 0.2, np.nan, 0.4], [1e-5, 2e-4, 1e-4, 1e-4]
    known["z"], known["flag"] = [0.9, 0.2, 0.3, 0.4], [1, 0, 2, 0]
    galaxies = Table({"ra": [10 + 0.5 / 3600, 20.0, 30.0], "dec": [0.0, 5.0, 0.0]})
    found = spectra.match(galaxies, known)
    np.testing.assert_array_equal(found["z_spec"], [0.2, np.nan, np.nan])  # of two, the one that is not flagged
    np.testing.assert_array_equal(found["z_flag"], [0, 2, -1])
    assert list(found["spectrum"]) == ["b", "c", ""]
    assert "z_spec" not in galaxies.colnames
    assert list(spectra.match(galaxies, known, 0.1 * u.arcsec)["z_flag"]) == [-1, 2, -1]


def test_command_line(folder, capsys):
    assert main(["zspec", str(folder), "-o", str(folder / "z.ecsv"), "--z-max", "0.5"]) == 0
    assert "3 of 3 spectra" in capsys.readouterr().out
    assert len(QTable.read(folder / "z.ecsv")) == 3


@pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")
def test_command_fails_if_no_spectrum_could_be_read(folder, tmp_path, capsys):
    good = folder / "galaxy-0.fits"
    cut = tmp_path / "cut.fits"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    for _ in ("measured", "taken from the catalogue"):
        assert main(["zspec", str(cut), "-o", str(tmp_path / "none.ecsv")]) == 1
        assert "0 of 1 spectra" in capsys.readouterr().out
    assert main(["zspec", str(cut), str(good), "-o", str(tmp_path / "one.ecsv")]) == 0
    assert "1 of 2 spectra" in capsys.readouterr().out


def test_rows_without_a_position_match_no_spectrum():
    """A masked entry is not the zero beneath its mask, where a spectrum may be."""
    known = QTable({"file": ["a", "b"], "ra": [150.0, 0.0] * u.deg, "dec": [2.0, 0.0] * u.deg, "flag": [0, 0]})
    known["z"], known["z_spec"], known["z_err"] = [0.3, 0.9], [0.3, 0.9], [1e-4, 1e-4]
    ra, dec = (MaskedColumn([value, 0.0, 0.0], mask=[False, True, False]) for value in (150.0, 2.0))
    galaxies = Table({"ra": ra, "dec": dec})
    with pytest.warns(GaltransWarning, match="without a spectrum: row 1 of 3"):
        found = spectra.match(galaxies, known)
    np.testing.assert_array_equal(found["z_spec"], [0.3, np.nan, 0.9])


def test_a_linear_spectrum_whose_unit_fits_discourages(tmp_path, recwarn):
    axis = {"CRVAL1": 3600.0, "CDELT1": 2.0, "CRPIX1": 1.0, "CTYPE1": "WAVE", "CUNIT1": "Angstrom"}
    header = fits.Header(axis | {"BUNIT": "erg/s/cm2/Angstrom"})
    fits.writeto(tmp_path / "linear.fits", 1e-17 * flux_at(0.2), header)
    (target,) = spectra.read(tmp_path / "linear.fits")
    np.testing.assert_allclose(target.arms[0].flux.to_value(FLUX), flux_at(0.2))
    assert abs(spectra.redshift(target.arms[0]).z - 0.2) < 2e-4
    assert not [w for w in recwarn if "slashes" in str(w.message)]


@pytest.mark.parametrize(("value", "medium"), [("F", "air"), ("T", "vacuum"), (False, "air"), (1, "vacuum")])
def test_vacuum_as_text(value, medium):
    header = fits.Header([("VACUUM", value)])
    found = samples(Spectrum(flux=flux_at(0.2) * FLUX, spectral_axis=WAVELENGTH * u.AA, meta={"header": header}))
    assert found.medium == medium
    header["VACUUM"] = "perhaps"
    with pytest.raises(ValueError, match="the header card VACUUM is 'perhaps'; expected T or F"):
        samples(Spectrum(flux=flux_at(0.2) * FLUX, spectral_axis=WAVELENGTH * u.AA, meta={"header": header}))


def test_numbers_without_meaning_in_a_spectrum():
    flux, error = flux_at(0.2), np.ones(len(WAVELENGTH))
    flux[::50], flux[1::50], error[2::50] = -9999, 3e38, -1
    spectrum = Spectrum(flux=flux * FLUX, spectral_axis=WAVELENGTH * u.AA, uncertainty=StdDevUncertainty(error))
    with (
        pytest.warns(GaltransWarning, match="62 pixels beyond 1e.20; 62 pixels of -9999"),
        pytest.warns(GaltransWarning, match="62 uncertainties of the spectrum are negative"),
    ):
        found = spectra.redshift(spectrum)
    assert abs(found.z - 0.2) < 2e-4 and found.flag == 0

"""Files of spectra, and catalogues of their redshifts."""

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
from astro_galtrans.cli import main  # noqa: E402
from astro_galtrans.exceptions import GaltransWarning  # noqa: E402

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
    files[0].write_bytes(b"no longer needed")
    whole = spectra.catalogue(folder, output, progress=False)
    np.testing.assert_array_equal(whole["z"][:2], first["z"])
    assert abs(whole["z"][2] - 0.4) < 2e-4
    assert list(whole["file"]) == list(map(str, files))
    with pytest.raises(ValueError, match="measured with"):
        spectra.catalogue(folder, output, z_range=(0, 0.5), progress=False)


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


def test_rows_without_a_position_match_no_spectrum():
    """A masked entry is not the zero beneath its mask, where a spectrum may be."""
    known = QTable({"file": ["a", "b"], "ra": [150.0, 0.0] * u.deg, "dec": [2.0, 0.0] * u.deg, "flag": [0, 0]})
    known["z"], known["z_spec"], known["z_err"] = [0.3, 0.9], [0.3, 0.9], [1e-4, 1e-4]
    ra, dec = (MaskedColumn([value, 0.0, 0.0], mask=[False, True, False]) for value in (150.0, 2.0))
    galaxies = Table({"ra": ra, "dec": dec})
    with pytest.warns(GaltransWarning, match="without a spectrum: row 1 of 3"):
        found = spectra.match(galaxies, known)
    np.testing.assert_array_equal(found["z_spec"], [0.3, np.nan, 0.9])

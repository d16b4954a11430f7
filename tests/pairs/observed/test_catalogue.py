"""Catalogues of objects: positions in every usual form, and rows that are no object or one that is listed already."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.pairs.observed.catalogue import distinct, read_catalogue

MASKED = [False, True, False]


@pytest.mark.parametrize(
    "spoilt",
    [
        {"ra": MaskedColumn([351.6, 10.0, 351.601], mask=MASKED), "dec": [0.1, 0.1, 0.101]},
        {"ra": [351.6, np.nan, 351.601], "dec": [0.1, 0.1, 0.101]},
        {"ra": [351.6, 351.6, 351.601], "dec": [0.1, -np.inf, 0.101]},
        {"ra": [351.6, -999.0, 351.601], "dec": [0.1, -999.0, 0.101]},
        {"ra": ["351.6", "", "351.601"], "dec": ["0.1", "", "0.101"]},
        {"ra": ["351.6", "n/a", "351.601"], "dec": [0.1, 0.2, 0.101]},
        {"ra": MaskedColumn(["23:26:24", "00:00:00", "23:26:24.24"], mask=MASKED), "dec": [0.1, 0.0, 0.101]},
        {"ra": [b"23h26m24s", b"", b"351d36m03.6s"], "dec": [b"+00:06:00", b"", b"0d06m03.6s"]},
        {"RAJ2000": Column(["23 26 24", "", "23 26 24.24"], unit='"h:m:s"'), "DEJ2000": [0.1, 0.0, 0.101]},
        {"ra": Column(["351:36:00", "x", "351:36:03.6"], unit="deg"), "dec": [0.1, 0.0, 0.101]},
        {"ra": Column([23.44, np.nan, 23.4400667], unit="h"), "dec": [0.1, 0.0, 0.101]},
        QTable({"ra": Masked([351.6, 0.0, 351.601] * u.deg, mask=MASKED), "dec": [0.1, 0.1, 0.101] * u.deg}),
        {"place": SkyCoord(Masked([351.6, 0.0, 351.601], mask=MASKED) * u.deg, [0.1, 0.0, 0.101] * u.deg)},
        {"place": SkyCoord([351.6, np.nan, 351.601] * u.deg, [0.1, 0.0, 0.101] * u.deg)},
    ],
    ids=["masked", "NaN", "inf", "sentinel", "blank text", "words", "masked text", "letters", "VizieR", "degrees",
         "hours", "masked quantity", "masked SkyCoord", "SkyCoord"],
)  # fmt: skip
def test_rows_without_a_position_are_no_objects(spoilt):
    objects = read_catalogue(spoilt if isinstance(spoilt, QTable) else Table(spoilt))
    np.testing.assert_array_equal(np.isnan(objects.ra), MASKED)
    with pytest.warns(GaltransWarning, match=r"for want of a position .*: 1 \(row 1 of 3\)"):
        kept = distinct(objects)
    assert list(kept.row) == [0, 2]
    np.testing.assert_allclose(kept.ra, [351.6, 351.601], atol=1e-6)
    np.testing.assert_allclose(kept.dec, [0.1, 0.101], atol=1e-6)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (Table({"ra": ["150:1:00", "10:00:00"], "dec": [1.0, 2.0]}), "'150:1:00' is no right ascension in hours; give"),
        (Table({"ra": ["10:00:00", "150.2"], "dec": [1.0, 2.0]}), r"several forms \(10:00:00, 150.2\): give"),
        (Table({"ra": Column([1.0], unit="K"), "dec": [1.0]}), "column 'ra' has the unit K, which is none of an angle"),
        (Table({"ra": [[1.0, 2.0]], "dec": [1.0]}), r"column 'ra' has \(2,\) values in each row"),
        (Table({"ra": ["one"], "dec": ["two"]}), "no sky coordinates in degrees; give them units"),
        (Table({"ra": np.zeros(0), "dec": np.zeros(0)}), "none of 0 rows"),
    ],
)
def test_coordinates_that_may_be_several_things_are_not_guessed(table, match):
    with pytest.raises(ValueError, match=match):
        read_catalogue(table)


def test_neighbours_in_a_chain_do_not_take_each_other_with_them():
    """Of a, b and c, each within 1 arcsec of the next, b goes and c stays."""
    chain = Table({"ra": [10.0, 10.0, 10.0, 0.0, 359.99999], "dec": np.array([0, 0.8, 1.6, 0, 0]) / 3600})
    with pytest.warns(GaltransWarning, match=r"same object: 2 \(rows 1, 4 of 5\)"):
        assert list(distinct(read_catalogue(chain)).row) == [0, 2, 3]


@pytest.mark.parametrize(
    "table",
    [
        Table({"ra": [10.0, 20.0], "dec": [-1.0, 2.0]}),
        Table({"RAJ2000": [10.0, 20.0], "DEJ2000": [-1.0, 2.0], "z": [19.0, 20.0]}),  # a magnitude
        Table({"ALPHA_J2000": [10.0, 20.0] * u.deg, "DELTA_J2000": [-1.0, 2.0] * u.deg}),
        QTable({"ra": [600.0, 1200.0] * u.arcmin, "dec": np.radians([-1.0, 2.0]) * u.rad}),
        Table({"RA": ["00:40:00", "01:20:00"], "Dec": ["-01:00:00", "+02:00:00"]}),
        Table({"place": SkyCoord([10.0, 20.0], [-1.0, 2.0], unit="deg")}),
        Table({"l": SkyCoord([10.0, 20.0], [-1.0, 2.0], unit="deg").galactic}),
        SkyCoord([10.0, 20.0], [-1.0, 2.0], unit="deg"),
    ],
    ids=["ra, dec", "Vizier", "SExtractor", "units", "text", "SkyCoord", "galactic", "bare"],
)
def test_usual_forms_of_coordinates(table):
    objects = read_catalogue(table)
    np.testing.assert_allclose(objects.ra, [10, 20], atol=1e-7)
    np.testing.assert_allclose(objects.dec, [-1, 2], atol=1e-7)
    assert np.isnan(objects.redshift).all()


def test_redshifts_by_their_usual_names_and_by_the_users(tmp_path):
    table = Table({"ra": [10.0, 20.0], "dec": [0.0, 0.0], "Z": [0.1, -9.99], "modelMag_r": [17.0, 18.0]})
    table["zz"] = [1.0, 2.0]
    table.write(tmp_path / "catalogue.ecsv")
    objects = read_catalogue(tmp_path / "catalogue.ecsv")
    np.testing.assert_array_equal(objects.redshift, [0.1, np.nan])
    np.testing.assert_array_equal(objects.magnitude, [17, 18])
    np.testing.assert_array_equal(read_catalogue(table, redshift="zz").redshift, [1, 2])
    with pytest.raises(ValueError, match="no column 'zspec'; its columns are ra, dec, Z"):
        read_catalogue(table, redshift="zspec")

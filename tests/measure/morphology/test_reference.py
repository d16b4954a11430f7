"""statmorph over processes: the same rows, kept by chunks and found again."""

import numpy as np
import pytest
from astropy.table import QTable

from astro_galtrans.measure.morphology import reference
from astro_galtrans.measure.morphology.reference import measure_reference


def test_rows_are_statmorphs(drawn):
    table = measure_reference(drawn.images[:2], segmap=drawn.segmaps[:2], gain=drawn.gain, processes=1, progress=False)
    for name in ("gini", "rpetro_circ", "sersic_n", "flag", "flag_sersic"):
        np.testing.assert_array_equal(np.asarray(table[name]), drawn.values(name)[:2])


def test_without_sersic_models(drawn):
    table = measure_reference(
        drawn.images[:1], segmap=drawn.segmaps[:1], gain=drawn.gain, sersic=False, processes=1, progress=False
    )
    assert np.isnan(table["sersic_n"][0])
    assert table["flag_sersic"][0] == 4
    assert table["m20"][0] == drawn.values("m20")[0]


def test_failures_are_rows_too(drawn):
    images, segmaps = drawn.images[:3].copy(), drawn.segmaps[:3].copy()
    images[0] *= -1  # no positive flux
    segmaps[1] = 0  # no galaxy
    images[2] = np.nan
    table = measure_reference(images, segmap=segmaps, gain=drawn.gain, processes=1, progress=False)
    np.testing.assert_array_equal(table["flag"], 4)
    assert np.isnan(table["gini"]).all()


def test_finished_chunks_are_found_again(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 1)
    settings = {"sersic": False, "directory": tmp_path, "processes": 1, "progress": False}

    def measure(number):
        return measure_reference(drawn.images[:number], segmap=drawn.segmaps[:number], gain=drawn.gain, **settings)

    measure(1)
    (kept,) = tmp_path.iterdir()
    changed = QTable.read(kept)
    changed["gini"] = 0.123  # to see that the file is read
    changed.write(kept, overwrite=True)
    table = measure(2)
    assert len(list(tmp_path.iterdir())) == 2
    assert table["gini"][0] == 0.123
    assert table["gini"][1] == drawn.values("gini")[1]


def test_other_settings_do_not_find_them(drawn, tmp_path):
    for gain in (drawn.gain, 2 * drawn.gain):
        measure_reference(
            drawn.images[:1], segmap=drawn.segmaps[:1], gain=gain, sersic=False, directory=tmp_path, processes=1,
            progress=False,
        )  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_processes_give_the_same_rows(drawn, monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 2)
    settings = {"segmap": drawn.segmaps[:3], "gain": drawn.gain, "sersic": False, "progress": False}
    one, two = (measure_reference(drawn.images[:3], processes=n, **settings) for n in (1, 2))
    for name in one.colnames:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(two[name]))


def test_noise_must_be_known(drawn):
    with pytest.raises(ValueError, match="give variance, gain or sky_rms"):
        measure_reference(drawn.images[:1], segmap=drawn.segmaps[:1])

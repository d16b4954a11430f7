"""The pair set on disk: the same pairs whatever the workers, resumed, and refused if it is another."""

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("h5py")
pytest.importorskip("speclite")

from astro_galtrans.pairstore import PairStore
from astro_galtrans.simulate import PairSettings, simulate_pair, simulate_pairs
from astro_galtrans.simulate.pairs import SHARD, SIGNAL
from astro_galtrans.surveys import get_survey

SETTINGS = PairSettings(seed=5, size=16)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return simulate_pairs(tmp_path_factory.mktemp("pairs"), SHARD + 1, SETTINGS, workers=2, progress=False)


def test_whole_shards_with_truth(pairs):
    assert len(pairs) == len(pairs.table) == 2 * SHARD
    assert pairs.source(0).shape == (5, 16, 16) and pairs.target(SHARD).shape == (5, 32, 32)
    assert {"z", "r", "half_light_radius", "mag_sdss_r", "mag_cfhtls-wide_r", "fwhm_r"} <= set(pairs.table.colnames)
    galaxies = pairs.table[pairs.table["kind"] == "galaxy"]
    np.testing.assert_allclose(galaxies["mag_sdss_r"], galaxies["r"], atol=0.025)  # a bulge of 98 % stands alone


@pytest.mark.parametrize("index", [0, 77])
def test_a_pair_depends_on_seed_and_index_only(pairs, index):
    source, target, clean, truth = simulate_pair(SETTINGS, index)
    np.testing.assert_array_equal(pairs.source(index), source)
    np.testing.assert_array_equal(pairs.target(index), target)
    sky = get_survey("cfhtls-wide").sky_rms(0.198)[:, None, None]
    np.testing.assert_array_equal(pairs.signal(index), clean > SIGNAL * sky)
    assert pairs.table["index"][index] == truth["index"] == index
    other = simulate_pair(PairSettings(seed=6, size=16), index)[0]
    assert not np.array_equal(other, source)


def test_interrupted_set_is_completed(pairs, tmp_path):
    resumed = simulate_pairs(tmp_path, SHARD, SETTINGS, workers=1, progress=False)
    before = (tmp_path / "shard-00000.h5").stat().st_mtime_ns
    resumed = simulate_pairs(tmp_path, 2 * SHARD, SETTINGS, workers=1, progress=False)
    assert (tmp_path / "shard-00000.h5").stat().st_mtime_ns == before
    np.testing.assert_array_equal(resumed.source(100), pairs.source(100))


def test_other_settings_are_refused(pairs):
    with pytest.raises(ValueError, match=r"other settings.*'simulation.seed': \(5, 6\)"):
        simulate_pairs(pairs.directory, 64, PairSettings(seed=6, size=16))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        simulate_pairs(pairs.directory, 0, SETTINGS)


def test_not_a_pair_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a set of pairs"):
        PairStore(tmp_path)

"""The store of pairs: what goes in comes out, part by part, from many processes, and damage is named."""

import json
import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("h5py")

import h5py
from astropy.table import Table
from crops import Pairs
from torch.utils.data import DataLoader

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter, shard_path, write_shard
from astro_galtrans.surveys import get_survey

SIZE, SCALE = 20, 2  # rows of 20 and 40 bits: one of them is no whole number of bytes
HEADER = PairHeader(get_survey("sdss").select("gri"), get_survey("cfhtls-wide").select("ri"), SCALE, SIZE)


def make_pair(k):
    """Images that are functions of the number of the pair, and their other planes."""
    rng = np.random.default_rng(k)
    source = rng.normal(k, 1, (3, SIZE, SIZE)).astype(np.float32)
    target = rng.normal(k, 1, (2, SCALE * SIZE, SCALE * SIZE)).astype(np.float32)
    planes = {
        "signal": target > k, "source_mask": source > k + 1, "target_mask": target > k + 2,
        "source_variance": source**2, "target_variance": target**2,
        "source_psf": rng.random((3, 5, 5), np.float32), "target_psf": rng.random((2, 9, 9), np.float32),
    }  # fmt: skip
    return source, target, planes


def write(folder, numbers, shard=4, header=HEADER, **columns):
    with PairWriter(folder, header, shard) as writer:
        for k in numbers:
            source, target, planes = make_pair(k)
            row = {"index": k, "z": 0.01 * k, "split": ("train", "test")[k % 2], "source_file": f"Bläu/{'x' * k}.fits"}
            writer.add(source, target, row | columns, **planes)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write(folder, range(10))
    return PairStore(folder)


def check(store, index, k):
    source, target, planes = make_pair(k)
    np.testing.assert_array_equal(store.source(index), source)
    np.testing.assert_array_equal(store.target(index), target)
    for name in ("signal", "source_mask", "target_mask", "source_variance", "target_variance"):
        np.testing.assert_array_equal(getattr(store, name)(index), planes[name], err_msg=name)
    for psf, name in zip(store.psf(index), ("source_psf", "target_psf"), strict=True):
        np.testing.assert_array_equal(psf, planes[name])


def test_what_goes_in_comes_out(store):
    assert len(store) == 10 and len(list(store.directory.glob("*.h5"))) == 3
    for k in range(10):
        check(store, k, k)
    check(store, -1, 9)
    assert store.header == replace(HEADER, version=store.header.version)
    assert store.header.source_bands == ("g", "r", "i") and store.header.target_pixel_scale == pytest.approx(0.198)
    assert store.source(0).dtype == np.float32 and store.signal(0).dtype == bool
    assert "10 pairs sdss gri -> cfhtls-wide ri" in repr(store)


def test_table(store):
    assert list(store.table["index"]) == list(range(10))
    assert store.table["source_file"][9] == "Bläu/xxxxxxxxx.fits"
    np.testing.assert_allclose(store.table["z"], 0.01 * np.arange(10))


def test_a_crop_is_that_part(store):
    source, target, planes = make_pair(6)
    crop = store.crop(6, 3, 7, 9)
    np.testing.assert_array_equal(crop.source, source[:, 3:12, 7:16])
    np.testing.assert_array_equal(crop.target, target[:, 6:24, 14:32])
    np.testing.assert_array_equal(crop.source_mask, planes["source_mask"][:, 3:12, 7:16])
    np.testing.assert_array_equal(crop.target_mask, planes["target_mask"][:, 6:24, 14:32])
    for place in ((-1, 0, 5), (0, 16, 5)):
        with pytest.raises(IndexError, match=r"is not inside stamps of 20"):
            store.crop(6, *place)


def test_a_column_is_that_of_the_table(store):
    for part in (store, store.subset([2, 0])):
        for name in ("z", "split", "source_file"):
            assert list(part.column(name)) == list(part.table[name])
    assert store.column("colour") is None


def test_subsets_and_splits(store):
    test = store.split("test")
    assert list(test.table["index"]) == [1, 3, 5, 7, 9]
    check(test, 2, 5)
    check(test.subset([4, 0]), 0, 9)
    check(store.subset(store.table["z"] > 0.075), 0, 8)
    assert len(store.split("validation")) == 0
    with pytest.raises(ValueError, match="parts are train, validation, test"):
        store.split("Training")
    with pytest.raises(IndexError, match="pair 5 of a set of 5"):
        test.source(5)
    with pytest.raises(IndexError, match="of a set of 5"):
        test.subset([5])


def test_images_are_an_array_that_reads_when_sliced(store):
    images = store.split("test").images("target")
    expected = np.stack([make_pair(k)[1] for k in (1, 3, 5, 7, 9)])
    assert images.shape == expected.shape and len(images) == 5 and images.ndim == 4
    np.testing.assert_array_equal(images[3], expected[3])
    np.testing.assert_array_equal(images[-2:], expected[-2:])
    np.testing.assert_array_equal(images[[4, 0]], expected[[4, 0]])
    np.testing.assert_array_equal(images[np.array([True, False, False, True, False])], expected[[0, 3]])
    np.testing.assert_array_equal(np.asarray(images), expected)
    with pytest.raises(ValueError, match="'source' or 'target', got 'psf'"):
        store.images("psf")


def test_other_programs_read_it(store):
    with h5py.File(shard_path(store.directory, 0)) as file:
        np.testing.assert_array_equal(file["target"][1], make_pair(1)[1])
        np.testing.assert_array_equal(np.unpackbits(file["signal"][1], axis=-1)[..., :40], make_pair(1)[2]["signal"])
    table = Table.read(shard_path(store.directory, 1), path="table")
    np.testing.assert_allclose(table["z"], [0.04, 0.05, 0.06, 0.07])


def test_what_another_program_wrote_in_chunks_is_read(store, tmp_path):
    (tmp_path / "pairs.json").write_bytes((store.directory / "pairs.json").read_bytes())
    with h5py.File(shard_path(store.directory, 0)) as old, h5py.File(shard_path(tmp_path, 0), "w") as new:
        for name, dataset in old.items():
            data = dataset[()].astype(">f4") if name == "source" else dataset[()]
            new.create_dataset(name, data=data, chunks=True, compression="gzip")
    check(PairStore(tmp_path), 2, 2)
    np.testing.assert_array_equal(PairStore(tmp_path).crop(2, 1, 2, 8).target, make_pair(2)[1][:, 2:18, 4:20])


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_torch_loader_reads_it_from_several_workers(store, context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {context} here")
    store.source(0)  # files are open before the fork
    workers = DataLoader(Pairs(store), batch_size=5, num_workers=2, multiprocessing_context=context)
    batches = [batch.numpy() for batch in workers]
    np.testing.assert_array_equal(np.concatenate(batches), [make_pair(k)[0][:, 2:10, 2:10] for k in range(10)])


def test_it_can_be_pickled_and_copied(store):
    check(pickle.loads(pickle.dumps(store.split("test"))), 1, 3)


def test_few_files_are_open_however_many_shards(monkeypatch, tmp_path):
    monkeypatch.setattr("astro_galtrans.pairs.store._shards.OPEN_FILES", 2)
    write(tmp_path, range(9), shard=1)
    many = PairStore(tmp_path)
    for k in np.random.default_rng(1).permutation(np.tile(np.arange(9), 3)):
        check(many, int(k), int(k))
    assert many._shards._open.cache_info().currsize == 2


def test_interrupted_writing_goes_on(tmp_path):
    def interrupted():
        with PairWriter(tmp_path, HEADER, 4) as writer:
            for k in range(6):
                source, target, planes = make_pair(k)
                writer.add(source, target, {"index": k}, **planes)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.json", "shard-00000.h5"]
    with PairWriter(tmp_path, HEADER, 4) as writer:
        assert writer.indices == {0, 1, 2, 3} and len(writer) == writer.written == 4
        for k in set(range(6)) - writer.indices:
            source, target, planes = make_pair(k)
            writer.add(source, target, {"index": k}, **planes)
    assert list(PairStore(tmp_path).table["index"]) == list(range(6))
    check(PairStore(tmp_path), 5, 5)


def test_appended_shards_may_have_other_columns(tmp_path):
    write(tmp_path, range(2))
    write(tmp_path, range(2, 4), seeing=1.5, night="2003-10-19")
    table = PairStore(tmp_path).table
    np.testing.assert_array_equal(table["seeing"], [np.nan, np.nan, 1.5, 1.5])
    assert list(table["night"]) == ["", "", "2003-10-19", "2003-10-19"]


def test_planes_that_a_pair_lacks(tmp_path):
    with PairWriter(tmp_path, HEADER) as writer:
        source, target, planes = make_pair(0)
        writer.add(source, target, {"index": 0}, signal=planes["signal"])
    store = PairStore(tmp_path)
    assert store.source_mask(0) is store.target_variance(0) is store.psf(0) is None
    assert store.crop(0, 0, 0, 4)[2:] == (None, None)
    with pytest.raises(ValueError, match="this set is not split"):
        store.split("train")


def test_other_settings_are_refused_by_name(store):
    with pytest.raises(ValueError, match=r"other settings.*'scale': \(2, 3\)"):
        PairWriter(store.directory, replace(HEADER, scale=3))
    with pytest.raises(ValueError, match=r"source.bands"):
        PairWriter(store.directory, replace(HEADER, source=get_survey("sdss").select("gr")))


def test_wrong_shapes_and_planes_are_refused(tmp_path):
    writer, (source, target, planes) = PairWriter(tmp_path, HEADER), make_pair(0)
    with pytest.raises(ValueError, match=r"the target of a pair has the shape \(2, 39, 40\); the header says"):
        writer.add(source, target[:, 1:], {})
    with pytest.raises(ValueError, match="weight is no plane of a pair"):
        writer.add(source, target, {}, weight=source)
    writer.add(source, target, {})
    with pytest.raises(ValueError, match="the pair before had"):
        writer.add(source, target, {}, **planes)


@pytest.mark.parametrize("damage", ["truncated", "not HDF5", "without data"])
def test_a_damaged_shard_is_named_and_left_out(tmp_path, damage):
    write(tmp_path, range(12))
    path = shard_path(tmp_path, 1)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "not HDF5":
        path.write_text("<html>502 Bad Gateway</html>")
    else:
        with h5py.File(path, "w") as file:
            file["table"] = [1]
    with pytest.warns(GaltransWarning, match=r"shard-00001.h5 cannot be read and is left out; delete it"):
        store = PairStore(tmp_path)
    assert store.damaged == [path] and len(store) == 8
    check(store, 4, 8)


def test_another_version_of_the_format_is_refused(store, tmp_path):
    content = json.loads((store.directory / "pairs.json").read_text())
    for change, match in (
        ({"format_version": 2, "version": "9.1"}, r"format 2, astro_galtrans 9.1\).*reads format 1"),
        ({"format": "other"}, "format none"),
    ):
        (tmp_path / "pairs.json").write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match=match):
            PairStore(tmp_path)
    (tmp_path / "pairs.json").write_text('{"format": "astro')
    with pytest.raises(ValueError, match=r"pairs.json is damaged"):
        PairStore(tmp_path)


def test_not_a_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a set of pairs"):
        PairStore(tmp_path)
    PairWriter(tmp_path, HEADER)
    with pytest.raises(FileNotFoundError, match="no finished shard"):
        PairStore(tmp_path)


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        write_shard(shard_path(tmp_path, 0), {"source": [["text"]]}, [{"index": 0}])
    assert list(tmp_path.iterdir()) == []


def test_nan_in_a_header_is_json(tmp_path):
    survey = get_survey("sdss").select("r")
    unknown = replace(survey, bands=(replace(survey.bands[0], electrons=np.nan),))
    PairWriter(tmp_path, PairHeader(unknown, unknown, 1, 8, observation={"limit": np.inf}))
    assert "NaN" not in (tmp_path / "pairs.json").read_text()
    PairWriter(tmp_path, PairHeader(unknown, unknown, 1, 8, observation={"limit": np.inf}))  # is the same one


# -- stores from anywhere


def replace_dataset(path, make):
    """Put something else in the place of a shard's ``target``."""
    with h5py.File(path, "r+") as file:
        data = file["target"][()]
        del file["target"]
        make(file, data)


def _external(file, data, other):
    file.create_dataset("target", data.shape, "<f4", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def _virtual(file, data, other):
    layout = h5py.VirtualLayout(data.shape, "<f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", data.shape)
    file.create_virtual_dataset("target", layout)


def _soft_link(file, data, _other):
    file["elsewhere"] = data
    file["target"] = h5py.SoftLink("/elsewhere")


def _external_link(file, _data, other):
    file["target"] = h5py.ExternalLink(str(other), "/secret")


@pytest.mark.parametrize("make", [_external, _virtual, _soft_link, _external_link])
def test_shards_that_point_elsewhere_are_refused(tmp_path, make):
    write(tmp_path, range(4))
    other = tmp_path / "secret.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones((4, 2, 40, 40), "f4")
    replace_dataset(shard_path(tmp_path, 0), lambda file, data: make(file, data, other))
    with pytest.raises(ValueError, match=r"shard-00000.h5: target is (a link|no dataset with its values in this file)"):
        PairStore(tmp_path)


@pytest.mark.parametrize(
    "change",
    [lambda data: data.astype("f8"), lambda data: data.astype("i4"), lambda data: data[:, :1], lambda data: data[:3],
     lambda data: data[..., :39], lambda data: data[0]],
)  # fmt: skip
def test_datasets_of_another_type_or_shape_are_refused(tmp_path, change):
    write(tmp_path, range(4))
    replace_dataset(shard_path(tmp_path, 0), lambda file, data: file.create_dataset("target", data=change(data)))
    with pytest.raises(ValueError, match=r"target is \w+ \(.*; this store's format says f4 \(4, 2, 40, 40\)"):
        PairStore(tmp_path)


def test_a_table_of_rows_that_were_never_written_is_refused(tmp_path):
    write(tmp_path, range(4))
    with h5py.File(shard_path(tmp_path, 0), "r+") as file:
        kind = file["table"].dtype
        del file["table"]
        file.create_dataset("table", (10**9,), kind)
    with pytest.raises(ValueError, match="expected a row per pair"):
        PairStore(tmp_path)


def test_two_writers_lose_nothing(tmp_path):
    """The second is refused while the first is at it, and goes on after it."""
    first = PairWriter(tmp_path, HEADER, 4)
    with pytest.raises(OSError, match="is being written to by process"):
        PairWriter(tmp_path, HEADER, 4)
    for numbers in (range(8), range(8, 16)):
        writer = PairWriter(tmp_path, HEADER, 4) if first is None else first
        for k in numbers:
            writer.add(*make_pair(k)[:2], {"index": k})
        writer.close()
        first = None
    assert sorted(PairStore(tmp_path).table["index"]) == list(range(16))
    with pytest.raises(ValueError, match="was closed"):
        writer.add(*make_pair(0)[:2], {})

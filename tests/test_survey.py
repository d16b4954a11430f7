"""A catalogue and images of a survey through a translator, in shards, on one process and on several."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from astro_galtrans import cutout, measure, translate
from astro_galtrans.cli import main
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.stamps import Stamps
from astro_galtrans.survey import cluster, translate_catalogue
from helpers import BANDS, make_bands

MODEL = "srgan-sdss-cfhtls"
SIDE = 24
quiet = pytest.mark.filterwarnings("ignore::astro_galtrans.exceptions.GaltransWarning")


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """Two fields of five frames each, on grids of their own, and a catalogue of 14 objects; two lie on no field."""
    folder = tmp_path_factory.mktemp("survey")
    for number, centre in enumerate((0.1, 0.13)):
        for k, (band, image) in enumerate(make_bands((120, 100), seed=number).items()):
            image.wcs.wcs.crval = 351.6, centre
            image.wcs.wcs.crpix += 0.7 * (k - 2), -0.4 * (k - 2)
            image.write(folder / f"frame-{band}-{number}.fits")
    rng = np.random.default_rng(1)
    dec = np.r_[0.1 + rng.uniform(-25, 25, 6) * 1.1e-4, 0.13 + rng.uniform(-25, 25, 6) * 1.1e-4, 0.5, np.nan]
    ra = 351.6 + rng.uniform(-25, 25, 14) * 1.1e-4
    dec[3] = 0.1 + 55 * 1.1e-4  # near an edge of its image
    Table({"id": np.arange(14), "ra": ra, "dec": dec}).write(folder / "objects.parquet")
    return folder


def run(survey, output, **options):
    known = {"size": SIDE, "shard": 5, "progress": False}
    return translate_catalogue(survey / "objects.parquet", [str(survey / "*.fits")], MODEL, output, **known, **options)


def shards(output):
    return [zarr.open_group(path, mode="r") for path in sorted(Path(output).glob("shard-*.zarr"))]


def content(output):
    """All arrays and notes of a run, by row of the catalogue."""
    found = {}
    for group in shards(output):
        for k, row in enumerate(group["row"][:]):
            found[int(row)] = [group[name][k].tobytes() for name in ("flux", "std", "mask", "ra", "dec", "flags")]
    return found


@quiet
def test_each_object_is_as_cut_and_translated_alone(survey, tmp_path):
    counts = run(survey, tmp_path / "out.zarr")
    assert counts == {"objects": 14, "absent": 2, "translated": 12, "failed": 0, "shards": 3, "skipped": 0}
    table, seen = Table.read(survey / "objects.parquet"), []
    for group in shards(tmp_path / "out.zarr"):
        assert group["flux"].metadata.dimension_names == ("object", "band", "y", "x")
        assert group.attrs["bands"] == list(BANDS)
        for k, row in enumerate(group["row"][:]):
            seen.append(int(row))
            position = SkyCoord(table["ra"][row], table["dec"][row], unit="deg")
            assert group["ra"][k] == table["ra"][row]
            field = {band: survey / f"frame-{band}-{int(group['image'][k])}.fits" for band in BANDS}
            if row == 3:
                assert group["flags"][k] & 2 and group["mask"][k].any()
                continue
            alone = translate(cutout(field, position, SIDE), MODEL)
            for j, band in enumerate(BANDS):
                np.testing.assert_allclose(group["flux"][k, j], alone[band].data, rtol=1e-3, atol=0.02)
                np.testing.assert_allclose(group["std"][k, j], alone[band].uncertainty.array, rtol=1e-3)
                np.testing.assert_array_equal(group["mask"][k, j], 0)
    assert sorted(seen) == list(range(12))


@quiet
def test_stamps_read_shards(survey, tmp_path):
    run(survey, tmp_path / "out.zarr")
    stamps = Stamps.from_files(tmp_path / "out.zarr", "cfhtls-wide")
    assert len(stamps) == 12 and stamps.bands == BANDS and stamps.pixel_scale == pytest.approx(0.198)
    first = shards(tmp_path / "out.zarr")[0]
    np.testing.assert_array_equal(stamps.read(slice(0, 5)), first["flux"][:])
    np.testing.assert_allclose(stamps.variance[:5].compute(), first["std"][:] ** 2, rtol=1e-6)
    assert stamps.bad(slice(0, 12)).any()  # of the object at the edge
    known = {"pixel_scale": stamps.pixel_scale, "mask": stamps.mask.compute(), "variance": stamps.variance.compute()}
    loaded = Stamps(stamps.read(), "cfhtls-wide", **known)
    lazy, whole = (measure.photometry(each, progress=False) for each in (stamps, loaded))
    np.testing.assert_array_equal(lazy["flux_3"], whole["flux_3"])
    next((tmp_path / "out.zarr").glob("shard-*1.zarr")).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="1 of 3 shards are missing"):
        Stamps.from_files(tmp_path / "out.zarr", "cfhtls-wide")


@quiet
def test_shards_that_are_there_are_kept_and_others_are_other_settings(survey, tmp_path):
    output = tmp_path / "out.zarr"
    run(survey, output)
    before = content(output)
    next(output.glob("shard-*1.zarr")).rename(tmp_path / "away")
    counts = run(survey, output)
    assert counts["skipped"] == 2 and counts["translated"] == 5 and content(output) == before
    with pytest.raises(FileExistsError, match=r"other settings \(seed\)"):
        run(survey, output, seed=3)


@quiet
def test_a_damaged_file_does_not_stop_the_others(survey, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in survey.glob("*.fits"):
        (images / path.name).write_bytes(path.read_bytes())
    (images / "frame-r-1.fits").write_bytes(b"SIMPLE  =                    T")
    told = []
    counts = translate_catalogue(
        survey / "objects.parquet", [images], MODEL, tmp_path / "out.zarr", size=SIDE, progress=False,
        report=told.append,
    )  # fmt: skip
    assert counts["absent"] == 8 and counts["translated"] == 6 and "frame-x-1: " in told[0]
    with pytest.raises(ValueError, match="none of the 2 objects of the catalogue lies on one of the 1 images"):
        translate_catalogue(Table({"ra": [1.0, 2.0], "dec": [0.0, 0.0]}), [images], MODEL, tmp_path / "no", size=SIDE)


@quiet
def test_pixels_that_cannot_be_read_fail_their_objects_only(survey, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for path in survey.glob("*.fits"):
        with fits.open(path) as hdus:
            if path.name == "frame-z-0.fits":
                hdus[0].data[:] = np.nan
            hdus.writeto(images / path.name)
    counts = translate_catalogue(
        survey / "objects.parquet", [images], MODEL, tmp_path / "out.zarr", size=SIDE, progress=False
    )
    assert counts["translated"] == 6 and counts["failed"] == 6
    (group,) = shards(tmp_path / "out.zarr")
    failed = group["flags"][:] & 1 > 0
    assert set(map(int, group.attrs["failures"])) == set(group["row"][:][failed].tolist()) == set(range(6))
    assert "no pixel is finite" in group.attrs["failures"]["0"] and np.isnan(group["flux"][:][failed]).all()


@quiet
@pytest.mark.slow
def test_workers_make_the_same_bytes_even_if_one_is_killed(survey, tmp_path):
    run(survey, tmp_path / "one.zarr")
    with cluster(workers=2) as client:
        victim = next(iter(client.run(os.getpid).values()))
        killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {victim}"])
        counts = run(survey, tmp_path / "two.zarr", client=client)
        killer.wait()
    assert counts["translated"] == 12
    assert content(tmp_path / "two.zarr") == content(tmp_path / "one.zarr")


@quiet
def test_a_run_that_is_killed_goes_on(survey, tmp_path):
    output = tmp_path / "out.zarr"
    command = [sys.executable, "-m", "astro_galtrans", "translate", "--catalogue", str(survey / "objects.parquet"),
               "--images", str(survey / "*.fits"), "-m", MODEL, "--size", str(SIDE), "--shard", "5", "-o"]  # fmt: skip
    running = subprocess.Popen([*command, str(output)])
    while not list(output.glob("shard-*.zarr")):
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = len(list(output.glob("shard-*.zarr")))
    assert main([*command[3:], str(output)]) == 0
    assert main([*command[3:], str(tmp_path / "again.zarr")]) == 0
    assert before and content(output) == content(tmp_path / "again.zarr")
    assert [path.name for path in output.glob(".part*")] == []


@pytest.mark.filterwarnings("always::astro_galtrans.exceptions.GaltransWarning")
def test_objects_off_all_images_are_counted(survey, tmp_path, capsys):
    with pytest.warns(GaltransWarning, match="2 objects .*12, 13 of 14"):
        run(survey, tmp_path / "out.zarr")
    command = ["translate", "--catalogue", str(survey / "objects.parquet"), str(survey / "*.fits"), "-m", MODEL,
               "--size", str(SIDE), "-o", str(tmp_path / "cli.zarr")]  # fmt: skip
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "12 of 14 objects translated" in captured.out and "off all images" in captured.err
    assert json.loads((tmp_path / "cli.zarr" / "survey.json").read_text())["translator"] == MODEL

"""A catalogue and images of a survey through a translator, in shards, on one process and on several."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table, vstack

import astro_galtrans
from astro_galtrans import cutout, measure, translate
from astro_galtrans._release import __version__
from astro_galtrans.bandstack import read
from astro_galtrans.cli import main
from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.fidelity import morphology_fidelity, photometry_fidelity, pixel_fidelity
from astro_galtrans.fidelity.compare import EXCLUDED
from astro_galtrans.fidelity.result import Result
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.stamps import translations
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.survey import (
    cluster,
    compare_shards,
    measure_shards,
    read_objects,
    translate_catalogue,
    write_objects,
)
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


def package(folder, *, version=None, weights=True):
    """A copy of this package, made of links, of another version or without weights."""
    here = Path(astro_galtrans.__file__).parent
    (folder / "astro_galtrans" / "data").mkdir(parents=True)
    for path in here.iterdir():
        if path.name not in {"data", "_release.py", "__pycache__"}:
            (folder / "astro_galtrans" / path.name).symlink_to(path)
    for path in (here / "data").iterdir():
        if weights or path.name != "weights":
            (folder / "astro_galtrans" / "data" / path.name).symlink_to(path)
    if not weights:
        (folder / "astro_galtrans" / "data" / "weights").mkdir()
    text = (here / "_release.py").read_text()
    (folder / "astro_galtrans" / "_release.py").write_text(f"{text}\n__version__ = {version or __version__!r}\n")
    return folder


@contextmanager
def processes(*, workers=1, path=None, cwd=None, start=True):
    """A scheduler and workers, each a program of its own: its address, and the programs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    known = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": cwd}
    known["env"] = os.environ | {"PYTHONPATH": str(path or Path(astro_galtrans.__file__).parents[1])}
    scheduler, worker = ([sys.executable, "-m", f"distributed.cli.dask_{name}"] for name in ("scheduler", "worker"))
    scheduler += ["--port", address.rpartition(":")[2], "--dashboard-address", ":0"]
    worker += [address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    started = [subprocess.Popen(scheduler, **known)]
    started += [subprocess.Popen(worker, **known) for _ in range(workers)]
    try:
        yield address, started
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def run(survey, output, **options):
    known = {"size": SIDE, "shard": 5, "progress": False} | options
    return translate_catalogue(survey / "objects.parquet", [str(survey / "*.fits")], MODEL, output, **known)


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
@quiet
def test_warnings_name_the_row_of_the_catalogue(survey, tmp_path):
    """Not the number in its shard."""
    shutil.copytree(survey, tmp_path / "in")
    with fits.open(tmp_path / "in" / "frame-r-0.fits", mode="update") as hdus:
        hdus[0].data[58:64, 46:52] = 1000.0  # a core that is cut off
    with pytest.warns(GaltransWarning) as caught:
        run(tmp_path / "in", tmp_path / "out.zarr")
    told = [re.match(r"object (\d+): saturated pixels", str(each.message)) for each in caught]
    named, groups = {int(found[1]) for found in told if found}, shards(tmp_path / "out.zarr")
    masked = {int(row) for g in groups for row, mask in zip(g["row"][:], g["mask"][:], strict=True) if mask.any()}
    assert 5 in named and named == masked - {3}  # that is at an edge


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
    (given,) = translations(stamps, {"mine": tmp_path / "out.zarr"}).values()  # as galtrans fidelity takes files
    np.testing.assert_array_equal(given.read(), stamps.read())
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
    with pytest.raises(FileExistsError, match=r"other settings \(seed 0, asked for 3\)"):
        run(survey, output, seed=3)


@quiet
def test_shards_of_other_images_or_another_catalogue_are_not_taken_for_these(survey, tmp_path):
    output, images = tmp_path / "out.zarr", tmp_path / "images"
    shutil.copytree(survey, images)  # with the times of the files: the same images elsewhere
    run(survey, output)
    assert run(images, output)["skipped"] == 3
    (images / "frame-g-0.fits").touch()
    with pytest.raises(FileExistsError, match=r"other settings \(images\)"):
        run(images, output)
    table = Table.read(survey / "objects.parquet")
    table["dec"][0] += 1e-4
    with pytest.raises(FileExistsError, match=r"other settings \(catalogue\)"):
        translate_catalogue(table, [survey / "*.fits"], MODEL, output, size=SIDE, shard=5, progress=False)


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


@pytest.fixture
def half_blank(survey, tmp_path):
    """The images of the survey, of which one has no pixel in a band: the first six objects cannot be translated."""
    (tmp_path / "images").mkdir()
    for path in survey.glob("*.fits"):
        with fits.open(path) as hdus:
            if path.name == "frame-z-0.fits":
                hdus[0].data[:] = np.nan
            hdus.writeto(tmp_path / "images" / path.name)
    return tmp_path / "images"


@quiet
def test_shards_of_which_all_objects_failed_are_measured_and_compared(survey, half_blank, tmp_path):
    output, known = tmp_path / "out.zarr", {"size": SIDE, "shard": 3, "progress": False}
    translate_catalogue(survey / "objects.parquet", [half_blank], MODEL, output, **known)
    assert [(group["flags"][:] & 1).all() for group in shards(output)] == [True, True, False, False]
    quick = {"bootstrap": Bootstrap(resamples=2), "progress": False}
    found = measure_shards(output, tmp_path / "m", **quick)
    assert found["n"].max() == 6
    compared = compare_shards(output, {"itself": output}, tmp_path / "c", ["pixel", "photometry"], **quick)
    assert compared["pixel"].meta["galaxies"] == 6 and compared["pixel"].value("mae")[0] == 0
    assert compared["pixel"]["statistics"]["n"].max() == 6 and compared["photometry"].value("flux_3", "bias")[0] == 1


@quiet
def test_pixels_that_cannot_be_read_fail_their_objects_only(survey, half_blank, tmp_path):
    counts = translate_catalogue(
        survey / "objects.parquet", [half_blank], MODEL, tmp_path / "out.zarr", size=SIDE, progress=False
    )
    assert counts["translated"] == 6 and counts["failed"] == 6
    (group,) = shards(tmp_path / "out.zarr")
    failed = group["flags"][:] & 1 > 0
    assert set(map(int, group.attrs["failures"])) == set(group["row"][:][failed].tolist()) == set(range(6))
    assert "no pixel is finite" in group.attrs["failures"]["0"] and np.isnan(group["flux"][:][failed]).all()


@quiet
@pytest.mark.slow
def test_workers_make_the_same_bytes_even_if_one_is_killed(survey, tmp_path):
    run(survey, tmp_path / "one.zarr", shard=1)
    with cluster(workers=2) as client:
        victim = next(iter(client.run(os.getpid).values()))
        wait = f"until ls {tmp_path}/two.zarr/shard-*; do sleep 0.02; done"
        killer = subprocess.Popen(["sh", "-c", f"{wait}; kill -9 {victim}"], stderr=subprocess.DEVNULL)
        counts = run(survey, tmp_path / "two.zarr", shard=1, client=client)
        killer.wait()
    assert counts["translated"] == 12
    assert content(tmp_path / "two.zarr") == content(tmp_path / "one.zarr")


@quiet
def test_the_number_of_threads_does_not_change_the_bytes(survey, tmp_path):
    before = torch.get_num_threads()
    command = ["-q", "translate", "--catalogue", survey / "objects.parquet", survey / "*.fits", "--size", 64]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        more = ["-m", "capsule-sdss-cfhtls", "-o", tmp_path / f"{threads}.zarr"]
        assert main([*map(str, command), *map(str, more)]) == 0
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert content(tmp_path / "1.zarr") == content(tmp_path / "2.zarr")


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


@quiet
def test_objects_come_as_fits_where_they_lie_on_the_sky(survey, tmp_path):
    command = ["translate", "--catalogue", str(survey / "objects.parquet"), str(survey / "*.fits"), "-m", MODEL,
               "--size", str(SIDE), "--shard", "5", "-o", str(tmp_path / "out.zarr"), "--fits"]  # fmt: skip
    assert main([*command, str(tmp_path / "fits")]) == 0
    files = sorted((tmp_path / "fits").glob("*.fits"))
    assert [int(file.stem) for file in files] == list(range(12))
    table, found = Table.read(survey / "objects.parquet"), dict(read_objects(tmp_path / "out.zarr"))
    for row in (0, 3, 9):
        position = SkyCoord(table["ra"][row], table["dec"][row], unit="deg")
        field = {band: survey / f"frame-{band}-{int(row > 5)}.fits" for band in BANDS}
        written = read(files[row])
        assert written.bands == BANDS and written.unit == "adu" and written.zeropoint == 30
        if row != 3:
            alone = translate(cutout(field, position, SIDE), MODEL)
            np.testing.assert_allclose(written.data[2], alone["r"].data, rtol=1e-3, atol=0.02)
            np.testing.assert_allclose(np.sqrt(written.variance[2]), alone["r"].uncertainty.array, rtol=1e-3)
            there = alone["r"].wcs.pixel_to_world(3, 7)
            assert written.wcs.pixel_to_world(3, 7).separation(there).arcsec < 1e-3
        x, y = written.wcs.world_to_pixel(position)
        assert abs(x - SIDE + 0.5) < 1.5 and abs(y - SIDE + 0.5) < 1.5
        np.testing.assert_array_equal(found[row]["g"].data, written.data[1])
        np.testing.assert_array_equal(found[row]["g"].mask, written.mask[1])
    files[4].unlink()
    assert write_objects(tmp_path / "out.zarr", tmp_path / "fits", rows=range(8), progress=False) == 1


@quiet
def test_measurements_shard_by_shard_are_those_of_all_at_once(survey, tmp_path):
    run(survey, tmp_path / "out.zarr")
    found = measure_shards(tmp_path / "out.zarr", tmp_path / "m", progress=False)
    stamps = Stamps.from_files(tmp_path / "out.zarr", "cfhtls-wide")
    whole = measure.photometry(stamps, progress=False)
    parts = vstack([QTable.read(path) for path in sorted((tmp_path / "m").glob("photometry-*.parquet"))])
    np.testing.assert_array_equal(parts["flux_3"], whole["flux_3"])
    assert parts["fwhm"].unit == "arcsec" and sorted(set(parts["row"])) == list(range(12))
    of_r = found[(found["band"] == "r") & (found["quantity"] == "flux_3")]
    values = whole["flux_3"][whole["band"] == "r"].value
    assert of_r["value"][of_r["statistic"] == "median"] == pytest.approx(np.median(values))
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    assert of_r["value"][of_r["statistic"] == "scatter"] == pytest.approx(spread)
    assert set(of_r["n"]) == {12}
    some = measure_shards(tmp_path / "out.zarr", tmp_path / "m", most=8, progress=False)
    assert 0 < some["n"].max() < 12 and len(some) == len(found)
    assert set(some["value"]) - set(found["value"])
    measure_shards(tmp_path / "out.zarr", tmp_path / "m", progress=False)
    kept = (tmp_path / "m" / "photometry-000000.parquet").stat().st_mtime_ns
    (tmp_path / "m" / "photometry-000001.parquet").unlink()
    command = ["measure", str(tmp_path / "out.zarr"), "-o", str(tmp_path / "m")]
    assert main(command) == 0
    assert (tmp_path / "m" / "photometry-000000.parquet").stat().st_mtime_ns == kept
    np.testing.assert_array_equal(QTable.read(tmp_path / "m" / "statistics.ecsv")["value"], found["value"])
    assert main([*command, "--what", "morphology"]) == 1  # other settings


@quiet
@pytest.mark.parametrize("largest", [4096, 4])
def test_comparisons_shard_by_shard_are_those_of_all_at_once(survey, tmp_path, monkeypatch, largest):
    monkeypatch.setattr("astro_galtrans.statistics.resampling.LARGEST", largest)
    run(survey, tmp_path / "out.zarr")
    stamps = Stamps.from_files(tmp_path / "out.zarr", "cfhtls-wide")
    rng = np.random.default_rng(1)
    np.save(tmp_path / "real.npy", stamps.read() * rng.uniform(0.9, 1.1, (12, 1, 1, 1)).astype("f4"))
    command = ["fidelity", "--shards", str(tmp_path / "real.npy"), f"mine={tmp_path / 'out.zarr'}", "-o"]
    assert main([*command, str(tmp_path / "c")]) == 0
    real = Stamps.from_files(tmp_path / "real.npy", "cfhtls-wide", pixel_scale=stamps.pixel_scale)
    keys = ["model", "band", "region", "quantity", "statistic", "pair", "frequency"]
    for level, compared in (
        ("pixel", pixel_fidelity), ("photometry", photometry_fidelity), ("morphology", morphology_fidelity)
    ):  # fmt: skip
        found = Result.read(tmp_path / "c" / level)
        whole = compared(real, {"mine": stamps}, bins=1, progress=False)
        assert (tmp_path / "c" / level / "report.html").exists() and found.meta["galaxies"] == 12
        for name, table in found.tables.items():
            labels = [key for key in keys if key in table.colnames]
            rows = {tuple(row[labels]): row for row in whole[name]}
            assert len(table) == len(whole[name]) > 0
            for row in table:
                for column in {"value", "low", "high", "n", "none_in_region", *EXCLUDED} & set(table.colnames):
                    other, what = rows[tuple(row[labels])][column], (level, name, column, *row[labels])
                    np.testing.assert_allclose(row[column], other, rtol=1e-6, atol=1e-9, err_msg=str(what))
    page = (tmp_path / "c" / "index.html").read_text()
    assert all(f"{level}/report.html" in page for level in ("pixel", "photometry", "morphology"))


@quiet
def test_what_shards_cannot_be_compared_by_is_told(survey, tmp_path):
    run(survey, tmp_path / "out.zarr")
    stamps = Stamps.from_files(tmp_path / "out.zarr", "cfhtls-wide")
    np.save(tmp_path / "real.npy", stamps.read())
    real, known = tmp_path / "real.npy", {"progress": False, "levels": ["photometry"]}
    compare_shards(real, {"mine": tmp_path / "out.zarr"}, tmp_path / "c", **known)
    for level, command in (("anomaly", "galtrans anomalies"), ("redshift", "galtrans redshift")):
        with pytest.raises(ValueError, match=command):
            compare_shards(real, {"mine": tmp_path / "out.zarr"}, tmp_path / "d", [level])
    with pytest.raises(FileExistsError, match=r"other settings \(translated, made"):
        compare_shards(real, {"other": tmp_path / "out.zarr"}, tmp_path / "c", **known)
    np.save(tmp_path / "eleven.npy", stamps.read(slice(11)))
    with pytest.raises(ValueError, match="has 11 stamps, the shards 12"):
        compare_shards(tmp_path / "eleven.npy", {"mine": tmp_path / "out.zarr"}, tmp_path / "d", progress=False)
    run(survey, tmp_path / "less.zarr", seed=1)
    next((tmp_path / "less.zarr").glob("shard-*1.zarr")).rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="1 of 3 shards are missing"):
        compare_shards(tmp_path / "less.zarr", {"mine": tmp_path / "out.zarr"}, tmp_path / "d", progress=False)


@pytest.mark.parametrize(
    ("option", "way"),
    [
        (["--output-grid", "target", "--catalogue", "x.ecsv"], "reproject_interp"),
        (["--subtract-background", "--block"], "Background2D"),
        (["--saturation", "50", "--block"], "--bad-planes"),
        (["--saturation", "g=50,r=60", "--block"], "--bad-planes"),
    ],
)
def test_options_that_need_a_whole_image_are_refused_with_a_way_out(option, way, capsys):
    assert main(["translate", "x.fits", "-m", MODEL, "-o", "out.zarr", *option]) == 1
    error = capsys.readouterr().err
    assert f"{option[0]} does not go with --" in error and way in error


def test_options_that_shards_cannot_have_are_refused(capsys):
    assert main(["fidelity", "--shards", "a.npy", "b.zarr", "-o", "out", "--number", "3", "--take", "mean"]) == 1
    error = capsys.readouterr().err
    assert "--take, --number cannot be had of shards; without --shards: galtrans fidelity SOURCE" in error


@quiet
@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"version": "0.0.1"}, r"the worker tcp://.* has version 0.0.1 of astro_galtrans, this process .*; install"),
        ({"weights": False}, r"the worker tcp://.* has no weights \(.*\) of srgan-sdss-cfhtls, this process .*; put"),
    ],
)
def test_a_worker_of_another_version_or_without_weights(survey, tmp_path, other, error):
    with (
        processes(path=package(tmp_path / "other", **other), cwd=tmp_path) as (address, _),
        cluster(scheduler=address) as client,
        pytest.raises(RuntimeError, match=error),
    ):
        run(survey, tmp_path / "out.zarr", client=client)
    assert shards(tmp_path / "out.zarr") == []
    assert run(survey, tmp_path / "out.zarr")["translated"] == 12


@quiet
def test_workers_in_another_folder_write_where_this_process_means(survey, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(find_weights(MODEL), tmp_path / "here" / "mine.safetensors")
    monkeypatch.chdir(tmp_path / "here")
    with processes(cwd=tmp_path / "there") as (address, _), cluster(scheduler=address) as client:
        counts = translate_catalogue(
            survey / "objects.parquet", [str(survey / "*.fits")], "mine.safetensors", "out.zarr", size=SIDE, shard=5,
            progress=False, client=client,
        )  # fmt: skip
        measure_shards("out.zarr", "measured", client=client, progress=False)
    assert counts["translated"] == 12 and len(shards("out.zarr")) == 3
    run(survey, tmp_path / "one.zarr")
    assert content("out.zarr") == content(tmp_path / "one.zarr")
    measure_shards(tmp_path / "one.zarr", "alone", progress=False)
    names = sorted(path.name for path in Path("alone").glob("*.parquet"))
    assert len(names) == 3
    for name in (*names, "statistics.ecsv"):
        assert (Path("measured") / name).read_bytes() == (Path("alone") / name).read_bytes()
    assert list((tmp_path / "there").glob("*.zarr")) == []


@quiet
def test_a_disk_that_is_full_is_told_and_finished_shards_are_kept(survey, tmp_path):
    """The kernel lets no file of the worker become larger than what the shard of two objects needs."""
    run(survey, tmp_path / "one.zarr")
    output = tmp_path / "out.zarr"
    with processes() as (address, _), cluster(scheduler=address) as client:
        limit = max(p.stat().st_size for p in (tmp_path / "one.zarr" / "shard-000002.zarr").rglob("*") if p.is_file())

        def hold():  # in the main thread of the worker: Python ignores SIGXFSZ already
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        shutil.copytree(tmp_path / "one.zarr", output, ignore=shutil.ignore_patterns("shard-000000.zarr"))
        before = content(output)
        client.run(hold)
        with pytest.raises(OSError, match=r"File too large.*shard-000000\.zarr"):
            run(survey, output, client=client)
    assert content(output) == before and list(output.glob(".part*")) == []
    run(survey, output)
    assert content(output) == content(tmp_path / "one.zarr")


def test_a_scheduler_without_workers(survey, monkeypatch):
    monkeypatch.setattr("astro_galtrans.survey.shards.PATIENCE", 1)
    with (
        processes(workers=0) as (address, _),
        pytest.raises(TimeoutError, match="has no workers; start some with: dask worker tcp"),
        cluster(scheduler=address),
    ):
        pass


@quiet
@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_told_and_a_new_one_goes_on(survey, tmp_path):
    output = tmp_path / "out.zarr"
    command = [sys.executable, "-m", "astro_galtrans", "translate", "--catalogue", str(survey / "objects.parquet"),
               "--images", str(survey / "*.fits"), "-m", MODEL, "--size", str(SIDE), "--shard", "1", "-o", str(output),
               "--scheduler"]  # fmt: skip
    with processes() as (address, (scheduler, _)):
        running = subprocess.Popen([*command, address], stderr=subprocess.PIPE, text=True)
        while not list(output.glob("shard-*.zarr")):
            assert running.poll() is None
            time.sleep(0.01)
        scheduler.kill()
        error = running.communicate(timeout=120)[1]
    assert running.returncode == 1 and f"the scheduler {address} is lost" in error and "Traceback" not in error
    assert "dashboard: http" in error
    with processes(workers=2) as (address, _):
        assert main([*command[3:], address]) == 0
    run(survey, tmp_path / "one.zarr", shard=1)
    assert content(output) == content(tmp_path / "one.zarr")


@quiet
@pytest.mark.slow
def test_a_mosaic_goes_on_after_its_scheduler_was_killed(tmp_path):
    for band, image in make_bands((260, 200)).items():
        image.write(tmp_path / f"frame-{band}.fits")
    frames, output = [str(tmp_path / f"frame-{band}.fits") for band in BANDS], tmp_path / "out.zarr"
    command = [sys.executable, "-m", "astro_galtrans", "translate", *frames, "-m", MODEL, "--block", "32", "-o"]
    with processes() as (address, (scheduler, _)):
        running = subprocess.Popen([*command, output, "--scheduler", address], stderr=subprocess.PIPE, text=True)
        journal = tmp_path / ".part-out.zarr.blocks"
        while not (journal.exists() and len(journal.read_text().splitlines()) > 1):
            assert running.poll() is None
            time.sleep(0.01)
        scheduler.kill()
        error = running.communicate(timeout=120)[1]
    assert running.returncode == 1 and f"the scheduler {address} is lost" in error and "Traceback" not in error
    assert not output.exists()
    assert main([*command[3:], str(output)]) == 0
    assert main([*command[3:], str(tmp_path / "one.zarr")]) == 0
    found, whole = (zarr.open_group(path, mode="r") for path in (output, tmp_path / "one.zarr"))
    for name, array in whole.arrays():
        np.testing.assert_array_equal(found[name][:], array[:])

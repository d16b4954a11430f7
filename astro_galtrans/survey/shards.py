"""Work that is divided into shards: the workers, the settings of a run, and shards that appear whole or not at all."""

import json
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from astro_galtrans._files import named, whole_file
from astro_galtrans._optional import require
from astro_galtrans._release import __version__
from astro_galtrans.stamps import SHARDS_FILE

__all__ = [
    "check_settings", "check_workers", "cluster", "open_shard", "read_settings", "shard_path", "sweep_unfinished",
    "whole_folder",
]  # fmt: skip

PATIENCE = 30  # seconds within which a scheduler must have a worker; who queues for longer starts workers first
LEGIBLE = 40  # characters; hashes are longer
#: Seconds within which a dead worker must be replaced, or is given up: on a busy machine torch alone takes longer to be
#: imported than dask's 15, after which the others would have to do the work.
REPLACED = 300
UNFINISHED = ".part-"  # begins the names of shards that are being written


@contextmanager
def cluster(workers=None, scheduler=None):
    """
    Workers of `dask.distributed`, as a client.

    Parameters
    ----------
    workers : int, optional
        Processes on this machine, of one thread each.
    scheduler : str, optional
        Address of a scheduler that runs already.

    Yields
    ------
    `distributed.Client` or None
        None if neither is asked for.

    Raises
    ------
    OSError
        If there is no scheduler at the address.
    TimeoutError
        If the scheduler has no workers.

    Examples
    --------
    >>> from astro_galtrans.survey import cluster
    >>> with cluster(workers=1) as client:  # in a script, below ``if __name__ == "__main__":``
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    if not (workers or scheduler):
        yield None
        return
    distributed = require("distributed", "scale")
    if scheduler:
        with distributed.Client(scheduler) as client:
            _await_worker(client, scheduler)
            yield client
        return
    # its workers have one thread for numpy and torch each, by dask's own default (OMP_NUM_THREADS)
    with (
        require("dask", "scale").config.set({"distributed.deploy.lost-worker-timeout": REPLACED}),
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local) as client,
    ):
        yield client


def _await_worker(client, scheduler):
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as err:
        msg = f"the scheduler {scheduler} has no workers; start some with: dask worker {scheduler}"
        raise TimeoutError(msg) from err


def check_workers(client, translator=None, sha256=None):
    """
    Raise RuntimeError unless all workers have this version of the package and, if one is named, these weights.

    Workers that join later are not asked here: a task that translates looks at the weights itself.
    """

    def found(name):  # nested, so that it is sent by value: a worker may lack the package
        try:
            from astro_galtrans._release import __version__ as version
        except ImportError as err:
            return f"no astro_galtrans ({err})", None
        if name is None:
            return version, None
        try:
            from astro_galtrans import load_translator

            return version, load_translator(name).checkpoint.sha256
        except Exception as err:  # noqa: BLE001 - whatever is wrong there is told here
            return version, f"{type(err).__name__}: {err}"

    # one that dies while it is asked is none to wait for: others do its work
    answers = client.run(found, translator, on_error="return") if client else {}
    for worker, answer in answers.items():
        if isinstance(answer, OSError):
            continue
        if isinstance(answer, Exception):
            msg = f"the worker {worker} cannot be asked for its version: {type(answer).__name__}: {answer}"
            raise RuntimeError(msg) from answer
        version, weights = answer
        if version != __version__:
            which = f"the worker {worker} has version {version} of astro_galtrans, this process {__version__}"
            msg = f"{which}; install the same on all"
            raise RuntimeError(msg)
        if weights != sha256:
            other = f"other weights ({weights[:12]})" if " " not in weights else f"no weights ({weights})"
            which = f"the worker {worker} has {other} of {translator}, this process {sha256[:12]}"
            msg = f"{which}; put the same file where all workers see it"
            raise RuntimeError(msg)


def check_settings(place, settings):
    """Write the settings of a run into a file; FileExistsError if another run with others wrote it before."""
    if place.exists():
        there = json.loads(place.read_text(encoding="utf8"))
        differ = [_difference(name, there.get(name), value) for name, value in settings.items()]
        if any(differ):
            listed = ", ".join(filter(None, differ))
            msg = f"{place.parent} holds shards made with other settings ({listed}); choose another folder"
            raise FileExistsError(msg)
        return
    with whole_file(place) as file:
        file.write_text(json.dumps(settings, indent=1), encoding="utf8")


def _difference(name, there, asked):
    """What a message says of a setting that differs: both values, if they are short; None for one that does not."""
    if there == asked:
        return None
    short = all(not isinstance(value, dict | list) and len(str(value)) < LEGIBLE for value in (there, asked))
    return f"{name} {there}, asked for {asked}" if short else name


def read_settings(folder):
    """Return the settings of a translated survey; FileNotFoundError if the folder holds none."""
    place = Path(folder).expanduser() / SHARDS_FILE
    if not place.exists():
        msg = f"{folder} holds no shards of a survey (no {SHARDS_FILE}), which galtrans translate --catalogue makes"
        raise FileNotFoundError(msg)
    return json.loads(place.read_text(encoding="utf8"))


def open_shard(folder, number):
    """Return the zarr group of a shard."""
    return require("zarr", "scale").open_group(shard_path(folder, number), mode="r")


def shard_path(folder, number):
    """Return the path of a shard of a survey."""
    return Path(folder) / f"shard-{number:06d}.zarr"


@contextmanager
def whole_folder(place):
    """
    Yield the name of a temporary folder, which becomes ``place`` when the block ends without an error.

    Each writer has a name of its own: a worker that was taken for dead may still write while another one does its work.
    Of two that finish, the first one's folder stays.
    """
    unfinished = place.with_name(f"{UNFINISHED}{uuid.uuid4().hex[:12]}-{place.name}")
    try:
        with named(place):
            yield unfinished
            if not place.exists():
                unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sweep_unfinished(folder):
    """Remove shards that killed runs left half-written."""
    for place in Path(folder).glob(f"{UNFINISHED}*"):
        shutil.rmtree(place, ignore_errors=True)

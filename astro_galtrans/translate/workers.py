"""Parts of a long work, done by this process or by workers of `dask.distributed`."""

__all__ = ["done_by"]


def done_by(function, numbers, *columns, client=None, **common):
    """
    Yield what a function returns of each part of some work, as they are done.

    Parameters
    ----------
    function : callable
        ``function(number, *columns, **common)``, of a module that workers can import.
    numbers : sequence of int
        Numbers of the parts: shards of a survey or blocks of a mosaic.
    *columns : sequence
        More arguments, one for each part.
    client : `distributed.Client`, optional
        Workers; by default this process does one part after the other.
    **common
        Arguments that are the same for all parts.

    Raises
    ------
    ConnectionError
        If the scheduler is lost.
    RuntimeError
        If a worker died over a part again and again, out of memory say.
    Exception
        The first one that a part raises; parts that are finished are kept.
    """
    if client is None:
        yield from (function(*each, **common) for each in zip(numbers, *columns, strict=True))
        return
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    futures = client.map(function, numbers, *columns, pure=False, **common)
    address = client.scheduler.address
    try:
        for future in as_completed(futures):
            try:
                yield future.result()
            except KilledWorker as err:
                msg = f"{err.allowed_failures + 1} workers died over one part; is their memory too small? ({err})"
                raise RuntimeError(msg) from err
            except (CancelledError, CommClosedError) as err:
                msg = f"the scheduler {address} is lost; what is done is kept, and the same call goes on with a new one"
                raise ConnectionError(msg) from err
            future.release()
    finally:
        if client.status == "running":
            client.cancel(futures)

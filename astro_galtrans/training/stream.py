"""Batches made ready while the network works: by a thread, or by processes."""

import queue
import threading

__all__ = ["stream"]

AHEAD = 4  # batches


def stream(sampler, start, stop, *, workers=0, pinned=False):
    """
    Yield the batches of a sampler in order, prepared ahead.

    Parameters
    ----------
    sampler : `~astro_galtrans.training.data.CropSampler`
    start, stop : int
        Number of the first batch, and of the one after the last.
    workers : int, optional
        Processes; 0 for a thread of this one.
    pinned : bool, optional
        Into memory from which a GPU copies without waiting?

    Yields
    ------
    `~astro_galtrans.training.data.Batch`
    """
    if workers:
        yield from _from_processes(sampler, start, stop, workers, pinned)
        return
    yield from _from_thread(sampler, start, stop, pinned)


def _from_processes(sampler, start, stop, workers, pinned):
    from torch.utils.data import DataLoader

    yield from DataLoader(
        _Numbered(sampler), batch_size=None, sampler=range(start, stop), num_workers=workers,
        pin_memory=pinned, prefetch_factor=AHEAD,
    )  # fmt: skip


class _Numbered:
    """A sampler as torch's loader wants it."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __getitem__(self, step):
        return self.sampler.batch(step)


def _from_thread(sampler, start, stop, pinned):
    ready, done = queue.Queue(AHEAD), threading.Event()

    def fill():
        for step in range(start, stop):
            try:
                batch = sampler.batch(step)
                batch = batch.map(lambda part: part.pin_memory()) if pinned else batch
            except BaseException as err:  # noqa: BLE001 - raised where the batch is asked for
                batch = err
            while not done.is_set():
                try:
                    ready.put(batch, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if done.is_set() or isinstance(batch, BaseException):
                return

    worker = threading.Thread(target=fill, name="galtrans-batches", daemon=True)
    worker.start()
    try:
        for _ in range(start, stop):
            batch = ready.get()
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        done.set()
        worker.join()

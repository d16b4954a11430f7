"""The logs of a training: CSV files, and TensorBoard's event files if that is installed."""

import csv
import warnings
from pathlib import Path

from astro_galtrans._files import whole_file
from astro_galtrans.exceptions import GaltransWarning

__all__ = ["CSVLog", "Logs"]


class CSVLog:
    """
    A CSV file with a row per logged step; later rows may have columns that the first ones lack.

    Parameters
    ----------
    path : `~pathlib.Path`
    """

    def __init__(self, path):
        self.path = Path(path)

    def rows(self):
        """Return the rows there are, as dicts of str."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf8") as file:
            return list(csv.DictReader(file))

    def rewind(self, step):
        """Drop the rows beyond a step: a resumed training writes them again."""
        rows = self.rows()
        kept = [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) <= step]
        if len(kept) < len(rows):
            self._rewrite(kept)

    def write(self, row):
        """Append a row, a dict."""
        row = {name: f"{v:.6g}" if isinstance(v, float) else str(v) for name, v in row.items()}
        columns = self._columns()
        if not set(row) <= set(columns):
            self._rewrite([*self.rows(), row])
            return
        with self.path.open("a", newline="", encoding="utf8") as file:
            csv.DictWriter(file, columns).writerow(row)

    def _columns(self):
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf8") as file:
            return next(csv.reader(file), [])

    def _rewrite(self, rows):
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with whole_file(self.path) as place, place.open("w", newline="", encoding="utf8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)


class Logs:
    """
    The logs of a training: ``losses.csv``, ``validation.csv``, and ``tensorboard/`` if TensorBoard is installed.

    A log that cannot be written (a full disk) is warned of once; the training goes on.

    Parameters
    ----------
    directory : `~pathlib.Path`
    step : int
        Step at which the training stands; rows beyond it, of a sitting that was killed, are dropped.
    """

    def __init__(self, directory, step):
        self.files = {name: CSVLog(directory / f"{name}.csv") for name in ("losses", "validation")}
        self.board, self._warned = _board(directory / "tensorboard", step), False
        for file in self.files.values():
            self._guard(file.rewind, step)

    def write(self, name, row):
        """Write a row, a dict with ``step``, to the file called ``name`` and to the board."""
        self._guard(self.files[name].write, row)
        if self.board is not None:
            for key, value in row.items():
                if key != "step":
                    self._guard(self.board.add_scalar, f"{name}/{key}", value, row["step"])

    def picture(self, step, path):
        """Show a picture, a PNG file or None, on the board."""
        if path and self.board is not None:
            from matplotlib.image import imread

            self._guard(self.board.add_image, "samples", imread(path)[..., :3], step, dataformats="HWC")

    def close(self):
        """Write what is still in memory."""
        if self.board is not None:
            self._guard(self.board.close)

    def _guard(self, function, *args, **kwargs):
        try:
            function(*args, **kwargs)
        except OSError as err:
            if not self._warned:
                warnings.warn(f"a log of the training cannot be written: {err}", GaltransWarning, stacklevel=2)
            self._warned = True


def _board(folder, step):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)

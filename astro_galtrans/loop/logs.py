"""The logs of a training: CSV files, and TensorBoard's event files if that is installed."""

import csv
import warnings
from contextlib import suppress

from astro_galtrans._files import whole_file
from astro_galtrans.exceptions import GaltransWarning

__all__ = ["CSVLog", "Logs"]


class CSVLog:
    """
    A CSV file with a row per logged step; later rows may have columns that the first ones lack.

    Rows there already that lie beyond ``step``, of a sitting that was killed, are dropped.
    """

    def __init__(self, path, step):
        self.path, self.rows = path, []
        if path.exists():
            with path.open(newline="", encoding="utf8") as file:
                rows = csv.DictReader(file)
                self.rows = [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) <= step]

    def write(self, row):
        """Add a row, a dict; the file is written anew, for its columns may have become more."""
        self.rows.append({name: f"{v:.6g}" if isinstance(v, float) else str(v) for name, v in row.items()})
        columns = dict.fromkeys(name for row in self.rows for name in row)
        with whole_file(self.path) as place, place.open("w", newline="", encoding="utf8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


class Logs:
    """
    The logs of a training: ``losses.csv``, ``validation.csv``, and ``tensorboard/`` if TensorBoard is installed.

    Rows beyond ``step``, where the training stands, are dropped: they are of a sitting that was killed. A log that
    cannot be written (a full disk) is warned of once; the training goes on.
    """

    def __init__(self, directory, step):
        self.files = {name: CSVLog(directory / f"{name}.csv", step) for name in ("losses", "validation")}
        self.board, self._warned = None, False
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

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

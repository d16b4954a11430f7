"""
The result of a comparison: tables that can be written, read, drawn and shown on a page.

A `Result` holds tables and the settings they were made with, nothing else. Figures are drawn from the tables, so that a
result that was read from disk draws the same ones.
"""

import json
import re
from contextlib import nullcontext
from html import escape
from inspect import cleandoc
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from astro_galtrans._columns import table_hdu
from astro_galtrans._files import CheckedFile, whole_file
from astro_galtrans._optional import require_report
from astro_galtrans._plain import plain_name
from astro_galtrans.bandstack import write_hdulist
from astro_galtrans.units import parse_unit

from .page import Figure, Section, files_of, table_of, uri, write_page

__all__ = ["FIGURES", "FORMATS", "Result", "clear_report"]

FORMATS = {"ecsv": "ascii.ecsv", "fits": "fits"}  #: ending of the file to astropy's format
FIGURES = "value", "low", "high"  #: columns of the long tables
FEW = 100  # galaxies: an interval from n of them is itself uncertain by 1 / sqrt(2 n), 7 % for so many
LONGEST = 60  # rows of a table on the page: a table of all galaxies would be megabytes of HTML


class Result:
    """
    Tables of a comparison.

    ``statistics``
        One figure in a row, with the labels that tell it from others (``model``, ``band``, ``region``, ``quantity``,
        ``statistic`` and so on, as far as they make sense), ``value``, the ends of its interval ``low`` and ``high``
        (plain numbers: astropy writes no quantity called "value"), and the number of galaxies ``n``.
    ``bins``
        The same in bins, with the columns ``by``, ``bin_low``, ``bin_high`` and ``middle``.

    Subclasses describe their tables like this and have methods ``plot_NAME()`` that return a figure, or None where the
    tables have nothing to draw; both descriptions become captions of the report.

    Parameters
    ----------
    tables : dict of str to `~astropy.table.QTable`
        The tables by name.
    meta : dict, optional
        The settings they were made with: plain values that JSON can hold.
    """

    title = "Comparison"
    key, claim = {}, ""  #: labels of the figure of each translation that reports open with, and what it is
    in_fits = ()  #: tables that are always written as FITS: their columns hold images

    def __init__(self, tables, meta=None):
        self.tables, self.meta = dict(tables), dict(meta or {})

    def __getitem__(self, name):
        if name not in self.tables:
            msg = f"there is no table {name!r}; there are {', '.join(self.tables)}"
            raise KeyError(msg)
        return self.tables[name]

    def __repr__(self):
        sizes = ", ".join(f"{name} ({len(table)} rows)" for name, table in self.tables.items())
        return f"<{type(self).__name__}: {sizes}>"

    def _repr_html_(self):
        parts = (f"<h4>{escape(name)}</h4>{table._repr_html_()}" for name, table in self.tables.items())
        return f"<h3>{escape(self.title)}</h3>{''.join(parts)}"

    @property
    def models(self):
        """Names of the translations."""
        return _different(self["statistics"]["model"])

    @property
    def bands(self):
        """Names of the bands."""
        return list(self.meta["bands"]) if "bands" in self.meta else _different(self["statistics"]["band"])

    def rows(self, name, **where):
        """
        Return the rows of a table with these entries.

        Parameters
        ----------
        name : str
            Of the table.
        **where
            Column to entry.

        Raises
        ------
        KeyError
            If there is no such column, or no such row; the message lists the labels that there are.
        """
        table = self[name]
        chosen = np.ones(len(table), dtype=bool)
        for column, entry in where.items():
            if column not in table.colnames:
                msg = f"table {name!r} has no column {column!r}; there are {', '.join(table.colnames)}"
                raise KeyError(msg)
            chosen &= np.asarray(table[column]) == entry
        if not chosen.any():
            known = "; ".join(f"{label}: {', '.join(_different(table[label]))}" for label in _labels(table))
            msg = f"table {name!r} has no row with {', '.join(f'{k}={v!r}' for k, v in where.items())}; it has {known}"
            raise KeyError(msg)
        return table[chosen]

    def value(self, quantity, statistic=None, **where):
        """
        Return a figure of the table ``statistics`` with its interval: value, low, high.

        Parameters
        ----------
        quantity : str
            Its name.
        statistic : str, optional
            Which statistic of the quantity.
        **where
            Other labels, such as ``model="swin"``, ``band="r"`` or ``region="source"``. Of labels that are not given,
            the first one of those that the quantity has is taken; of bands ``"all"``, or else the middle one.

        Raises
        ------
        KeyError
            If there is no such figure; the message lists the labels that there are.
        """
        row = self._row({"quantity": quantity} | ({} if statistic is None else {"statistic": statistic}) | where)
        return tuple(float(row[name]) for name in FIGURES)

    def _row(self, wanted):
        rows = self.rows("statistics", **wanted)
        for label in (name for name in _labels(rows) if name not in wanted):
            there = _different(rows[label])
            usual = there[0] if label != "band" else "all" if "all" in there else there[len(there) // 2]
            rows = rows[np.asarray(rows[label]) == usual]
        return rows[0]

    def verdict(self):
        """Return a sentence for each translation: its key figure with its interval, and whether galaxies are few."""
        try:
            rows = [self._row(self.key | {"model": model}) for model in self.models if self.key]
        except KeyError:  # the key figure was not asked for
            return []
        return list(map(self._sentence, rows))

    def _sentence(self, row):
        value, low, high = (float(row[name]) for name in FIGURES)
        level = f"{100 * self.meta['level']:.0f} % interval " if "level" in self.meta else ""
        interval = f"{level}{low:.3g} to {high:.3g}, " if np.isfinite([low, high]).all() else "no interval, "
        band = f" in {row['band']}" if "band" in row.colnames and row["band"] not in {"", "all"} else ""
        few = f" Few galaxies (fewer than {FEW}): do not rely on this figure." if row["n"] < FEW else ""
        figure = "not known" if np.isnan(value) else f"{value:.3g}"
        return f"{row['model']}: {self.claim}{band} is {figure} ({interval}{row['n']:,} galaxies).{few}"

    def figures(self):
        """Yield the name and `matplotlib.figure.Figure` of everything there is to draw."""
        yield from ((name, figure) for name, figure in self._figures() if figure is not None)

    def _figures(self):
        for method in sorted(name for name in dir(self) if name.startswith("plot_")):
            yield method.removeprefix("plot_"), getattr(self, method)()

    def write(self, path, *, format=None, overwrite=False):  # noqa: A002 - astropy's word
        """
        Write all tables.

        Parameters
        ----------
        path : path-like
            A folder, made if missing, for one file per table; or a file ending in ``.fits`` for all tables in it.
        format : {"ecsv", "fits"}, optional
            Kind of the files in a folder; ECSV by default.
        overwrite : bool, optional
            Replace what is there; each file is written beside and renamed.

        Returns
        -------
        list of `~pathlib.Path`
            The files.

        Raises
        ------
        ValueError
            If the format is not one of these.
        OSError
            If a file exists and ``overwrite`` is False; before any is written.
        """
        path = Path(path)
        if path.suffix == ".fits" and not path.is_dir() and format in {None, "fits"}:
            _check_free([path], overwrite)
            tables = (table_hdu(table, name.upper()) for name, table in self._all_tables(FORMATS).items())
            write_hdulist(fits.HDUList([fits.PrimaryHDU(), *tables]), path, overwrite)
            return [path]
        format = format or "ecsv"  # noqa: A001
        if format not in FORMATS or path.suffix in {f".{ending}" for ending in FORMATS}:
            msg = (
                f"write to a folder with format {', '.join(FORMATS)}, or to a .fits file; got {str(path)!r}, {format!r}"
            )
            raise ValueError(msg)
        files = {
            path / f"{name}.{'fits' if name in self.in_fits else format}": table
            for name, table in self._all_tables({format}).items()
        }
        (other,) = (path / f"about.{ending}" for ending in FORMATS if ending != format)
        _check_free([*files, other], overwrite)
        path.mkdir(parents=True, exist_ok=True)
        for file, table in files.items():
            packed = file.suffix == ".fits"
            with whole_file(file) as place, CheckedFile(place) if packed else nullcontext(place) as to:
                table.write(to, format=FORMATS[file.suffix[1:]])
        other.unlink(missing_ok=True)  # lest an earlier result in the other format be read
        return list(files)

    @classmethod
    def read(cls, path):
        """
        Read what `write` wrote.

        Parameters
        ----------
        path : path-like
            The folder, or the ``.fits`` file.

        Raises
        ------
        FileNotFoundError
            If there is no result.
        """
        path = Path(path)
        ending = "fits" if path.is_file() or (path / "about.fits").exists() else "ecsv"
        meta = {str(row["what"]): json.loads(str(row["value"])) for row in _read_table(path, "about", ending)}
        # Only tables that are named: a folder may hold those of an earlier result too, which this one does not have.
        names, units = meta.pop("tables"), meta.pop("units", {})
        tables = {name: _read_table(path, name, "fits" if name in cls.in_fits else ending) for name in names}
        for name, column, unit in ((name, *each) for name, found in units.items() for each in found.items()):
            tables[name][column] = tables[name][column] * parse_unit(unit)
        return cls(tables, meta)

    def _all_tables(self, formats):
        """All tables by name, with one about them; for FITS files, that has the units which FITS does not know."""
        units = {name: _not_in_fits(table) if "fits" in formats else {} for name, table in self.tables.items()}
        bare = {name: QTable(table, copy=False) for name, table in self.tables.items()}
        for name, column in ((name, column) for name, found in units.items() for column in found):
            bare[name][column] = bare[name][column].value
        meta = self.meta | {"tables": list(self.tables), "units": units}
        values = [json.dumps(value) for value in meta.values()]
        about = QTable([list(meta), values], names=["what", "value"], dtype=["str", "str"])
        return {"about": about} | bare

    def report(self, directory, *, format="ecsv", overwrite=False):  # noqa: A002
        """
        Write tables, figures (PNG) and a page that shows them, ``report.html``.

        Parameters
        ----------
        directory : path-like
            Where to; made if missing.
        format : {"ecsv", "fits"}, optional
            Kind of the tables.
        overwrite : bool, optional
            Replace the report that is there, and all its tables and figures.

        Returns
        -------
        `~pathlib.Path`
            The page.

        Raises
        ------
        ImportError
            If matplotlib or jinja2 is not installed; before anything is written.
        ValueError
            If a figure has a name, of a translation, that cannot be that of a file.
        """
        require_report()
        directory = Path(directory)
        page = directory / "report.html"
        _check_free([page], overwrite)
        clear_report(directory)
        files = [file.name for file in self.write(directory, format=format, overwrite=overwrite)]
        figures = {}
        for name, figure in self.figures():
            file = directory / f"{plain_name(name, 'the name of a figure')}.png"
            with whole_file(file) as place:
                figure.savefig(place, format="png")
            figures[name] = file
        shown = [Section("Figures", self.pictures(figures))] if figures else []
        sections = [*shown, *self._tables(format)]
        beside = [*files, *(file.name for file in figures.values())]
        return write_page(page, self.title, sections, about=self.meta, lead=self.lead(), beside=beside)

    def lead(self):
        """Return what a page opens with: the verdict, and a warning where galaxies are few."""
        few, number = self._counted()
        warning = [f"!{few} of {number} statistics are of fewer than {FEW} galaxies (n)."] if few else []
        return [*self.verdict(), *warning]

    def pictures(self, figures):
        """Return what a page shows of PNG files, by name of the figure."""
        return [
            Figure(uri(file.read_bytes(), "png"), self.caption(name), file.stem, file.name)
            for name, file in figures.items()
        ]

    def _tables(self, ending):
        """A section for each table, of all statistics and of the first rows of others."""
        found = []
        for name, table in self.tables.items():
            number = len(table) if name == "statistics" else min(LONGEST, len(table))
            more = f"The first {LONGEST} of {len(table)} rows; all are in {name}.{ending}."
            captions = [text for text in (self._captions().get(name), more if number < len(table) else "") if text]
            found.append(Section(name, [*captions, table_of(table, number)]))
        return found

    def caption(self, figure):
        """Return what the method that drew a figure says of it; names of figures begin as those of methods."""
        methods = [name for name in dir(self) if name.startswith("plot_") and f"plot_{figure}".startswith(name)]
        text = (getattr(self, max(methods, key=len)).__doc__ or "") if methods else ""
        return _without_markup(re.sub(r" \(the first by default\)|; None[^.]*", "", cleandoc(text).split("\n\n")[0]))

    @classmethod
    def _captions(cls):
        """What the docstrings of the classes say of each table."""
        found = {}
        for text in (cleandoc(part.__doc__ or "") for part in reversed(cls.__mro__)):
            for names, caption in re.findall(r"^(``\w+``(?:, ``\w+``)*)\n((?: +.*(?:\n|$))+)", text, re.MULTILINE):
                found |= dict.fromkeys(re.findall(r"\w+", names), _without_markup(caption))
        return found

    def _counted(self):
        """How many figures are of fewer than `FEW` galaxies, of how many."""
        table = self.tables.get("statistics")
        number = np.asarray(table["n"]) if "n" in getattr(table, "colnames", ()) else np.array([])
        return int(np.count_nonzero(number < FEW)), len(number)


def clear_report(directory):
    """Remove the report in a folder: its page, and the figures and tables that the page shows."""
    page = Path(directory) / "report.html"
    if page.exists():
        for name in files_of(page):
            # a page that was tampered with may not lead out of its folder, or to a file that is none of a report
            if Path(name).name == name and Path(name).suffix[1:] in {"png", *FORMATS}:
                (page.parent / name).unlink(missing_ok=True)
        page.unlink()


def _without_markup(text):
    """Text without the marks of reStructuredText, on one line."""
    return re.sub(r"`+~?(?:[\w.]*\.)?([^`]*)`+", r"\1", " ".join(text.split()))


def _labels(table):
    """Names of the columns of text."""
    return [name for name in table.colnames if table[name].dtype.kind == "U"]


def _different(column):
    """The different entries of a column as text, in order."""
    return list(dict.fromkeys(map(str, column)))


def _check_free(paths, overwrite):
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        msg = f"{', '.join(there)} exists; overwrite=True replaces it"
        raise OSError(msg)


def _not_in_fits(table):
    """Units of columns that the FITS standard has no name for, such as nanomaggies."""
    found = {}
    for column in table.colnames:
        unit = getattr(table[column], "unit", None)
        try:
            _ = unit and unit.to_string("fits")
        except ValueError:
            found[column] = unit.to_string()
    return found


def _read_table(path, name, ending):
    """Read a table of a file or folder, its text as text: FITS gives bytes, and ECSV masks text that is empty."""
    try:
        place = (path, {"hdu": name}) if path.is_file() else (path / f"{name}.{ending}", {"format": FORMATS[ending]})
        table = QTable.read(place[0], **place[1])
    except (FileNotFoundError, KeyError):
        msg = f"{path} holds no result of a comparison (no table {name!r})"
        raise FileNotFoundError(msg) from None
    table.convert_bytestring_to_unicode()
    for column in table.colnames:
        kind, masked = table[column].dtype.kind, getattr(table[column], "mask", None) is not None
        if kind == "U" and masked:
            table[column] = np.asarray(table[column].filled(""))
        elif kind == "f" and masked:  # FITS masks what is NaN
            table[column] = table[column].filled(np.nan)
    return table

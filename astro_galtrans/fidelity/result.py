"""
The result of a comparison: tables that can be written, read, drawn and shown on a page.

A `Result` holds tables and the settings they were made with, nothing else. Figures are drawn from the tables, so that a
result that was read from disk draws the same ones.
"""

import json
from contextlib import nullcontext
from html import escape
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from astro_galtrans._files import CheckedFile, whole_file
from astro_galtrans._optional import require
from astro_galtrans.bandstack import open_fits, write_hdulist

__all__ = ["FIGURES", "FORMATS", "Result"]

FORMATS = {"ecsv": "ascii.ecsv", "fits": "fits"}  #: ending of the file to astropy's format
FIGURES = "value", "low", "high"  #: columns of the long tables
LONGEST = 60  # rows of a table on the page: a table of all galaxies would be megabytes of HTML


class Result:
    """
    Tables of a comparison.

    The table ``statistics`` is long: one figure in a row, with the labels that tell it from others (``model``,
    ``band``, ``region``, ``quantity``, ``statistic`` and so on, as far as they make sense), ``value``, the ends of its
    interval ``low`` and ``high`` (plain numbers; astropy writes no quantity called "value"), and the number of galaxies
    ``n``. ``bins`` has the same columns and ``by``,
    ``bin_low``, ``bin_high`` and ``middle``.

    Subclasses name themselves in `title` and have methods ``plot_NAME()`` that return a figure, or None where the
    tables have nothing to draw.

    Parameters
    ----------
    tables : dict of str to `~astropy.table.QTable`
        The tables by name.
    meta : dict, optional
        The settings they were made with: plain values that JSON can hold.
    """

    title = "Comparison"

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
        wanted = {"quantity": quantity} | ({} if statistic is None else {"statistic": statistic}) | where
        rows = self.rows("statistics", **wanted)
        for label in (name for name in _labels(rows) if name not in wanted):
            there = _different(rows[label])
            usual = there[0] if label != "band" else "all" if "all" in there else there[len(there) // 2]
            rows = rows[np.asarray(rows[label]) == usual]
        return tuple(float(rows[name][0]) for name in FIGURES)

    def figures(self):
        """Yield the name and `matplotlib.figure.Figure` of everything there is to draw."""
        for method in sorted(name for name in dir(self) if name.startswith("plot_")):
            figure = getattr(self, method)()
            if figure is not None:
                yield method.removeprefix("plot_"), figure

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
            write_hdulist(_hdus(self._all_tables()), path, overwrite)
            return [path]
        format = format or "ecsv"  # noqa: A001
        if format not in FORMATS or path.suffix in {f".{ending}" for ending in FORMATS}:
            msg = (
                f"write to a folder with format {', '.join(FORMATS)}, or to a .fits file; got {str(path)!r}, {format!r}"
            )
            raise ValueError(msg)
        files = {path / f"{name}.{format}": table for name, table in self._all_tables().items()}
        _check_free(files, overwrite)
        path.mkdir(parents=True, exist_ok=True)
        for file, table in files.items():
            with whole_file(file) as place, CheckedFile(place) if format == "fits" else nullcontext(place) as to:
                table.write(to, format=FORMATS[format])
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
        tables = _read_hdus(path) if path.is_file() else _read_folder(path)
        if "about" not in tables:
            msg = f"{path} holds no result of a comparison (no table 'about')"
            raise FileNotFoundError(msg)
        meta = {str(row["what"]): json.loads(str(row["value"])) for row in tables.pop("about")}
        # A folder may hold tables of an earlier result, which this one replaced and does not have.
        names = meta.pop("tables", list(tables))
        return cls({name: table for name, table in tables.items() if name in names}, meta)

    def _all_tables(self):
        meta = self.meta | {"tables": list(self.tables)}
        values = [json.dumps(value) for value in meta.values()]
        about = QTable([list(meta), values], names=["what", "value"], dtype=["str", "str"])
        return {"about": about} | self.tables

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
            Replace what is there.

        Returns
        -------
        `~pathlib.Path`
            The page.

        Raises
        ------
        ImportError
            If matplotlib or jinja2 is not installed; before anything is written.
        """
        jinja2 = require("jinja2", extra="report")
        require("matplotlib", extra="report")
        directory = Path(directory)
        page = directory / "report.html"
        _check_free([page], overwrite)
        self.write(directory, format=format, overwrite=overwrite)
        figures = []
        for name, figure in self.figures():
            figures.append(f"{name}.png")
            with whole_file(directory / figures[-1]) as file:
                figure.savefig(file, format="png")
        template = jinja2.Environment(autoescape=True).from_string(PAGE)
        tables = {name: _html(name, table) for name, table in self.tables.items()}
        about = {"title": self.title, "meta": self.meta, "format": format, "longest": LONGEST}
        html = template.render(tables=tables, figures=figures, **about)
        with whole_file(page) as file:
            file.write_text(html, encoding="utf8")
        return page


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


def _hdus(tables):
    hdus = [fits.table_to_hdu(table, name=name.upper()) for name, table in tables.items()]
    return fits.HDUList([fits.PrimaryHDU(), *hdus])


def _read_hdus(path):
    return {hdu.name.lower(): _as_text(QTable.read(hdu)) for hdu in open_fits(path)[1:]}


def _read_folder(path):
    for ending, kind in FORMATS.items():
        if (path / f"about.{ending}").exists():
            return {file.stem: _as_text(QTable.read(file, format=kind)) for file in sorted(path.glob(f"*.{ending}"))}
    return {}


def _as_text(table):
    """A table whose text is text: FITS gives bytes, and ECSV masks text that is empty."""
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        if table[name].dtype.kind == "U" and getattr(table[name], "mask", None) is not None:
            table[name] = np.asarray(table[name].filled(""))
    return table


def _html(name, table):
    """A table as HTML, floats in four digits, and how many rows are left out; none of the statistics."""
    part = table[: len(table) if name == "statistics" else LONGEST].copy()
    for column in part.itercols():
        if column.dtype.kind == "f":
            column.info.format = ".4g"
    return "\n".join(part.pformat(max_lines=-1, max_width=-1, html=True, tableid=name)), len(table) - len(part)


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: 0.5rem 0 }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 1px solid #222 } th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0 } img { max-width: 100% } div { overflow-x: auto } caption { text-align: left }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<table>
{% for what, value in meta.items() %}<tr><td>{{ what }}</td><td style="text-align: left">{{ value }}</td></tr>
{% endfor %}</table>
{% for figure in figures %}<figure><img src="{{ figure }}" alt="{{ figure[:-4] }}"></figure>
{% endfor %}
{% for name, (html, more) in tables.items() %}<h2>{{ name }}</h2>
<div>{{ html | safe }}</div>
{% if more %}
<p>The first {{ longest }} of {{ longest + more }} rows; all are in {{ name }}.{{ format }}.</p>
{% endif %}{% endfor %}
</body>
</html>
"""

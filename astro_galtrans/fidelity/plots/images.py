"""
Figures of the fidelity of pixels, photometry and morphology, drawn from the tables of a result.

They look like those of ``astro_galtrans.fidelity.plots.redshift``: every panel says what it shows, and of how many
galaxies.
"""

import numpy as np

from .redshift import canvas, cycle, plain, points, style

__all__ = ["by_band", "over_bins", "over_radius", "power_ratios", "violins"]

WIDEST = 4  # panels side by side


def by_band(table, shown, bands, *, lines=None, title=None):
    """
    Draw statistics of several models, band by band, from the table ``statistics`` of a result.

    ``shown`` maps the label of a panel to the labels of its rows, column to entry; panels without a finite value are
    left out, and without any there is no figure. ``lines`` maps labels to the value of a perfect translation.
    """

    def draw(place, rows, k, model, number):
        x = np.array([bands.index(band) for band in rows["band"]]) + 0.1 * (k - (number - 1) / 2)
        points(place, x, rows, k, model)
        place.set_xticks(range(len(bands)), bands)
        place.set_xlim(-0.6, len(bands) - 0.4)

    return _statistics(table[np.isin(table["band"], bands)], shown, draw, lines or {}, title)


def over_bins(table, shown, xlabel, *, lines=None, title=None):
    """
    Draw statistics of several models over the middles of bins, from rows of the table ``bins``; see `by_band`.

    Rows are of one band and binned by one thing, ``xlabel``; a flux gets a logarithmic axis.
    """

    def draw(place, rows, k, model, _):
        points(place, plain(rows["middle"]), rows, k, model, line=True)
        place.set(xlabel=xlabel, xscale="log" if xlabel == "flux" else "linear")

    return _statistics(table, shown, draw, lines or {}, title)


@style()
def _statistics(table, shown, draw, lines, title):
    """A panel for each label, in which a function draws the rows of each model."""
    models = _different(table["model"])
    rows = {label: table[_where(table, **where)] for label, where in shown.items()}
    rows = {label: chosen for label, chosen in rows.items() if np.isfinite(chosen["value"]).any()}
    if not rows:
        return None
    figure, axes = _panels(len(rows), title)
    for place, (label, chosen) in zip(axes, rows.items(), strict=True):
        for k, model in enumerate(models):
            of_model = chosen[_where(chosen, model=model)]
            if len(of_model):
                draw(place, of_model, k, model, len(models))
        if label in lines:
            place.axhline(lines[label], color="0.6", lw=0.6, zorder=0)
        place.set_ylabel(label)
    _legend(figure, axes)
    return figure


def _where(table, **entries):
    chosen = np.ones(len(table), bool)
    for name, entry in entries.items():
        chosen &= np.asarray(table[name]) == entry
    return chosen


def _different(column):
    return list(dict.fromkeys(map(str, column)))


@style()
def power_ratios(table, *, title=None):
    """Draw the power spectrum of translations over that of real images, from the table ``power``, a panel per band."""
    if not np.isfinite(table["value"]).any():
        return None
    bands, models = (_different(table[name]) for name in ("band", "model"))
    figure, axes = _panels(len(bands), title, sharey=True)
    for place, band in zip(axes, bands, strict=True):
        for k, model in enumerate(models):
            rows = table[(table["band"] == band) & (table["model"] == model)]
            x, value, low, high = (plain(rows[name]) for name in ("frequency", "value", "low", "high"))
            place.plot(x, value, color=cycle(k), label=model)
            place.fill_between(x, low, high, color=cycle(k), alpha=0.25, lw=0)
        place.axhline(1, color="0.6", lw=0.6, zorder=0)
        number = int(np.max(table["n"][table["band"] == band]))
        place.set(xlabel="frequency (1/arcsec)", title=f"{band}, n = {number:,}", yscale="log")
    axes[0].set_ylabel("power, translated / target")
    _legend(figure, axes)
    return figure


@style()
def over_radius(table, quantities, perfect, *, title=None):
    """
    Draw profiles of real and translated galaxies: a column of panels for each band, a row for each quantity.

    ``quantities`` maps a column of the table ``profiles`` or ``colour_profiles`` to the column of its radii and a
    label; ``"translated"`` is drawn beside the real profile, all others beside the value of a ``perfect`` translation.
    """
    bands, models = (_different(table[name]) for name in ("band", "model"))
    size = 2.1 * len(bands) + 0.5, 1.8 * len(quantities) + 0.5
    figure, grid = canvas(len(quantities), len(bands), size, title, sharex=True, sharey="row")
    for line, (quantity, (x, label)) in zip(grid, quantities.items(), strict=True):
        for place, band in zip(line, bands, strict=True):
            of_band = table[table["band"] == band]
            if quantity == "translated":
                _radial(place, of_band[of_band["model"] == models[0]], x, "target", None, "target")
            for k, model in enumerate(models):
                _radial(place, of_band[of_band["model"] == model], x, quantity, k, model)
            if quantity != "translated":
                place.axhline(perfect, color="0.6", lw=0.6, zorder=0)
        line[0].set_ylabel(label)
    for place, band in zip(grid[0], bands, strict=True):
        place.set_title(f"{band}, n = {int(np.max(table['n'][table['band'] == band])):,}")
    for place in grid[-1]:
        place.set_xlabel("radius (arcsec)")
    _legend(figure, grid[0])
    return figure


def _radial(place, rows, x, quantity, k, model):
    """A line, with its interval where there is one, as far out as it is known to a third."""
    of = quantity if f"{quantity}_low" in rows.colnames else "difference"
    radius, value, low, high = (plain(rows[name]) for name in (x, quantity, f"{of}_low", f"{of}_high"))
    unknown = ~(high - low <= 0.33) & np.isfinite(low).any()  # without intervals all is drawn
    radius, value, low, high = (part[~unknown] for part in (radius, value, low, high))
    if of == quantity:
        place.fill_between(radius, low, high, color=cycle(k), alpha=0.25, lw=0)
    look = {"color": "0.2", "ls": "--", "lw": 1} if k is None else {"color": cycle(k)}
    place.plot(radius, value, label=model, **look)


@style()
def violins(differences, *, ylabels, title=None):
    """
    Draw distributions of differences, by quantity and model ``[N]``; None where there is no finite one.

    The number beside a name is that of finite differences; ``ylabels`` maps quantities to labels.
    """
    finite = {name: any(np.isfinite(values).any() for values in found.values()) for name, found in differences.items()}
    differences = {name: found for name, found in differences.items() if finite[name]}
    if not differences:
        return None
    figure, axes = _panels(len(differences), title)
    for place, (quantity, models) in zip(axes, differences.items(), strict=True):
        finite = {model: values[np.isfinite(values)] for model, values in models.items()}
        _violins(place, finite)
        labels = [f"{model} ({len(values):,})" for model, values in finite.items()]
        place.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=6)
        place.tick_params(axis="x", length=0)
        place.axhline(0, color="0.6", lw=0.6, zorder=0)
        place.set_ylabel(ylabels.get(quantity, quantity))
    return figure


def _violins(place, models):
    """Violins of the middle 98 %, as one galaxy that went wrong must not be all there is to see; quartiles as lines."""
    for k, values in enumerate(models.values()):
        if len(values) < 2 or np.ptp(values) == 0:
            place.plot([k], np.median(values) if len(values) else [np.nan], "_", color=cycle(k), ms=10)
            continue
        low, first, median, third, high = np.percentile(values, [1, 25, 50, 75, 99])
        within = values[(values >= low) & (values <= high)]
        if np.unique(within).size > 1:  # of two galaxies none is in the middle
            (body,) = place.violinplot(within, [k], widths=0.8, showextrema=False)["bodies"]
            body.set(facecolor=cycle(k), alpha=0.6, edgecolor="none")
        place.vlines(k, first, third, color="0.15", lw=2)
        place.plot([k], [median], "o", ms=2.5, color="white")


def _panels(number, title, **options):
    """A figure with so many panels in rows of at most `WIDEST`, and its axes."""
    columns = min(number, WIDEST)
    rows = -(-number // columns)
    figure, axes = canvas(rows, columns, (2.3 * columns + 0.4, 1.9 * rows + 0.5), title, **options)
    every = [place for row in axes for place in row]
    for place in every[number:]:
        place.remove()
    return figure, every[:number]


def _legend(figure, axes):
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

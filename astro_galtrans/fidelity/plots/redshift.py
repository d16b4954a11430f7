"""
Pictures of redshift fidelity: plain functions of arrays that return a `matplotlib.figure.Figure`.

Colours are those of Okabe & Ito (2008), which people who see colours differently can tell apart; every panel says how
many galaxies it shows. matplotlib is asked for where it is used (``pip install 'astro_galtrans[report]'``).
"""

from contextlib import contextmanager

import numpy as np

from astro_galtrans._optional import require
from astro_galtrans.statistics import sigma_mad

__all__ = [
    "COLOURS", "LABELS", "canvas", "information_bars", "magnitude_scatter", "metric_over_bins", "pit_histograms",
    "redshift_panels", "stacked_pdfs", "style",
]  # fmt: skip

COLOURS = {
    "target": "#0072B2", "source": "#000000", "retrained": "#009E73", "plug_in": "#D55E00", "averaged": "#CC79A7",
}  # fmt: skip
LABELS = {
    "target": "target", "source": "source", "retrained": "retrained", "plug_in": "plug-in",
    "averaged": "plug-in, averaged",
}  # fmt: skip
OTHERS = "#56B4E9", "#E69F00", "#999999", "#F0E442"
CYCLE = "os^vD<>p*"  # markers of models
MARKERS = {"target": "s", "source": "o", "retrained": "^", "plug_in": "v", "averaged": "D"}
PANEL = 2.3  # inches
RUNNING = 12  # bins of the running median
SETTINGS = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.2, "xtick.direction": "in",
    "ytick.direction": "in", "xtick.top": True, "ytick.right": True, "xtick.major.width": 0.6,
    "ytick.major.width": 0.6, "legend.frameon": False, "figure.facecolor": "white", "savefig.dpi": 150,
}  # fmt: skip


@contextmanager
def style():
    """Apply the look of the package's figures; a context manager."""
    with require("matplotlib", extra="report").rc_context(SETTINGS):
        yield


@style()
def redshift_panels(z_spec, z_phot, *, outlier=0.05, title=None):
    """
    Draw photometric against spectroscopic redshifts ``[N]``, one column per label, with a panel of residuals below.

    Galaxies with ``abs(z_phot - z_spec) / (1 + z_spec)`` beyond ``outlier`` are counted.
    """
    z_spec = np.asarray(z_spec)
    size, heights = (PANEL * len(z_phot) + 0.5, 3.7), {"height_ratios": (2.4, 1)}
    figure, (top, bottom) = canvas(2, len(z_phot), size, title, gridspec_kw=heights, sharex=True, sharey="row")
    limit = 1.05 * max(z_spec.max(), *(np.quantile(z, 0.999) for z in z_phot.values()))
    spread = max(3 * outlier, *(1.2 * np.quantile(np.abs(_residual(z, z_spec)), 0.99) for z in z_phot.values()))
    for upper, lower, (label, z) in zip(top, bottom, z_phot.items(), strict=True):
        _redshifts(upper, z_spec, np.asarray(z), label, limit, outlier)
        _residuals(lower, z_spec, np.asarray(z), min(spread, 0.5), outlier)
    top[0].set(ylabel=r"$z_\mathrm{phot}$")
    bottom[0].set(ylabel=r"$\Delta z/(1+z)$")
    return figure


def _redshifts(axes, z_spec, z, label, limit, outlier):
    _cloud(axes, z_spec, z)
    line = np.array([0, limit])
    axes.plot(line, line, color="0.2", lw=0.7)
    for sign in (-1, 1):
        axes.plot(line, line + sign * outlier * (1 + line), color="0.2", lw=0.6, ls=":")
    dz = _residual(z, z_spec)
    text = (
        f"n = {len(z):,}\n$\\sigma_\\mathrm{{MAD}}$ = {sigma_mad(dz):.4f}\nbias = {np.median(dz):+.4f}\n"
        f"|dz| > {outlier:g}: {100 * np.mean(np.abs(dz) > outlier):.1f} %"
    )
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top", fontsize=6.5, linespacing=1.35)
    axes.set(xlim=(0, limit), ylim=(0, limit), title=LABELS.get(label, label))


def _residuals(axes, z_spec, z, spread, outlier):
    dz = _residual(z, z_spec)
    _cloud(axes, z_spec, dz)
    axes.axhline(0, color="0.2", lw=0.7)
    for sign in (-1, 1):
        axes.axhline(sign * outlier, color="0.2", lw=0.6, ls=":")
    middle, (low, median, high) = _running(z_spec, dz)
    axes.plot(middle, median, color=COLOURS["plug_in"], lw=1.1)
    axes.plot(middle, low, middle, high, color=COLOURS["plug_in"], lw=0.7, ls="--")
    axes.set(xlabel=r"$z_\mathrm{spec}$", ylim=(-spread, spread))


def _cloud(axes, x, y):
    size, alpha = np.clip(6000 / len(x), 1.5, 8), np.clip(600 / len(x), 0.15, 0.7)
    axes.scatter(x, y, s=size, color=COLOURS["target"], alpha=alpha, lw=0, rasterized=True)


def _running(x, y):
    """Middles, and 16th, 50th and 84th percentile of y, in bins of x of equal number."""
    order = np.array_split(np.argsort(x), max(1, min(RUNNING, len(x) // 20)))
    return [x[rows].mean() for rows in order], np.array([np.percentile(y[rows], [16, 50, 84]) for rows in order]).T


def _residual(z, z_spec):
    return (np.asarray(z) - z_spec) / (1 + z_spec)


@style()
def pit_histograms(pit, *, bins=20, level=0.95, title=None):
    """
    Draw a histogram of the probability integral transform ``[N]`` of each label, and where a flat one would lie.

    A bin of a calibrated estimator is in the grey band with the probability ``level`` (binomial).
    """
    from scipy.stats import binom

    figure, (row,) = canvas(1, len(pit), (PANEL * len(pit) + 0.4, 2.5), title, sharey=True)
    for axes, (label, values) in zip(row, pit.items(), strict=True):
        n = len(values)
        low, high = (binom.ppf(q, n, 1 / bins) * bins / n for q in ((1 - level) / 2, (1 + level) / 2))
        axes.axhspan(low, high, color="0.85", lw=0, label=f"flat, {100 * level:.0f} %")
        axes.axhline(1, color="0.4", lw=0.6)
        height, edges = np.histogram(values, bins=bins, range=(0, 1), density=True)
        axes.stairs(height, edges, color=COLOURS["target"], lw=1.2)
        axes.set(xlim=(0, 1), xlabel="PIT", title=f"{LABELS.get(label, label)} (n = {n:,})")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    row[0].set(ylabel="density", ylim=(0, None))
    figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


@style()
def stacked_pdfs(grid, stacks, z_spec, *, bins=30, title=None):
    """Draw the mean PDF ``[K]`` of each reading on its redshift grid, over a histogram of true redshifts."""
    figure, ((axes,),) = canvas(1, 1, (3.6, 2.6), title)
    top = max(np.max(z_spec), np.asarray(grid)[_support(stacks)])
    height, edges = np.histogram(z_spec, bins=bins, range=(0, top), density=True)
    axes.stairs(height, edges, color="0.85", fill=True, label=f"spectroscopic, n = {len(z_spec):,}")
    for k, (label, density) in enumerate(stacks.items()):
        axes.plot(grid, density, color=_colour(label, k), label=LABELS.get(label, label))
    axes.set(xlim=(0, top), ylim=(0, None), xlabel="redshift", ylabel="density")
    axes.legend()
    return figure


def _support(stacks):
    """Last grid point that matters for any stack."""
    return max(int(np.flatnonzero(np.asarray(density) > 1e-3 * np.max(density))[-1]) for density in stacks.values())


@style()
def metric_over_bins(panels, *, xlabel, ylabels, logarithmic=False, title=None):
    """
    Draw metrics of several readings over a binned quantity, a column of panels per model.

    ``panels`` maps a model to one dict for each row of panels: reading to ``(x, value, low, high)``, arrays of one
    value per bin.
    """
    size = PANEL * len(panels) + 0.6, 1.75 * len(ylabels) + 0.5
    figure, grid = canvas(len(ylabels), len(panels), size, title, sharex=True, sharey="row")
    for column, (name, contents) in zip(np.transpose(grid), panels.items(), strict=True):
        column[0].set_title(name)
        column[-1].set_xlabel(xlabel)
        for axes, readings in zip(column, contents, strict=True):
            _lines(axes, readings, logarithmic)
    for axes, label in zip(grid, ylabels, strict=True):
        axes[0].set_ylabel(label)
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _lines(axes, readings, logarithmic):
    if not readings:
        return
    if logarithmic:
        _logarithmic(axes)
    x = np.asarray(next(iter(readings.values()))[0], dtype=float)
    step = 0.06 * np.min(np.diff(x)) if len(x) > 1 else 0.0  # so that error bars do not hide one another
    for k, (label, (x, value, low, high)) in enumerate(readings.items()):
        value = np.asarray(value, dtype=float)
        axes.errorbar(
            np.asarray(x) + (k - (len(readings) - 1) / 2) * step, value, _bars(value, low, high),
            color=_colour(label, k), marker=MARKERS.get(label, "o"), ms=3, lw=1, elinewidth=0.8,
            label=LABELS.get(label, label),
        )  # fmt: skip
    low, high = axes.get_ylim()
    if low < 0 < high:
        axes.axhline(0, color="0.6", lw=0.6, zorder=0)


def _logarithmic(axes):
    """A logarithmic abscissa with ticks at 1, 2 and 5, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


@style()
def information_bars(models, limits, *, n, title=None):
    """Draw information (nats), model to reading to ``(value, low, high)``, as bars, and that of source and target."""
    readings = list(dict.fromkeys(reading for bars in models.values() for reading in bars))
    height = 0.8 / max(map(len, models.values()))
    figure, ((axes,),) = canvas(1, 1, (4.6, 0.75 * len(models) + 1.35), title)
    for name, (value, low, high) in limits.items():
        axes.axvspan(low, high, color=COLOURS[name], alpha=0.18, lw=0)
        axes.axvline(value, color=COLOURS[name], lw=1, ls="-" if name == "source" else "--", label=LABELS[name])
    for k, reading in enumerate(readings):
        place, bars = _places(models, reading, height)
        value, low, high = _without_infinity(axes, place, np.array(bars).T)
        axes.barh(
            place, value, 0.88 * height, xerr=_bars(value, low, high).tolist(),
            color=_colour(reading, k), alpha=0.85, error_kw={"elinewidth": 0.8}, label=LABELS.get(reading, reading),
        )  # fmt: skip
    axes.axvline(0, color="0.3", lw=0.6)
    axes.set_yticks(range(len(models)), list(models))
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"information about the redshift (nats), n = {n:,}", ylim=(len(models) - 0.5, -0.5))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _without_infinity(axes, place, bars):
    """Bars where there is one to draw; the others, of PDFs that exclude the truth, are written."""
    infinite = ~np.isfinite(bars).all(axis=0)
    for y in np.array(place)[infinite]:
        axes.annotate(
            "\N{MINUS SIGN}\N{INFINITY}", (0, y), xytext=(-3, 0), textcoords="offset points", ha="right", va="center"
        )
    return np.where(infinite, 0, bars)


@style()
def magnitude_scatter(table, *, title=None):
    """Draw bias and scatter that translations add to magnitudes and colours, from statistics of `.PeakFidelity`."""
    kinds, bands, models = (list(dict.fromkeys(map(str, table[name]))) for name in ("quantity", "band", "model"))
    size = PANEL * len(kinds) * max(1, len(bands) / 8) + 0.8, 3.9
    figure, grid = canvas(2, len(kinds), size, title, sharex=True, sharey="row")
    for kind, (bias, scatter) in zip(kinds, np.transpose(grid), strict=True):
        of_kind = table[table["quantity"] == kind]
        for k, model in enumerate(models):
            for axes, name in ((bias, "bias"), (scatter, "scatter")):
                rows = of_kind[(of_kind["model"] == model) & (of_kind["statistic"] == name)]
                x = np.arange(len(rows)) + 0.12 * (k - (len(models) - 1) / 2)
                points(axes, x, rows, k, model)
        noise = of_kind[(of_kind["model"] == models[0]) & (of_kind["statistic"] == "sky_noise")]
        edges, label = np.arange(len(noise) + 1) - 0.5, "sky noise of the target"
        scatter.stairs(np.asarray(noise["value"], dtype=float), edges, color="0.85", fill=True, label=label)
        bias.axhline(0, color="0.6", lw=0.6, zorder=0)
        bias.set_title(f"{kind} flux, n = {int(noise['n'][0]):,}")
        scatter.set_xticks(range(len(bands)), bands, rotation=45)
        scatter.tick_params(axis="x", length=0)
    grid[0][0].set_ylabel("bias (mag)")
    grid[1][0].set(ylabel="scatter (mag)", ylim=(0, None))
    figure.legend(*grid[1][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def cycle(k):
    colours = [*COLOURS.values(), *OTHERS]
    return colours[k % len(colours)]


def _places(models, reading, height):
    """Where a reading's bars go, those of a model around its tick, and the bars."""
    found = [(i, list(bars).index(reading) - (len(bars) - 1) / 2, bars[reading])
             for i, bars in enumerate(models.values()) if reading in bars]  # fmt: skip
    return [i + k * height for i, k, _ in found], [bar for *_, bar in found]


def canvas(rows, columns, size, title=None, **options):
    """A figure without pyplot, whose state is the user's, and its axes as nested lists."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=9)
    return figure, figure.subplots(rows, columns, squeeze=False, **options).tolist()


def _colour(label, k):
    return COLOURS.get(label, OTHERS[k % len(OTHERS)])


def _bars(value, low, high):
    """Lengths of error bars; an interval need not hold its value, and a length cannot be negative."""
    return np.maximum([value - np.asarray(low), np.asarray(high) - value], 0)


def points(place, x, rows, k, label, *, line=False):
    """Values with their intervals; not finite ones are not drawn."""
    drawn = np.isfinite(plain(rows["value"]))
    value, low, high = (plain(rows[name])[drawn] for name in ("value", "low", "high"))
    bars = _bars(value, low, high)
    place.errorbar(
        x[drawn], value, np.where(np.isfinite(bars), bars, 0), ls="-" if line else "",
        marker=CYCLE[k % len(CYCLE)], ms=3, lw=1, elinewidth=0.8, color=cycle(k), label=label,
    )  # fmt: skip


def plain(column):
    return np.asarray(getattr(column, "value", column), dtype=float)

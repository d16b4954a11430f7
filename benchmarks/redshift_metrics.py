"""
Redshift metrics beside those of the package qp on the same PDFs, and memory for 10,000 and 1,000,000 PDFs.

The PDFs are Gaussians on 200 redshifts, 5 % of the galaxies are not where their PDF says, and true redshifts lie
between the points of the grid. Times are CPU seconds of one core. The streams run in processes of their own, whose peak
memory is that of everything, Python included. Their information has a floor of 0.001.

Run as ``python benchmarks/redshift_metrics.py [-n 20000] [--rst FILE]``; it needs ``qp-prob`` (pip install qp-prob).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import stats

from astro_galtrans.photoz import scores
from astro_galtrans.photoz.metrics import Accumulator, pdf_metrics, point_metrics
from astro_galtrans.photoz.pdfs import GridPDF

GRID = np.linspace(0, 1, 200)
BATCH = 5000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("-n", "--number", type=int, default=20_000, help="PDFs to compare with qp")
    parser.add_argument("--stream", type=int, help="only stream so many PDFs and print what it took (JSON)")
    parser.add_argument("--rst")
    options = parser.parse_args()
    if options.stream:
        print(json.dumps(stream(options.stream)))
        return
    streamed = streams([10_000, 1_000_000])  # first: Linux counts the parent's memory at the fork as the child's
    text = "\n".join([agreement(options.number), streamed])
    print(text)
    if options.rst:
        Path(options.rst).write_text(text)


def ensemble(number, seed=0):
    """Return PDFs, their true redshifts, means and standard deviations."""
    rng = np.random.default_rng(seed)
    mean, sigma = rng.uniform(0.2, 0.8, number), rng.uniform(0.015, 0.05, number)
    z_spec = rng.normal(mean, sigma)
    z_spec = np.where(rng.random(number) < 0.05, rng.uniform(0.1, 0.9, number), z_spec)
    density = np.exp(-0.5 * ((GRID - mean[:, None]) / sigma[:, None]) ** 2)
    return GridPDF.normalised(GRID, density), np.clip(z_spec, 0.001, 0.999), mean, sigma


def timed(function, *arguments, **settings):
    start = time.process_time()
    result = function(*arguments, **settings)
    return result, time.process_time() - start


def agreement(number):
    """Return the RST table of values and times, ours and qp's."""
    pdfs, z_spec, mean, sigma = ensemble(number)
    quick = dict(resamples=0)
    timed_tables = timed(pdf_metrics, pdfs, z_spec, **quick), timed(point_metrics, mean, z_spec, **quick)
    ours = {row["metric"]: row["value"] for table, _ in timed_tables for row in table}
    theirs, seconds = timed(qp_metrics, pdfs, z_spec, mean)
    header = ["metric", "ours", "qp", "difference"]
    rows = [
        [f"``{name}``", f"{ours[name]:.8g}", f"{value:.8g}", f"{abs(ours[name] / value - 1):.0e}"]
        for name, value in theirs.items()
    ]
    x = (z_spec - mean) / sigma
    truth = np.mean(sigma * (x * (2 * stats.norm.cdf(x) - 1) + 2 * stats.norm.pdf(x) - np.pi**-0.5))
    rows.append(["``crps``", f"{ours['crps']:.8g}", f"{truth:.8g} (Gaussians, closed form)", ""])
    ours_seconds = sum(took for _, took in timed_tables)
    rows.append(["CPU time (s), all", f"{ours_seconds:.2f}", f"{seconds:.2f}, without CRPS", ""])
    return f"**{number:,} PDFs, our metrics and those of qp**\n\n" + list_table(header, rows)


def qp_metrics(pdfs, z_spec, z_phot):
    """Return what qp has of our metrics."""
    import qp
    from qp.metrics import goodness_of_fit
    from qp.metrics import point_estimate_metric_classes as point

    each = qp.Ensemble(qp.interp, data=dict(xvals=pdfs.z, yvals=pdfs.density))
    pit = qp.metrics.pit.PIT(each, z_spec)
    return {
        "bias_median": point.PointBias().evaluate(z_phot, z_spec),
        "sigma_mad": point.PointSigmaMAD().evaluate(z_phot, z_spec),
        "sigma_iqr": point.PointSigmaIQR().evaluate(z_phot, z_spec),
        "outlier_rail": point.PointOutlierRate().evaluate(z_phot, z_spec),
        "pit_ks": pit.evaluate_PIT_KS().statistic,
        "pit_ad": goodness_of_fit.goodness_of_fit_metrics["ad"](
            stats.uniform, np.clip(pit.pit_samps, scores.NEAREST, 1 - scores.NEAREST)
        ),
        "pit_cvm": pit.evaluate_PIT_CvM().statistic,
        "cde_loss": qp.metrics.CDELossMetric(pdfs.z).evaluate(each, z_spec),
    }


def stream(number):
    """Stream PDFs made batch by batch, and return time and memory."""
    accumulator, adding = Accumulator(prior=GridPDF(GRID, np.ones(len(GRID))), floor=1e-3), 0.0
    for start in range(0, number, BATCH):
        pdfs, z_spec, *_ = ensemble(min(BATCH, number - start), seed=start)
        adding += timed(accumulator.add, pdfs, z_spec)[1]
    table, bootstrap = timed(accumulator.table, resamples=1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = {row["metric"]: (row["value"], row["low"], row["high"]) for row in table}
    return {"number": number, "adding": adding, "bootstrap": bootstrap, "peak": peak, "metrics": rows}


def streams(numbers):
    """Return the RST table of time and memory of streams."""
    rows = []
    for number in numbers:
        command = [sys.executable, __file__, "--stream", str(number)]
        took = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        density = number * len(GRID) * 8 / 2**20
        shown = (f"{value:.5f} ({low:.5f}, {high:.5f})" for value, low, high in map(took["metrics"].get, SHOWN))
        cells = f"{took['peak']:.0f}", f"{density:,.0f}", f"{took['adding']:.1f}", f"{took['bootstrap']:.1f}"
        rows.append([f"{number:,}", *cells, *shown])
    header = ["PDFs streamed", "peak memory of the process (MiB)", "densities alone would be (MiB)"]
    header += ["CPU time to add (s)", "to bootstrap 1,000 times (s)", *(f"``{name}``" for name in SHOWN)]
    return f"**Streaming, in batches of {BATCH:,}**\n\n" + list_table(header, rows)


SHOWN = "sigma_mad", "information"


def list_table(header, rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        lines += [f"   {'*' if i == 0 else ' '} - {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()

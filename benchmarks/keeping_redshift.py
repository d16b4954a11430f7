"""
What samples keep of the redshift: PDFs averaged over samples, ranks of true fluxes, a classifier, coverage.

    python benchmarks/keeping_redshift.py Z_TRAIN Z_TEST -o OUT --models NAME ... [--estimator image photometric]
        [--train-number 6000] [--number 2000] [--n-samples 64] [--workers 1] [--device auto]
        [--catalogues shared/data/catalogues]
        [--rst docs/tables/keeping_redshift.rst] [--figure docs/user_guide/keeping_redshift.svg]

The pairs are simulated, ``PairSettings(size=40, kind="galaxy", sample=Sample(r_faint=20.3, z_max=0.6, offset=0.2))``
with two seeds. Samples are not kept: galaxies are translated, judged and measured in chunks, whose results are kept in
OUT, so that a run that was interrupted goes on. Estimators are kept there too. With catalogues, scores are also given
for simulated galaxies whose magnitudes and redshifts are those of real ones: for each real galaxy the nearest one that
was not yet taken.
"""

import argparse
import itertools
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from astropy.table import Table
from photutils.aperture import CircularAperture

from astro_galtrans import load_translator
from astro_galtrans.pairs.store import PairStore
from astro_galtrans.photoz import GridPDF, load, train_image, train_photometric
from astro_galtrans.photoz.scores import information
from astro_galtrans.stamps import Stamps
from astro_galtrans.statistics import sigma_mad

CHUNK = 16  # galaxies: with 64 samples, 130 MB
DIAMETERS = 1.5, 3.0, 6.0  # arcsec, of the apertures whose ranks are looked at
AVERAGED = 1, 4, 16, 32, 64
MAGNITUDES = 14.5, 17.3, 18.3, 19.3, 20.3
TRAINERS = {"image": train_image, "photometric": train_photometric}
NEAREST = 0.25, 0.02  # in r (mag) and in ln(1 + z): farther away, a simulated galaxy does not stand for a real one
SHARE = 0.2  # real galaxies that are stood for, per simulated one: with more, near ones are soon taken
CLASSIFIED = 3  # of four galaxies train the classifier, the fourth tests it


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--models", nargs="+", required=True, help="names or files")
    parser.add_argument("--estimator", nargs="+", default=["image", "photometric"], choices=list(TRAINERS))
    parser.add_argument("--train-number", type=int, default=6000)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="galaxy of the test to begin with")
    parser.add_argument("--n-samples", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto", help="where estimators are trained")
    parser.add_argument("--seconds", type=float, help="per model; what is judged by then is shown")
    parser.add_argument("--catalogues", help="folder of catalogues of real magnitudes and redshifts")
    parser.add_argument("--rst")
    parser.add_argument("--figure")
    options = parser.parse_args()
    judges = {kind: trained_judges(options, kind) for kind in options.estimator}
    results = {model: judged(options, model) for model in options.models}
    text = page(options, judges, results)
    print(text)
    if options.rst:
        Path(options.rst).write_text(text)
    if options.figure:
        figure(options, judges[options.estimator[0]], results)


def stamps_of(folder, side, rows):
    store = PairStore(folder)
    return Stamps.from_pairs(store.subset(np.atleast_1d(rows)), side)


def redshifts(folder, number):
    return np.asarray(PairStore(folder).column("z"), float)[:number]


def imaging(stamps):
    sky = np.median(stamps.sky_rms, axis=0).tolist()
    return {"bands": stamps.bands, "pixel_scale": stamps.pixel_scale, "sky_rms": sky}


def trained_judges(options, kind):
    """Estimators trained on real targets, and on sources."""
    found = {}
    for side in ("target", "source"):
        path, z = Path(options.output) / f"{kind}-{side}.safetensors", redshifts(options.train, options.train_number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            stamps, start = stamps_of(options.train, side, np.arange(len(z))), time.monotonic()
            grid = np.linspace(0, 0.63, 256)
            each = TRAINERS[kind](stamps.images, z, grid=grid, device=options.device, **imaging(stamps))
            each.save(path)
            print(f"{kind} estimator on {side}: {time.monotonic() - start:.0f} s", flush=True)
        found[side] = load(path)
    return found


def judged(options, model):
    """What is measured of the galaxies of the test, in chunks that are kept."""
    number = len(redshifts(options.test, options.first + options.number))
    folder = Path(options.output) / Path(model).stem
    folder.mkdir(parents=True, exist_ok=True)
    todo = [first for first in range(options.first, number, CHUNK) if not (folder / f"{first:06d}.npz").exists()]
    job, end = partial(judge_chunk, options, model, folder), time.monotonic() + (options.seconds or np.inf)
    start = time.monotonic()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn"), initializer=alone) as pool:
        futures = [pool.submit(job, first) for first in todo]
        for future in futures:
            if time.monotonic() > end:
                pool.shutdown(wait=True, cancel_futures=True)
                break
            future.result()
    print(f"{model}: {time.monotonic() - start:.0f} s", flush=True)
    parts = [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def alone():
    torch.set_num_threads(1)


def judge_chunk(options, model, folder, first):
    """Translate some galaxies, and judge and measure every sample."""
    rows = np.arange(first, min(first + CHUNK, options.first + options.number, len(PairStore(options.test))))
    source, target = (stamps_of(options.test, side, rows) for side in ("source", "target"))
    translator = load_translator(model)
    n = options.n_samples if translator.samples else 1
    translated = Stamps.from_translator(translator, source, target, n_samples=n, seed=first, progress=False)
    images, truth = translated.read(), target.read()  # [N, S, C, H, W]
    found = {"row": rows}
    for kind in options.estimator:
        judge, own = (load(Path(options.output) / f"{kind}-{side}.safetensors") for side in ("target", "source"))
        found[f"{kind}-target"] = judge.predict(truth).density
        found[f"{kind}-source"] = own.predict(source.images).density
        each = judge.predict(images.reshape(-1, *truth.shape[1:])).density.reshape(len(rows), n, -1)
        for count in AVERAGED:
            if count <= n:
                found[f"{kind}-{count}"] = each[:, :count].mean(axis=1)
    flux, true_flux = aperture_fluxes(images, target.pixel_scale), aperture_fluxes(truth[:, None], target.pixel_scale)
    found["rank"] = ((flux < true_flux).sum(axis=1) + 0.5) / (n + 1)  # [N, A, C]
    mean, std = images.mean(axis=1), np.sqrt(np.asarray(translated.variance))
    store = PairStore(options.test)
    signal = np.stack([store.signal(k) for k in rows])
    error = np.where(signal, mean - truth, 0)
    found["within"] = (signal & (np.abs(error) < std)).sum(axis=(2, 3))
    found["signal"], found["squares"] = signal.sum(axis=(2, 3)), np.square(error).sum(axis=(2, 3))
    plain = Stamps.from_translator(translator.mean, source, target, progress=False).read()[:, 0]
    found["own_squares"] = np.square(np.where(signal, plain - truth, 0)).sum(axis=(2, 3))
    found["sample"], found["real"] = (np.arcsinh(part).astype(np.float16) for part in (images[:, 0], truth))
    np.savez(folder / f".{first:06d}.npz", **found)
    (folder / f".{first:06d}.npz").rename(folder / f"{first:06d}.npz")


def aperture_fluxes(images, pixel_scale):
    """Fluxes ``[N, S, A, C]`` about the centre, and in its pixel."""
    shape = images.shape[-2:]
    centre = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    circles = [CircularAperture(centre, d / 2 / pixel_scale).to_mask(method="exact").to_image(shape) for d in DIAMETERS]
    return np.einsum("nschw,ahw->nsac", images, np.array(circles, np.float32))


def scores(density, z, judge):
    pdf = GridPDF.normalised(judge.grid, density)
    gain, dz = information(pdf, z, judge.prior), (pdf.median() - z) / (1 + z)
    pit = np.sort(pdf.cdf(z))
    distance = np.abs(pit - (np.arange(len(pit)) + 0.5) / len(pit)).max() + 0.5 / len(pit)
    return sigma_mad(dz), np.mean(gain), np.std(gain) / np.sqrt(len(gain)), distance


def page(options, judges, results):
    lines = []
    for kind in options.estimator:
        rows = [("reading", "galaxies", "sigma_mad", "information (nats)", "of source", "PIT KS")]
        for model, found in results.items():
            z = redshifts(options.test, None)[found["row"]]
            limit = scores(found[f"{kind}-source"], z, judges[kind]["source"])[1]
            readings = {"source": "real source", "target": "real target"} if model == options.models[0] else {}
            readings |= {str(n): f"{Path(model).stem}, {n} sample{'s averaged' if n > 1 else ''}" for n in AVERAGED}
            for name, told in readings.items():
                if f"{kind}-{name}" not in found:
                    continue
                judge = judges[kind]["source" if name == "source" else "target"]
                scatter, gain, error, distance = scores(found[f"{kind}-{name}"], z, judge)
                cells = f"{scatter:.4f}", f"{gain:.3f} +- {error:.3f}", f"{gain / limit:.2f}", f"{distance:.3f}"
                rows.append((told, str(len(z)), *cells))
        lines += [f"**{kind.capitalize()} estimator**", "", *list_table(rows), ""]
        binned = by_magnitude(options, kind, judges[kind], results)
        lines += [f"**{kind.capitalize()} estimator, information by magnitude (nats)**", "", *list_table(binned), ""]
        if options.catalogues:
            real = by_catalogue(options, kind, judges[kind], results)
            title = f"**{kind.capitalize()} estimator, information with real magnitudes and redshifts (nats)**"
            lines += [title, "", *list_table(real), ""]
    ranks = [f'rank variance, {d:g}"' for d in DIAMETERS]
    rows = [("model", "band", *ranks, "within 1 sigma", "RMSE over the network's own", "classifier")]
    for model, found in results.items():
        accuracy, several = classified(options, found), f"{options.estimator[0]}-{AVERAGED[1]}" in found
        for k, band in enumerate(stamps_of(options.test, "target", [0]).bands):
            ranks = [f"{found['rank'][:, a, k].var():.3f}" if several else "" for a in range(len(DIAMETERS))]
            share = found["within"][:, k].sum() / found["signal"][:, k].sum()
            better = np.sqrt(np.divide(*(found[name][:, k].sum() for name in ("squares", "own_squares"))))
            last = accuracy if k == 0 else ""
            rows.append((Path(model).stem, band, *ranks, f"{100 * share:.1f} %", f"{better:.3f}", last))
    return "\n".join([*lines, "**Fluxes, pixels, and a classifier of real and sampled**", "", *list_table(rows)]) + "\n"


def by_magnitude(options, kind, judges, results):
    """Rows of the information in source and average, of galaxies in bins of the true r magnitude."""
    r = np.asarray(PairStore(options.test).column("r"), float)
    ranges = {f"{low:g} to {high:g}": (low, high) for low, high in itertools.pairwise(MAGNITUDES)}
    parts = {name: lambda rows, ends=ends: (r[rows] >= ends[0]) & (r[rows] < ends[1]) for name, ends in ranges.items()}
    return of_parts(options, kind, judges, results, "r", parts)


def by_catalogue(options, kind, judges, results):
    """The same, of galaxies that stand for those of real catalogues."""
    store = PairStore(options.test)
    r, z = (np.asarray(store.column(name), float) for name in "rz")
    parts = {name: partial(stand_ins, r, z, known) for name, known in catalogues(options.catalogues).items()}
    return of_parts(options, kind, judges, results, "catalogue", parts)


def catalogues(folder):
    """Magnitudes and redshifts ``[2, N]`` of real galaxies, in an order that has nothing to do with them."""
    sdss = np.loadtxt(Path(folder) / "sdss_mgs_ugriz_zspec.txt", usecols=(3, 0)).T
    vvds = Table.read(Path(folder) / "vvds_deep_cfhtls_ugriz_zspec.csv")
    sure = np.isin(vvds["ds_spectra.ZFLAGS"], (3, 4))
    sure &= vvds["ds_spectra.Z"] > 0  # stars have 0
    deep = np.array([vvds[name][sure] for name in ("MAG_AUTO_R", "ds_spectra.Z")], float)
    rng = np.random.default_rng(0)
    known = {"SDSS": sdss, "VVDS-Deep": deep[:, (deep[0] > MAGNITUDES[0]) & (deep[0] < MAGNITUDES[-1])]}
    return {name: rng.permutation(values, axis=1) for name, values in known.items()}


def stand_ins(r, z, known, rows):
    """Whether each of some simulated galaxies is the nearest to a real one that stands for no other."""
    places = np.array([r[rows] / NEAREST[0], np.log1p(z[rows]) / NEAREST[1]]).T
    taken = np.zeros(len(rows), bool)
    for magnitude, redshift in known.T[: round(SHARE * len(rows))]:
        distance = np.linalg.norm(places - (magnitude / NEAREST[0], np.log1p(redshift) / NEAREST[1]), axis=1)
        distance[taken] = np.inf
        if distance.min() < 1:
            taken[distance.argmin()] = True
    return taken


def of_parts(options, kind, judges, results, what, parts):
    """Rows of the information in sources and in translations (averaged over samples), of parts of the galaxies."""
    rows = [("model", what, "galaxies", "source", "translated")]
    for model, found in results.items():
        last = max(n for n in AVERAGED if f"{kind}-{n}" in found)
        z = redshifts(options.test, None)[found["row"]]
        for part, chosen in parts.items():
            use = chosen(found["row"])
            if not use.any():
                continue
            names = ("source", "source"), (str(last), "target")
            gains = [scores(found[f"{kind}-{name}"][use], z[use], judges[side])[1:3] for name, side in names]
            cells = (f"{gain:.3f} +- {error:.3f}" for gain, error in gains)
            rows.append((Path(model).stem, part, str(np.count_nonzero(use)), *cells))
    return rows


def classified(options, found):
    """Accuracy of an image network that tells samples from real targets, in words."""
    stamps = stamps_of(options.test, "target", [0])
    images = np.sinh(np.concatenate([found["real"], found["sample"]]).astype(np.float32))
    label = np.repeat([0.25, 0.75], len(found["real"]))  # as redshifts of the package's own estimator
    trains = np.tile(np.arange(len(found["real"])) % 4 < CLASSIFIED, 2)
    grid = np.linspace(0, 1, 65)
    known = imaging(stamps) | {"grid": grid, "device": options.device, "progress": False}
    judge = train_image(images[trains], label[trains], **known)
    guessed = judge.predict(images[~trains]).cdf(0.5) < 0.5
    right = guessed == (label[~trains] > 0.5)
    return f"{right.mean():.2f} +- {np.sqrt(0.25 / len(right)):.2f}"


def figure(options, judges, results):
    """PDFs of three galaxies: of the source, of one sample, averaged."""
    from matplotlib.figure import Figure

    found = next(iter(results.values()))
    z, kind = redshifts(options.test, None)[found["row"]], options.estimator[0]
    last = max(n for n in AVERAGED if f"{kind}-{n}" in found)
    drawn = Figure(figsize=(9, 2.8), layout="constrained")
    wanted = [np.argsort(np.abs(z - value))[0] for value in (0.12, 0.25, 0.42)]
    for ax, k in zip(drawn.subplots(1, 3), wanted, strict=True):
        ax.plot(judges["target"].grid, found[f"{kind}-1"][k], color="0.6", label="one sample")
        ax.plot(judges["target"].grid, found[f"{kind}-{last}"][k], color="C3", label=f"average of {last}")
        ax.plot(judges["source"].grid, found[f"{kind}-source"][k], color="C0", ls="--", label="real source")
        ax.axvline(z[k], color="k", lw=0.8)
        ax.set(xlabel="redshift", yticks=[], xlim=(max(0, z[k] - 0.2), z[k] + 0.2))
    ax.legend(fontsize=8)
    drawn.savefig(options.figure, metadata={"Date": None})


def list_table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        lines += [f"   {'*' if k == 0 else ' '} - {cell}".rstrip() for k, cell in enumerate(row)]
    return lines


if __name__ == "__main__":
    main()

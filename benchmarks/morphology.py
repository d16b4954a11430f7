"""
The batched morphology engine beside statmorph: agreement on real and simulated galaxies, speed on the same stamps.

    python benchmarks/morphology.py DATA PAIRS -o OUT [--number 500] [--most 100000] [--rst docs/tables]

DATA is the folder with the survey images (Stripe 82 frames, the CFHTLS W3 field, the GAMA stamps), PAIRS a store of
simulated pairs. statmorph takes about a second per galaxy; what it measured is kept in OUT and found again.

*Agreement*: of galaxies that statmorph calls good (``flag <= 1``, and ``flag_sersic <= 1`` for its Sersic models), all
sets together, each difference in units of the scatter (standard deviation) that the quantity has within its set.
*Speed*: CPU seconds of one thread for the same simulated stamps, in one run, the load of the machine in both alike.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from morphology_sets import galaxy_sets, moffat, segments

from astro_galtrans.measure.morphology import measure_morphology
from astro_galtrans.measure.morphology.segmentation import central_label
from astro_galtrans.pairs.store import PairStore

ANGLES = "orientation_centroid", "orientation_asymmetry", "sersic_theta"
STAMP = {"nx_stamp", "ny_stamp", "xmin_stamp", "xmax_stamp", "ymin_stamp", "ymax_stamp"}
LEFT_OUT = {"flag", "flag_sersic", "runtime"} | STAMP
FEWEST = 6  # galaxies of a set that tell a scatter
GAIN = 930.0  # of SDSS r, electrons per nanomaggy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("data", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("morphology"))
    parser.add_argument("--number", type=int, default=500, help="galaxies of a set at most")
    parser.add_argument("--most", type=int, default=100_000, help="galaxies of the longest run")
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--skip", nargs="*", default=[], choices=["agreement", "speed"])
    parser.add_argument("--rst", type=Path, help="folder of the tables")
    options = parser.parse_args()
    tables = {}
    if "agreement" not in options.skip:
        tables["morphology_agreement"] = agreement(options)
    if "speed" not in options.skip:
        tables["morphology"] = speed(options)
    for name, text in tables.items():
        print(text)
        if options.rst:
            (options.rst / f"{name}.rst").write_text(text)


def agreement(options):
    """One row per quantity: how far the engine is from statmorph."""
    parts, sizes = {}, []
    for galaxies in galaxy_sets(options.data, options.pairs, options.number):
        how = galaxies.arguments()
        theirs = measure_morphology(
            galaxies.images, engine="statmorph", directory=options.output, processes=options.processes, **how
        )
        ours = measure_morphology(galaxies.images, progress=False, threads=1, **how)
        sizes.append(len(theirs))
        for name in set(theirs.colnames) - LEFT_OUT:
            good = np.asarray(theirs["flag"]) <= 1
            good &= (np.asarray(theirs["flag_sersic"]) <= 1) | ("sersic" not in name)
            parts.setdefault(name, []).append((np.asarray(theirs[name])[good], np.asarray(ours[name])[good]))
        parts.setdefault("flag", []).append((np.asarray(theirs["flag"]), np.asarray(ours["flag"])))
    flags = np.concatenate([a == b for a, b in parts.pop("flag")])
    rows = [row for name in sorted(parts) if (row := _agreement(name, parts[name]))]
    head = (
        "quantity", "galaxies", "median difference (scatter)", "within 0.1 of the scatter (%)", "measured by one only",
    )  # fmt: skip
    text = f"{sum(sizes)} galaxies in {len(sizes)} sets, at most {options.number} of each; "
    text += f"the same flag for {100 * flags.mean():.1f} %.\n\n"
    return text + _table(head, rows)


def _agreement(name, parts):
    scaled, one = [], 0
    for theirs, ours in parts:
        both = np.isfinite(theirs) & np.isfinite(ours)
        one += int((np.isfinite(theirs) != np.isfinite(ours)).sum())
        scatter = np.std(theirs[both]) if both.sum() >= FEWEST else 0.0
        if scatter > 0:
            difference = np.abs(theirs - ours)[both]
            if name in ANGLES:
                difference = np.minimum(difference % np.pi, np.pi - difference % np.pi)
            scaled.append(difference / scatter)
    if not scaled:
        return None
    scaled = np.concatenate(scaled)
    return name, len(scaled), f"{np.median(scaled):.1e}", f"{100 * (scaled <= 0.1).mean():.1f}", one


def speed(options):
    """Milliseconds per galaxy: by stamp size, by batch size, by number; and peak memory."""
    stamps = {64: _stamps(options.pairs, "source", 512), 128: _stamps(options.pairs, "target", 256)}
    rows = []
    for size, (images, segmap) in stamps.items():
        psf = moffat(1.04 / 0.396 if size == 64 else 0.77 / 0.198, 25)
        for title, how in (("without Sersic", {"sersic": False}), ("all", {}), ("all, with PSF", {"psf": psf})):
            known = {"segmap": segmap, "gain": GAIN if size == 64 else 66.2} | how
            ours = _milliseconds(images, known)
            theirs = _milliseconds(images[:12], _first(known, 12), engine="statmorph")
            rows.append((f"{size} x {size}", title, f"{ours:.2f}", f"{theirs:.0f}", f"{theirs / ours:.0f}"))
    head = "stamps", "quantities", "batched (ms)", "statmorph (ms)", "ratio"
    numbers = " and ".join(f"{len(images)} galaxies of {size} x {size}" for size, (images, _) in stamps.items())
    text = f"CPU milliseconds per galaxy, one thread, of {numbers} pixels (statmorph: 12 of each)"
    text += ", on a machine shared with other work.\n\n" + _table(head, rows)
    images, segmap = stamps[64]
    batches = [(n, f"{_milliseconds(images, {'segmap': segmap, 'gain': GAIN, 'sersic': False}, batch_size=n):.2f}")
               for n in (32, 128, 512)]  # fmt: skip
    text += "\n" + _table(("batch size", "without Sersic, 64 x 64 (ms)"), batches)
    head = "galaxies", "without Sersic, 64 x 64 (ms)", "peak memory (GB)"
    return text + "\n" + _table(head, _lengths(images, segmap, options.most))


def _lengths(images, segmap, most):
    for number in (100, 1000, 10_000, 100_000):
        if number <= most:
            rows = np.resize(np.arange(len(images)), number)
            known = {"segmap": segmap[rows], "gain": GAIN, "sersic": False}
            found = _milliseconds(images[rows], known)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            yield number, f"{found:.2f}", f"{peak:.2f}"


def _first(known, number):
    return known | {"segmap": known["segmap"][:number]}


def _milliseconds(images, known, **how):
    if how.get("engine") == "statmorph":
        how["processes"] = 1
    else:
        how["threads"] = 1
        measure_morphology(images[:16], progress=False, **_first(known, 16), **how)  # loops are compiled once
    start = time.process_time()
    measure_morphology(images, progress=False, **known, **how)
    return 1e3 * (time.process_time() - start) / len(images)


def _stamps(pairs, plane, number, band="r"):
    store = PairStore(pairs)
    channel = getattr(store.header, f"{plane}_bands").index(band)
    images = np.stack([getattr(store, plane)(k)[channel] for k in range(min(number, len(store)))]).astype(np.float64)
    segmap = np.array([segments(image) for image in images])
    seen = central_label(segmap) > 0  # where nothing is measured, nothing is timed
    return images[seen], segmap[seen]


def _table(head, rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        lines += [f"   {'*' if k == 0 else ' '} - {cell}" for k, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

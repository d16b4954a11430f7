"""A translator's card as text for people: on one screen in an astronomer's words, or whole."""

from math import isfinite, log10

import numpy as np

from astro_galtrans.surveys import sky_from_depth

__all__ = ["describe", "describe_all"]

CONVERGED = 0.01  # improvement over the last quarter of a training below which more of it would bring little
SIMULATED = "Trained on simulated pairs: for pipelines and demonstrations. Science needs training on real pairs."
CITE = "H. Ruan, Q. Lin et al. 2025, A&A 701, A82, and this software; as BibTeX: astro_galtrans.__citation__"


def describe(card, sha256=None):
    """
    Describe a translator on one screen.

    Parameters
    ----------
    card : dict
        From `~astro_galtrans.models.checkpoint.read_card`; what a card lacks is left out.
    sha256 : str, optional
        Checksum of the translator's file, which translations carry as ``GTHASH``.

    Returns
    -------
    str
        Lines of text: what the translator does, for which images (pixel scale, seeing, depth), how good it was on
        which pairs, whether its training had converged, the checksum, and what to cite.
    """
    lines = _head(card)
    for section in (_what_it_does, _which_images, _how_good):
        lines += ["", *found] if (found := section(card)) else []
    weights = [f"Weights: SHA-256 {sha256}", "         (the card GTHASH of every translation)"] if sha256 else []
    return "\n".join([*lines, "", *_training(card), *weights, f"Cite: {CITE}"])


def describe_all(card):
    """
    Describe a translator with all that its card holds.

    Parameters
    ----------
    card : dict
        As for `describe`.

    Returns
    -------
    str
        Lines of text: what it is, whether its training had converged, all else in the card as an indented list, and
        its validation scores against training time.
    """
    training = dict(card.get("training") or {})
    history = training.pop("history", None)
    rest = {key: value for key, value in card.items() if key not in {"name", "description", "training"}}
    lines = [*_head(card), _converged(training), *_tree(rest | {"training": training})]
    return "\n".join(lines + _history(history))


def _head(card):
    training = card.get("training") or {}
    simulated = training.get("data", {}).get("simulated")
    return [f"{card['name']}: {card.get('description', '')}", *([SIMULATED] if simulated else [])]


def _what_it_does(card):
    if not {"network", "source", "target"} <= card.keys():
        return []
    network, rows = card["network"], []
    for word, side in (("from", "source"), ("to", "target")):
        end, bands = card[side], network["in_bands" if side == "source" else "out_bands"]
        scale, unit = f"{end['pixel_scale']:.4g} arcsec pixels", f"{end['unit']} (AB zero point {end['zeropoint']:g})"
        rows.append([word, end["survey"], " ".join(bands), scale, unit])
    samples = card.get("sampling", {}).get("n_samples")
    answer = f"draws samples, the mean of {samples} unless --n-samples says otherwise" if samples else "one answer"
    if "sampler" in network:
        answer += "; with --n-samples also samples that keep the photometry" if not samples else ", photometry kept"
    return ["What it does", *_aligned(rows), f"  network {network['name']} ({network.get('preset', 'own')}): {answer}"]


def _which_images(card):
    validity, network = card.get("validity"), card.get("network")
    if not validity or not network:
        return []
    rows = [["band", "seeing (arcsec)", "5 sigma depth (mag)", "sky rms", "brightest pixel"]]
    for k, band in enumerate(network["in_bands"]):
        fwhm, sky, peak = (validity.get(name, {}).get(band) for name in ("fwhm", "sky_rms", "peak"))
        rows.append([band, _range(fwhm), _range(_depth(card["source"], k, sky)), _range(sky), _range(peak)])
    unit = card["source"]["unit"]
    return [
        f"Which images it is for (to compare yours: galtrans check IMAGE... -m {card['name']})",
        f"  sky subtracted, pixels of {_range(validity.get('pixel_scale'))} arcsec; sky rms and pixels in {unit}",
        *_aligned(rows),
        *_told(card),
    ]


def _told(card):
    """What the network is told of an image beside its pixels."""
    if not card["network"].get("settings", {}).get("observed"):
        return []
    lines = ["  told PSF (--psf, or the image's stars) and noise of each image: the target's PSF in any seeing"]
    fewest, bands = card["source"].get("fewest_bands"), card["network"]["in_bands"]
    return lines + ([f"  any {fewest} or more of its bands will do"] if fewest and fewest < len(bands) else [])


def _depth(source, k, sky):
    """Depths of a point source at the survey's seeing that belong to the limits of the sky rms, shallow first."""
    fwhm = (source.get("fwhm") or {k: None})[k]
    if not fwhm or not sky or not all(rms > 0 for rms in sky):
        return None
    at_zero = sky_from_depth(0.0, fwhm, source["pixel_scale"], source["zeropoint"])  # sky rms goes as 10^(-0.4 depth)
    return [-2.5 * log10(rms / at_zero) for rms in reversed(sky)]


def _how_good(card):
    scores, network = card.get("scores"), card.get("network")
    if not scores or not network:
        return []
    training, calibration = card.get("training") or {}, card.get("calibration") or {}
    kind = "simulated " if calibration.get("simulated", training.get("data", {}).get("simulated")) else ""
    rows = [["band", "flux bias", "flux scatter", "RMS error over resampling", "pixels within 1 sigma"]]
    names = "flux_bias", "flux_scatter", "rmse_gain_on_classical", "within_1_sigma"
    signs = "+", "", "+", ""
    for k, band in enumerate(network["out_bands"]):
        values = [(scores.get(name) or {k: None})[k] for name in names]
        values[2] = None if values[2] is None else -values[2]  # a gain is by how much the error is smaller
        rows.append([band, *(_percent(value, sign) for value, sign in zip(values, signs, strict=True))])
    sources = f"{scores.get('n_galaxies', 'the')} sources with {calibration.get('selection', 'much signal')}"
    return [
        f"How good it is, on {scores.get('n_pairs', '?')} {kind}pairs that it was not trained on",
        *_aligned(rows),
        f"  fluxes: {sources}, {calibration.get('aperture', 3.0):g} arcsec apertures, against the target's images",
        "  RMS error: in pixels with signal; -90 %: a tenth of that of spline resampling with zero points matched",
        "  within 1 sigma: 68.3 % if the stated standard deviations are right",
    ]


def _training(card):
    training = card.get("training")
    if not training:
        return []
    data = training.get("data", {})
    told = [f"{data['pairs']} pairs"] if "pairs" in data else []
    told += [f"{training['steps']} steps"] if "steps" in training else []
    told += [f"{training['hours']:.3g} hours"] if training.get("hours") else []
    return [_converged(training), *([f"          {', '.join(told)}"] if told else [])]


def _converged(training):
    """Say whether a training had converged."""
    found = training.get("convergence") or {}
    change = found.get("improvement_of_last_quarter")
    if change is None:
        return "Training: its course was not recorded, or it was too short to tell whether it converged."
    verdict = "converged" if change < CONVERGED else "not yet converged: longer training would still help"
    what = "the RMS error" if found["score"].endswith("gain") else found["score"]
    return f"Training: {verdict} ({what} fell by {100 * change:.1f} % over the last quarter)."


def _range(limits, digits=3):
    """Limits in words, with some significant digits; one number is the highest allowed."""
    if limits is None:
        return "any"
    words = [f"{float(f'{value:.{digits}g}'):g}" for value in np.atleast_1d(limits)]
    return " to ".join(words) if np.ndim(limits) else f"up to {words[0]}"


def _percent(value, sign=""):
    return "unknown" if value is None or not isfinite(value) else f"{100 * value:{sign}.1f} %"


def _tree(tree, depth=0):
    indent = "  " * depth
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _tree(value, depth + 1)
        else:
            yield f"{indent}{key}: {', '.join(map(_number, value)) if isinstance(value, list) else value}"


def _history(history):
    """Score against training time, a line per validation."""
    if not history:
        return []
    rows = [history["columns"], *([_number(value) for value in row] for row in history["rows"])]
    return ["history:", *_aligned(rows, str.rjust)]


def _aligned(rows, adjust=str.ljust):
    """Rows of text as indented columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([adjust(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return [f"  {'  '.join(row)}".rstrip() for row in cells]


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""Translated stamps of a store of pairs, kept in a folder and found again."""

import json
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans.stamps._old_files import SETTINGS_FILE, PairImages, TranslatedStamps, chunk_file
from astro_galtrans.translate import Translator, load_translator
from astro_galtrans.units import flux_factor

__all__ = ["translate_pairs"]

CHUNK = 64  # stamps translated, and written, at once


def translate_pairs(pairs, translator, directory, *, n_samples=None, seed=0, crop=None, progress=True):
    """
    Translate the source stamps of a store, samples apart, into a folder; what is there already is kept.

    Parameters
    ----------
    pairs : `~astro_galtrans.pairs.store.PairStore`
        Pairs of the translator's two surveys.
    translator : str, path-like or `~astro_galtrans.Translator`
        Name, file or translator.
    directory : path-like
        Where to: a folder of its own is made there for these pairs, this translator and these settings.
    n_samples : int, optional
        Samples of a translator that samples, by default what its card recommends; others have one answer.
    seed : int, optional
        Seed of the samples.
    crop : int, optional
        Side of the middle part of the stamps to translate (source pixels).
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    `TranslatedStamps`
        In the target survey's flux unit and bands, as the target stamps of the store.

    Raises
    ------
    ValueError
        If the translator is for other bands, pixels or scale than the pairs.
    """
    if not isinstance(translator, Translator):
        translator = load_translator(translator)
    images, number = PairImages(pairs, "source", crop), len(pairs)
    convert = _Conversion(pairs.header, translator)
    n_samples = n_samples if translator.spec.stochastic else 1
    settings = {
        "translator": translator.name, "weights": translator.checkpoint.sha256, "n_samples": n_samples, "seed": seed,
        "crop": crop, "chunk": CHUNK, "number": number, "pairs": _identity(pairs, images),
    }  # fmt: skip
    folder = Path(directory) / f"{translator.name}-{fingerprint(json.dumps(settings))[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / SETTINGS_FILE) as place:
        place.write_text(json.dumps(settings, indent=1), encoding="utf8")
    with tqdm(total=number, desc=translator.name, unit="stamp", disable=None if progress else True) as bar:
        for k, start in enumerate(range(0, number, CHUNK)):
            file, rows = chunk_file(folder, k), slice(start, min(start + CHUNK, number))
            if not file.exists():
                source = convert.source(images[rows])
                stamps = convert.target(translator.stamps(source, n_samples=n_samples, seed=seed + k))
                with whole_file(file) as place:
                    np.save(place, stamps)
            bar.update(rows.stop - rows.start)
    return TranslatedStamps(folder)


class _Conversion:
    """Bands and zero points of a store to those of a translator, and back."""

    def __init__(self, header, translator):
        names = translator.name, header.source.name, header.target.name
        self._bands_in = _chosen(
            translator.bands_in, header.source_bands, f"{names[0]} needs", f"the source ({names[1]})"
        )
        self._bands_out = _chosen(header.target_bands, translator.bands_out, f"the target ({names[2]}) has", names[0])
        scales = (translator.source["pixel_scale"], header.source.pixel_scale)
        if not np.isclose(*scales, rtol=0.01) or translator.spec.scale != header.scale:
            msg = (
                f'{names[0]} is for pixels of {scales[0]:.4g}" and scale {translator.spec.scale}, '
                f'the pairs have {scales[1]:.4g}" and scale {header.scale}'
            )
            raise ValueError(msg)
        self._factor_in = np.float32(flux_factor(header.source.zeropoint, translator.source["zeropoint"]))
        self._factor_out = np.float32(flux_factor(translator.target["zeropoint"], header.target.zeropoint))

    def source(self, stamps):
        return self._factor_in * stamps[:, self._bands_in]

    def target(self, stamps):
        return self._factor_out * stamps[:, :, self._bands_out]


def _chosen(wanted, available, who, whose):
    missing = [band for band in wanted if band not in available]
    if missing:
        msg = f"{who} {', '.join(wanted)}, but {whose} has {', '.join(available)}: {', '.join(missing)} missing"
        raise ValueError(msg)
    return [available.index(band) for band in wanted]


def _identity(pairs, images):
    """What tells one set of pairs from another: the header, which pairs, and some pixels."""
    header = json.dumps(pairs.header.to_dict(), sort_keys=True, default=str)
    rows = np.unique(np.linspace(0, len(images) - 1, 16).astype(int))
    return fingerprint(header, *(images[int(row)] for row in rows))[:16]

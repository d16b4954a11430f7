"""Images in files, one or many: which files make one image, what is done already, what failed."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from astropy.io import fits

from astro_galtrans._progress import tqdm

from ._files import FITS_SUFFIXES
from ._locks import locked, sweep
from ._warn import about_image
from .bandstack import check_writable, find_files, split_extension, write_fits
from .translate import Translator, load_translator, translate
from .translate.many import are_images

__all__ = ["find_images", "is_folder", "translate_file", "translate_files"]

PICTURES = {".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".gif"}
#: Cards that say what an output was made of, beside that of the weights.
REQUEST_CARDS = {"input": "GTINPUT", "options": "GTOPTION", "weights": "GTHASH", "translator": "GTMODEL"}
NO_MATTER = frozenset({"tile", "batch_size"})  # options that a result does not depend on
#: A band's letter that stands alone in a file name or begins a group of digits: ``frame-g-000094``, ``4192-g4-0300``.
BAND_IN_NAME = re.compile(r"(?<![A-Za-z0-9])[ugrizy](?=[\d\W_]|$)")


def is_folder(path):
    """Whether an output is meant as a folder: it is one, or its name ends in a slash."""
    return str(path).endswith("/") or Path(path).is_dir()


def translate_file(images, translator, output, *, overwrite=False, progress=True, **options):
    """
    Translate one image from FITS to FITS.

    Parameters
    ----------
    images : list of path-like
        One multi-band file, or a file per band; globs and folders stand for their files.
    translator : str or `~astro_galtrans.Translator`
    output : path-like
        File to write. It appears whole or not at all.
    overwrite : bool, optional
        Whether an existing file may be replaced.
    progress : bool, optional
        Show a progress bar over tiles on a terminal.
    **options
        As for `~astro_galtrans.translate`.

    Raises
    ------
    OSError
        If the output exists and ``overwrite`` is False, or its folder does not exist; before any work is done.
    ValueError
        If the output is one of the images, with ``overwrite`` also; if its name does not end as one of FITS does; or if
        there are several images, for which a folder is needed.
    """
    _check_ending(output)
    images = [file for item in images for file in find_files(item)]
    _refuse_inputs(images, [output])
    check_writable(output, overwrite=overwrite)
    place = Path(output).expanduser()
    sweep(place.parent, f"-{place.name}")
    if not isinstance(translator, Translator):
        translator = load_translator(translator, options.get("device"))
    fields = list(find_images(images).values())
    if len(fields) > 1 and (min(map(len, fields)) > 1 or are_images(images, translator, options.get("bands"))):
        msg = (
            f"{len(fields)} images, such as {fields[0][0]} and {fields[1][0]}, do not go into one file, {output}; give "
            f"a folder as output, which ends in a slash: {place.with_suffix('')}/"
        )
        raise ValueError(msg)
    _translate(images, translator, output, {}, overwrite=overwrite, progress=progress, **options)


def _check_ending(output):
    """Raise unless a file is called FITS: one of FITS under the name of a picture is of no use to either's readers."""
    if not str(output).lower().endswith(FITS_SUFFIXES):
        ends = ", ".join(end for end in FITS_SUFFIXES if end.count(".") == 1)
        msg = f"the output {output} is written as FITS: a file's name has to end in {ends}, a folder's in /"
        if Path(output).suffix.lower() in PICTURES:
            msg += f"; for a picture beside the FITS file, galtrans translate has --preview {output}"
        raise ValueError(msg)


def _translate(images, translator, output, cards, *, overwrite, progress, **options):
    image = images[0] if len(images) == 1 else list(images)
    result = translate(image, translator, progress=progress, **options)
    result[0].header.update(cards)
    write_fits(result, output, overwrite=overwrite)


def translate_files(
    images, translator, folder, *, overwrite=False, progress=True, device=None, seed=None, report=None, **options
):
    """
    Translate many images; one that fails does not stop the others.

    Parameters
    ----------
    images : list of path-like
        What `find_images` understands.
    translator : str or `~astro_galtrans.Translator`
    folder : path-like
        Where to write ``NAME.fits`` for each; made if missing. Files that are there and were made of the same input by
        the same weights with the same options are skipped, so that an interrupted run can be repeated; others that are
        there count as failed.
    overwrite : bool, optional
        Do those again, too.
    progress, device, **options
        As for `translate_file`.
    seed : int, optional
        Seed of the samples. Each image has its own, of this one and the image's content, so that no two have the same
        noise; it is recorded in the output (``GTSEED``).
    report : callable, optional
        Called with the name of each image and ``"translated"``, ``"skipped"`` or ``"failed"``.

    Returns
    -------
    dict
        Image to reason, for those that failed.

    Raises
    ------
    ValueError
        If the folder holds an input, or an output would be one (a link to it, say); with ``overwrite`` also.
    OSError
        If another process writes to the folder.
    """
    groups = find_images(images)
    folder = Path(folder)
    _refuse_inputs(
        [file for files in groups.values() for file in files], [folder / f"{name}.fits" for name in groups], beside=True
    )
    if isinstance(translator, str | Path):
        translator = load_translator(translator, device)
    folder.mkdir(parents=True, exist_ok=True)
    failures, report = {}, report or (lambda *_: None)
    settings = options | {"overwrite": overwrite}
    with locked(folder):
        for name, files in tqdm(groups.items(), unit="image", disable=None if progress else True):
            try:
                with about_image(name):
                    done = _one_of_many(files, translator, folder / f"{name}.fits", seed, **settings)
                report(name, done)
            except Exception as err:  # noqa: BLE001 - of whatever kind: the others are still to be done
                failures[name] = f"{type(err).__name__}: {err}"
                report(name, "failed")
    return failures


def _one_of_many(files, translator, output, seed, *, overwrite, **options):
    """Translate an image unless that is done; say which."""
    told = {key: value for key, value in (options | {"seed": seed}).items() if value is not None}
    request = {
        "input": _fingerprint(files),
        "options": json.dumps({k: v for k, v in told.items() if k not in NO_MATTER}, sort_keys=True, default=str),
        "weights": translator.checkpoint.sha256,
        "translator": translator.name,
    }
    if output.exists() and not overwrite:
        _check_same(output, request)
        return "skipped"
    if seed is not None:
        words = np.frombuffer(bytes.fromhex(request["input"]), ">u4")
        options["seed"] = int(np.random.SeedSequence([seed, *words]).generate_state(1)[0])
    cards = {REQUEST_CARDS[what]: request[what] for what in ("input", "options")}
    _translate(files, translator, output, cards, overwrite=overwrite, progress=False, **options)
    return "translated"


def _check_same(output, request):
    """Raise unless an output was made as asked for."""
    header = fits.getheader(output)
    there = {what: header.get(card) for what, card in REQUEST_CARDS.items()}
    differ = [what for what, value in request.items() if there[what] != value]
    if differ:
        hashes = {"input": "another input", "weights": "other weights"}
        details = [hashes.get(w, f"{w} {there[w] or 'not recorded'} (asked for: {request[w]})") for w in differ]
        msg = f"{output} exists and was made with {', '.join(details)}; overwrite it (--overwrite) or choose a folder"
        raise FileExistsError(msg)


def _fingerprint(files):
    """SHA-256 of the contents of files in their order, and of the extensions asked for."""
    whole = hashlib.sha256()
    for name in files:
        path, extension = split_extension(name)
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest() + str(extension or "").encode())
    return whole.hexdigest()


def _refuse_inputs(inputs, outputs, *, beside=False):
    """Raise if an output is an input, by whatever name, or comes to lie among them, where it would be one next time."""
    paths = [path for path in (split_extension(name)[0] for name in inputs) if path.exists()]
    files = {_identity(path): path for path in paths}
    folders = {_identity(path.parent): path for path in paths} if beside else {}
    for output in map(Path, outputs):
        same = files.get(_identity(output)) or folders.get(_identity(output.parent))
        if same:
            msg = f"the output {output} would replace an input, or lie beside it ({same}); choose another folder"
            raise ValueError(msg)


def _identity(path):
    """What links to a file or folder share with it."""
    try:
        found = path.expanduser().stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def find_images(images):
    """
    Sort files into images.

    Parameters
    ----------
    images : list of path-like
        FITS files; folders, for the FITS files in them; globs; and ``@LIST``, a text file with the files of one image a
        line. Files in one folder whose names differ in the letter of the band only are the bands of one image.

    Returns
    -------
    dict
        Name of the image (a file name without its ending, and with ``x`` in the band's place; after the name of its
        folder where other folders have one of that name, too) to its files, sorted.

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist, or a folder has no FITS file.
    ValueError
        If two images would have one name.
    """
    groups = {}  # by folder and name
    for item in map(str, images):
        if item.startswith("@"):
            for line in _lines(Path(item[1:])):
                _check_new(key := _key(line[0]), groups, line[0])
                groups[key] = line
        else:
            for file in find_files(item):  # the shell may have expanded one image's bands to several arguments
                groups.setdefault(_key(file), []).append(file)
    times = Counter(name for _, name in groups)
    found = {}
    for (folder, name), files in groups.items():
        label = name if times[name] == 1 else f"{folder.absolute().name}-{name}"
        _check_new(label, found, files[0])
        found[label] = sorted(set(files))
    return found


def _key(file):
    return Path(file).parent, _stem(file)


def _check_new(key, found, file):
    if key in found:
        name = key if isinstance(key, str) else key[1]
        msg = f"two images would be called {name!r} ({found[key][0]} and {file}); translate them to two folders"
        raise ValueError(msg)


def _lines(path):
    if not path.is_file():
        msg = f"there is no list of files {path}"
        raise FileNotFoundError(msg)
    lines = (line.split() for line in path.read_text(encoding="utf8").splitlines())
    return [line for line in lines if line and not line[0].startswith("#")]


def _stem(path):
    name = Path(path).name
    ending = next((s for s in sorted(FITS_SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return BAND_IN_NAME.sub("x", name[: len(name) - len(ending)] if ending else name)

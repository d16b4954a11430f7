"""Images in files, one or many: which files make one image, what is done already, what failed."""

import re
from pathlib import Path

from tqdm.auto import tqdm

from .bandstack import check_writable, write_fits
from .translate import load_translator, translate

__all__ = ["find_images", "is_folder", "translate_file", "translate_files"]

#: Ends of names that are FITS.
SUFFIXES = tuple(f".{kind}{packed}" for kind in ("fits", "fit", "fts") for packed in ("", ".fz", ".gz", ".bz2"))
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
        One multi-band file, or a file per band.
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
    """
    check_writable(output, overwrite=overwrite)
    image = images[0] if len(images) == 1 else list(images)
    with tqdm(desc=Path(output).name, unit="tile", disable=None if progress else True) as bar:
        write_fits(translate(image, translator, progress=bar.update, **options), output, overwrite=overwrite)


def translate_files(images, translator, folder, *, overwrite=False, progress=True, device=None, **options):
    """
    Translate many images; one that fails does not stop the others.

    Parameters
    ----------
    images : list of path-like
        What `find_images` understands.
    translator : str or `~astro_galtrans.Translator`
    folder : path-like
        Where to write ``NAME.fits`` for each; made if missing. Files that are there are skipped, so that an interrupted
        run can be repeated.
    overwrite : bool, optional
        Do those again, too.
    progress, device, **options
        As for `translate_file`.

    Returns
    -------
    dict
        Image to reason, for those that failed.
    """
    groups = find_images(images)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(translator, str | Path):
        translator = load_translator(translator, device)
    failures = {}
    for name, files in tqdm(groups.items(), unit="image", disable=None if progress else True):
        output = folder / f"{name}.fits"
        if output.exists() and not overwrite:
            continue
        try:
            translate_file(files, translator, output, overwrite=overwrite, progress=False, **options)
        except (ValueError, TypeError, KeyError, OSError, ArithmeticError) as err:
            failures[name] = f"{type(err).__name__}: {err}"
    return failures


def find_images(images):
    """
    Sort files into images.

    Parameters
    ----------
    images : list of path-like
        FITS files; folders, for the FITS files in them; and ``@LIST``, a text file with the files of one image a line.
        Files in one folder whose names differ in the letter of the band only are the bands of one image.

    Returns
    -------
    dict
        Name of the image (a file name without its ending, and with ``x`` in the band's place) to its files, sorted.

    Raises
    ------
    FileNotFoundError
        If a file or folder does not exist, or a folder has no FITS file.
    ValueError
        If two images would have one name.
    """
    groups = {}
    for item in map(str, images):
        if item.startswith("@"):
            for line in _lines(Path(item[1:])):
                _add(groups, _stem(line[0]), line)
        else:
            for key, files in _by_band(_files(Path(item))).items():
                _merge(groups, key, files)
    return {name: sorted(files) for name, (_, files) in groups.items()}


def _lines(path):
    if not path.is_file():
        msg = f"there is no list of files {path}"
        raise FileNotFoundError(msg)
    lines = (line.split() for line in path.read_text(encoding="utf8").splitlines())
    return [line for line in lines if line and not line[0].startswith("#")]


def _files(path):
    if not path.is_dir():
        return [path]  # whether it exists, and is FITS, its reader says best
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(SUFFIXES))
    if not files:
        msg = f"{path} holds no FITS file (names ending in {', '.join(SUFFIXES)})"
        raise FileNotFoundError(msg)
    return files


def _stem(path):
    name = Path(path).name
    ending = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return BAND_IN_NAME.sub("x", name[: len(name) - len(ending)] if ending else name)


def _by_band(files):
    groups = {}
    for file in files:
        groups.setdefault((file.parent, _stem(file)), []).append(str(file))
    return groups


def _merge(groups, key, files):
    folder, name = key
    if name in groups and groups[name][0] == folder:
        groups[name][1].extend(files)  # the shell expanded one image's bands to several arguments
    else:
        _add(groups, name, files, folder)


def _add(groups, name, files, folder=None):
    if name in groups:
        msg = (
            f"two images would be called {name!r} ({groups[name][1][0]} and {files[0]}); translate them to two folders"
        )
        raise ValueError(msg)
    groups[name] = (folder, list(files))

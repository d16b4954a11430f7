"""A translator's card as it comes out of a file that anybody may have written: checked, then read-only."""

from contextlib import contextmanager
from math import isfinite

from astro_galtrans._plain import plain_name
from astro_galtrans.covariance import Covariance
from astro_galtrans.exceptions import CheckpointError

__all__ = ["check_card", "check_network", "frozen"]

MOST_BANDS, MOST_ITEMS, MOST_DEPTH, LONGEST = 64, 256, 4, 10_000
LARGEST = 65_536  # of the whole numbers in a network's settings: widths, depths, windows
POSITIVE = (1e-38, 1e38)
ANY = (-1e38, 1e38)

#: What the package takes from a card: the kind of each value and the range of numbers. Those with ``?`` may be missing.
#: "in" and "out" are lists with a number per input or output band, "limits" a pair of numbers or the highest one,
#: "by band" a dict of these.
ENTRIES = {
    "name": ("name",),
    "description?": ("text",), "licence?": ("text",), "created?": ("text",),
    "source.survey": ("name",), "target.survey": ("name",),
    "source.unit": ("text",), "target.unit": ("text",),
    "source.zeropoint": ("number", -100, 100), "target.zeropoint": ("number", -100, 100),
    "source.pixel_scale": ("number", 1e-4, 1e4), "target.pixel_scale": ("number", 1e-4, 1e4),
    "target.native_pixel_scale?": ("number", 1e-4, 1e4),
    "source.scaling.softening": ("in", *POSITIVE), "target.scaling.softening": ("out", *POSITIVE),
    "source.sky_rms": ("in", *POSITIVE), "source.electrons?": ("in", *POSITIVE),
    "source.fewest_bands?": ("whole", 1, MOST_BANDS), "source.fwhm?": ("in", 0, 1e4), "target.fwhm?": ("out", 0, 1e4),
    "calibration.flux": ("out", *POSITIVE), "calibration.std": ("out", *POSITIVE),
    "validity.pixel_scale?": ("limits", *ANY),
    "validity.fwhm?": ("by band", *ANY), "validity.sky_rms?": ("by band", *ANY), "validity.peak?": ("by band", *ANY),
    "sampling.n_samples?": ("whole", 1, 10_000),
}  # fmt: skip


def check_card(card, path):
    """
    Check all that the package will take from a card, as parsed from the JSON of the file ``path``.

    Raises CheckpointError, naming the entry, if one is missing, of a wrong kind or out of its range.
    """
    with _blaming(path):
        network = _network(card["network"])
        for entry, (kind, *limits) in ENTRIES.items():
            found = _find(card, entry)
            if found is not None or not entry.endswith("?"):
                _check(found, entry.rstrip("?"), kind, limits, network)
        for entry in ("correlation", "correlation_consistent"):  # which says only what is different
            if (correlation := card["calibration"].get(entry)) is not None:
                Covariance.from_dict((card["calibration"].get("correlation") or {}) | correlation)  # checks itself
        if (terms := card["calibration"].get("colour_terms")) is not None:
            _colour_terms(terms, card["network"])


def _colour_terms(terms, network):
    entry, bands = "calibration.colour_terms", terms["bands"]
    there = set(network["in_bands"]) & set(network["out_bands"])
    _demand(isinstance(bands, list) and bands and set(bands) <= there, f"{entry}.bands", f"some of {there}", bands)
    rows = [*terms["matrix"], terms["scatter"]]
    right = len(rows) == len(bands) + 1 and all(isinstance(row, list) and len(row) == len(bands) for row in rows)
    _demand(right, entry, f"{len(bands)} numbers for each of {bands} and their scatter", rows)
    for row in rows:
        for number in row:
            _number(number, entry, (-100, 100))


def check_network(card, path):
    """Check what a card says of its network, before that is built; raises CheckpointError as `check_card` does."""
    with _blaming(path):
        _network(card["network"])


@contextmanager
def _blaming(path):
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        reason = f"it has no {err}" if isinstance(err, KeyError) else err
        msg = f"{path}: the card is not one of a translator: {reason}"
        raise CheckpointError(msg) from err


def _find(card, entry):
    *parents, last = entry.rstrip("?").split(".")
    for parent in parents:
        card = card.get(parent, {}) if entry.endswith("?") else card[parent]
    return card.get(last) if entry.endswith("?") else card[last]


def _check(value, entry, kind, limits, bands):
    if kind == "name":
        plain_name(value, entry)
    elif kind == "text":
        _demand(isinstance(value, str) and len(value) <= LONGEST, entry, "a text", value)
    elif kind == "whole":
        _demand(type(value) is int and limits[0] <= value <= limits[1], entry, f"a whole number in {limits}", value)
    elif kind == "number":
        _number(value, entry, limits)
    elif kind == "limits":
        _limits(value, entry, limits)
    elif kind == "by band":
        _demand(isinstance(value, dict), entry, "a number or two per band", value)
        for band, numbers in value.items():
            _limits(numbers, f"{entry}.{band}", limits)
    else:
        # of the other side, where a translator has a calibration for bands it leaves out
        _demand(isinstance(value, list) and len(value) in bands.values(), entry, f"{bands[kind]} numbers", value)
        for number in value:
            _number(number, entry, limits)


def _limits(value, entry, limits):
    if isinstance(value, list):
        _demand(len(value) == 2, entry, "the lowest and the highest number", value)
    for number in value if isinstance(value, list) else [value]:
        _number(number, entry, limits)


def _number(value, entry, limits):
    right = type(value) in {int, float} and limits[0] <= value <= limits[1]
    _demand(right, entry, f"a number from {limits[0]:g} to {limits[1]:g}", value)


def _demand(right, entry, wanted, value):
    if not right:
        msg = f"{entry} should be {wanted}, and is {repr(value)[:100]}"
        raise ValueError(msg)


def _network(network):
    """Check how a network is to be rebuilt, and count its bands."""
    _demand(isinstance(network["name"], str), "network.name", "a text", network["name"])
    scale = network["scale"]
    _demand(type(scale) is int and 1 <= scale <= 16, "network.scale", "a whole number from 1 to 16", scale)
    for side in ("in_bands", "out_bands"):
        bands = network[side]
        texts = isinstance(bands, list) and all(isinstance(b, str) and 0 < len(b) < 100 for b in bands)
        right = texts and 0 < len(bands) <= MOST_BANDS and len(set(bands)) == len(bands)
        _demand(right, f"network.{side}", f"1 to {MOST_BANDS} different names", bands)
    settings = network["settings"]
    _demand(isinstance(settings, dict) and all(isinstance(k, str) for k in settings), "settings", "a table", settings)
    _setting(settings, "network.settings", MOST_DEPTH)
    if (sampler := network.get("sampler")) is not None:
        _demand(isinstance(sampler, dict) and all(isinstance(k, str) for k in sampler), "sampler", "a table", sampler)
        _setting(sampler, "network.sampler", MOST_DEPTH)
    return {"in": len(network["in_bands"]), "out": len(network["out_bands"])}


def _setting(value, entry, depth):
    if isinstance(value, dict | list):
        _demand(depth > 0 and len(value) <= MOST_ITEMS, entry, f"at most {MOST_ITEMS} items, nested little", value)
        for item in value.values() if isinstance(value, dict) else value:
            _setting(item, entry, depth - 1)
    elif type(value) is int:
        _demand(abs(value) <= LARGEST, entry, f"whole numbers up to {LARGEST}", value)
    elif type(value) is float:
        _demand(isfinite(value), entry, "finite numbers", value)
    else:
        _demand(value is None or isinstance(value, bool | str), entry, "numbers, texts and lists", value)


# Read-only: a translator is shared by all who load it, and its card says what its weights are.


def frozen(value):
    """
    Read-only copy of what JSON holds: dicts and lists of subclasses that refuse to be changed.

    It is equal to ``value``; `copy.deepcopy` gives a copy that may be changed.
    """
    if isinstance(value, dict):
        return _Dict({key: frozen(item) for key, item in value.items()})
    return _List(map(frozen, value)) if isinstance(value, list) else value


def _thawed(value):
    if isinstance(value, dict):
        return {key: _thawed(item) for key, item in value.items()}
    return [_thawed(item) for item in value] if isinstance(value, list) else value


def _refuse(*_args, **_kwargs):
    msg = "a translator's card is read-only, for all who use the translator share it; change a copy.deepcopy of it"
    raise TypeError(msg)


class _ReadOnly:
    """What dict and list have for being changed, refused."""

    __setitem__ = __delitem__ = __ior__ = __iadd__ = __imul__ = _refuse
    update = setdefault = pop = popitem = clear = append = extend = insert = remove = sort = reverse = _refuse

    def __deepcopy__(self, memo):
        return _thawed(self)

    def __reduce__(self):
        return frozen, (_thawed(self),)


class _Dict(_ReadOnly, dict):
    """A dict that refuses to be changed."""

    __hash__ = None


class _List(_ReadOnly, list):
    """A list that refuses to be changed."""

    __hash__ = None

"""Fine-tuning: a network that starts from another translator's weights."""

import warnings

import numpy as np

from astro_galtrans.exceptions import GaltransWarning
from astro_galtrans.models import checkpoint
from astro_galtrans.models._card import check_card
from astro_galtrans.models.shipped import find_weights
from astro_galtrans.scaling import AsinhScaling
from astro_galtrans.units import flux_factor

__all__ = ["warm_start"]

SHOWN = 8  # tensors named in a message, which has to stay readable


def warm_start(model, init, header, scalings):
    """
    Load a translator's weights into a network of the same kind, and return the scalings of source and target to use.

    Tensors that are missing in the file or have another shape stay as they are, and a warning names them. The scalings
    are the translator's, in the flux units of the pairs, if it knows all their bands and has their scale; otherwise
    ``scalings``, with a warning that states the difference. A translator of another kind of network, or without a
    fitting tensor, is a `ValueError`.
    """
    found = checkpoint.load(find_weights(init))
    check_card(found.card, init)
    if found.model.name != model.name:
        msg = f"{init} is a {found.model.name} network and cannot start a {model.name}; choose a recipe of its kind"
        raise ValueError(msg)
    _load(model, found.model, init)
    return _taken_over(found.card, header, scalings, init)


def _load(model, other, init):
    own, theirs = model.inference_state_dict(), other.inference_state_dict()
    unlike = {
        f"{name} {tuple(tensor.shape)} (there {tuple(theirs[name].shape) if name in theirs else 'none'})"
        for name, tensor in own.items()
        if name not in theirs or theirs[name].shape != tensor.shape
    } | {f"{name} (only there)" for name in theirs.keys() - own.keys()}
    fitting = {n: t for n, t in theirs.items() if n in own and own[n].shape == t.shape}
    told = ", ".join(sorted(unlike)[:SHOWN]) + (f" and {len(unlike) - SHOWN} more" if len(unlike) > SHOWN else "")
    if not fitting:
        msg = f"no weight of {init} fits this network ({told}); train it with the same preset and settings"
        raise ValueError(msg)
    if unlike:
        text = f"{len(fitting)} of {len(own)} tensors are taken from {init}; these start afresh: {told}"
        warnings.warn(text, GaltransWarning, stacklevel=2)
    model.load_state_dict(fitting, strict=False)


def _taken_over(card, header, scalings, init):
    ends = (card["source"], header.source), (card["target"], header.target)
    there = [  # in the flux units of the pairs
        flux_factor(side["zeropoint"], survey.zeropoint) * np.array(side["scaling"]["softening"])
        for side, survey in ends
    ]
    bands = card["network"]["in_bands"], card["network"]["out_bands"]
    wanted = header.source_bands, header.target_bands
    known = all(set(want) <= set(have) for want, have in zip(wanted, bands, strict=True))
    if known and card["network"]["scale"] == header.scale:
        softening = [dict(zip(b, s, strict=True)) for b, s in zip(bands, there, strict=True)]
        return tuple(AsinhScaling([s[b] for b in want]) for s, want in zip(softening, wanted, strict=True))
    text = (
        f"{init} has bands {''.join(bands[0])} -> {''.join(bands[1])} at scale {card['network']['scale']}, the pairs"
        f" {''.join(wanted[0])} -> {''.join(wanted[1])} at scale {header.scale}: its scaling is not taken over"
        f" (softening there {_short(there)}, here {_short([s.softening for s in scalings])})"
    )
    warnings.warn(text, GaltransWarning, stacklevel=2)
    return scalings


def _short(softening):
    return " -> ".join("[" + ", ".join(f"{b:.3g}" for b in part) + "]" for part in softening)

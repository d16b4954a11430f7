"""Settings as text, of which the names of kept files are made."""

import json
import pickle

__all__ = ["settings_text"]


def settings_text(settings):
    """
    Return settings as text that differs where any of them differs: arrays and tables count with all their values.

    Parameters
    ----------
    settings : dict of str to object
        Objects that cannot be pickled, such as lambda functions, count as different in every session.
    """
    return json.dumps(settings, default=_text, sort_keys=True)


def _text(value):
    try:
        return pickle.dumps(value).hex()
    except (pickle.PicklingError, AttributeError, TypeError):
        return repr(value)

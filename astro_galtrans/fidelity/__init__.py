"""What a translation kept: comparisons of translated with real images, level by level."""

from importlib import import_module

# public function -> the module it lives in, imported when it is first used: one level does not need what others need
_HOMES = {
    "anomalies": "anomaly.measure",
    "fidelity_from_files": "files",
    "morphology_fidelity": "morphology",
    "peak_fidelity": "redshift.peaks",
    "photometry_fidelity": "photometry",
    "pixel_fidelity": "pixel.measure",
    "redshift_fidelity": "redshift.measure",
    "redshift_from_files": "files",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

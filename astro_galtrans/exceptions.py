"""The package's own errors and warnings; all else it raises is built in, such as ``ValueError`` or ``OSError``."""

from astropy.utils.exceptions import AstropyUserWarning

__all__ = ["CheckpointError", "DomainError", "DomainWarning", "EmptyImageError", "GaltransError", "GaltransWarning"]


class GaltransError(Exception):
    """Base of the errors that only this package raises."""


class CheckpointError(GaltransError):
    """A translator file is damaged, was tampered with, or was written by an unsupported version."""


class DomainError(GaltransError, ValueError):
    """The input lies outside the range a translator was trained on (raised with ``strict=True``)."""


class EmptyImageError(GaltransError, ValueError):
    """A band has no pixel that can be used, or holds one value everywhere."""


class GaltransWarning(AstropyUserWarning):
    """Base of the package's warnings."""


class DomainWarning(GaltransWarning):
    """The input lies outside the range a translator was trained on."""

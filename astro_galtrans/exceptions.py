"""The package's own errors and warnings; all else it raises is built in, such as ``ValueError`` or ``OSError``."""

from dataclasses import dataclass

from astropy.utils.exceptions import AstropyUserWarning

__all__ = [
    "CheckpointError", "DomainError", "DomainWarning", "EmptyImageError", "Failure", "GaltransError", "GaltransWarning",
]  # fmt: skip


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


@dataclass(frozen=True)
class Failure:
    """What stands in place of the result of an image that could not be translated, among many; it is false."""

    index: int  #: number of the image, from 0
    error: Exception

    def __str__(self):
        return f"image {self.index}: {type(self.error).__name__}: {self.error}"

    def __bool__(self):
        return False

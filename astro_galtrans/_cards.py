"""
Files of networks: weights and a card in one safetensors file, with checksums over both.

A safetensors file is eight bytes with the length of a JSON header, the header, and the tensors' bytes. The card (a dict
that JSON can hold) lies in the header, so that reading it needs neither torch nor the weights. Two checksums, of the
tensors and of the card, tell a file that was damaged or edited from one that was written here.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import index
from pathlib import Path

from ._files import fingerprint, whole_file
from ._release import __version__
from .exceptions import CheckpointError

__all__ = ["CardFile", "canonical"]

LONGEST_HEADER = 2**24  # bytes; a card with its training history has some tens of thousands


@dataclass(frozen=True)
class CardFile:
    """
    A kind of file; its methods raise a `~astro_galtrans.exceptions.CheckpointError` if a file is not of that kind.

    They do so too if it is damaged, was edited, or is of another format version.
    """

    key: str  #: entry of the safetensors metadata that holds the card
    kind: str  #: what such a file holds, for messages
    version: int  #: of the format

    def write(self, path, tensors, card):
        """
        Write a file, whole or not at all, and return the card as it was written: with format version, versions, date,
        checksums.

        The card is what JSON can hold, and numbers of numpy; an existing file is replaced.
        """
        import torch
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        bare = save(tensors)
        versions = {"astro_galtrans": __version__, "torch": torch.__version__} | card.get("versions", {})
        created = card.get("created", datetime.now(UTC).isoformat(timespec="seconds"))
        added = {"format_version": self.version, "versions": versions, "created": created}
        added["tensors_sha256"] = _tensors_sha256(bare, _header(bare, path))
        card = json.loads(canonical(card | added))  # tuples become lists now, as they will when the file is read
        card["card_sha256"] = _card_sha256(card)
        with whole_file(path) as file:
            file.write_bytes(save(tensors, metadata={self.key: canonical(card)}))
        return card

    def read(self, path, check=None):
        """
        Return the tensors of a file, its card, and the checksum of the file as ``sha256sum`` prints it.

        ``check`` is called with card and path before any tensor is read, and raises if the card makes no sense.
        """
        from safetensors.torch import load

        content = Path(path).read_bytes()
        header = _header(content, path)
        card = self._card(header, path, check)
        if _tensors_sha256(content, header) != card["tensors_sha256"]:
            msg = f"{path}: the weights do not match their checksum; the file is damaged or was edited"
            raise CheckpointError(msg)
        return load(content), card, fingerprint(content)

    def read_card(self, path, check=None):
        """Return the card of a file; nothing else of it is read. ``check`` is that of `read`."""
        path = Path(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            start += file.read(min(int.from_bytes(start, "little"), size, LONGEST_HEADER + 1))
        return self._card(_header(start, path, size), path, check)

    def _card(self, header, path, check):
        """Return the card in a header, once its version and checksum are right."""
        try:
            card = json.loads(header["__metadata__"][self.key])
            found = card["format_version"]
        except (KeyError, TypeError, ValueError, RecursionError) as err:
            msg = f"{path} is a safetensors file without the card of a {self.kind}; it is no {self.kind}"
            raise CheckpointError(msg) from err
        if found != self.version:
            ours = f"astro_galtrans ({__version__}) reads version {self.version}"
            msg = f"{path} is of format version {found}; this {ours}"
            raise CheckpointError(msg)
        try:
            same = _card_sha256(card) == card.get("card_sha256")
        except ValueError:  # NaN and infinities, which no card holds
            same = False
        if not same:
            msg = f"{path}: the card does not match its checksum; the file is damaged or was edited"
            raise CheckpointError(msg)
        if check is not None:
            check(card, path)
        return card


def canonical(card):
    """Return a card as JSON, always the same text for the same content."""
    return json.dumps(card, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value):
    """Numpy numbers and arrays, and tensors, to what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    msg = f"a card holds numbers, strings, lists and dicts; got {type(value).__name__}: {value!r}"
    raise TypeError(msg)


def _header(content, path, size=None):
    """Parse the safetensors header and check that all the bytes it announces are there."""
    size = len(content) if size is None else size
    end = 8 + int.from_bytes(content[:8], "little")
    if end > LONGEST_HEADER:
        msg = f"{path} is not a safetensors file: its header claims {end} bytes, and {LONGEST_HEADER} are the most"
        raise CheckpointError(msg)
    try:
        header = json.loads(content[8:end])  # fails where the file ends before its header does
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        stops = [index(entry["data_offsets"][1]) for entry in tensors]
        for entry in tensors:
            [index(number) for number in (*entry["shape"], *entry["data_offsets"])], str(entry["dtype"])
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError) as err:
        msg = f"{path} is not a safetensors file, or a truncated or damaged one ({size} bytes): {err}"
        raise CheckpointError(msg) from err
    if size != end + max(stops, default=0):
        msg = f"{path} should hold {end + max(stops, default=0)} bytes and holds {size}: it is truncated or damaged"
        raise CheckpointError(msg)
    return header


def _card_sha256(card):
    return fingerprint(canonical({key: value for key, value in card.items() if key != "card_sha256"}))


def _tensors_sha256(content, header):
    """Hash name, dtype, shape and bytes of each tensor, by name: the order in the file does not matter."""
    start = 8 + int.from_bytes(content[:8], "little")
    content, parts = memoryview(content), []
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        first, stop = entry["data_offsets"]
        parts += [canonical([name, entry["dtype"], entry["shape"]]), content[start + first : start + stop]]
    return fingerprint(*parts)

"""Reading Zstandard files block by block, so that bytes which unpack to gigabytes take no more memory than a block.

Format: RFC 8878, section 3.1. The library unpacks all that it is given at once, and doesn't tell a file that ends too
early; so what it is given is one block at a time, whose text has 128 KB at most, and the end of each frame is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

_MAGIC = (0xFD2FB528).to_bytes(4, "little")
_SKIPPED = range(0x184D2A50, 0x184D2A60)
_FIRST = {_MAGIC[:1], *(each.to_bytes(4, "little")[:1] for each in _SKIPPED)}
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)
_RUN = 1
"""A block of one byte, which stands for as many as it says."""
_PIECE = 1 << 16


class Zstandard:
    """Reads the frames of a file one after another.

    Args:
        file: As it is.
    """

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._pieces = _pieces(file)
        self._context = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._text = bytearray()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, nothing at the end.

        Raises:
            EOFError: The file ends in the midst of a frame.
            ValueError: It is no file of this kind.
            zstandard.ZstdError: It is damaged.
        """
        while not self._text:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            if self._frame is None:
                self._frame = self._context.decompressobj()
            self._text += self._frame.decompress(piece)
            if self._frame.eof:
                self._frame = None
        given = bytes(self._text[:size])
        del self._text[:size]
        return given


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Give headers, blocks and checksums, each by itself."""
    while first := file.read(1):
        magic = first + (_exactly(file, 3) if first in _FIRST else b"")
        if int.from_bytes(magic, "little") in _SKIPPED:
            _skip(file, int.from_bytes(_exactly(file, 4), "little"))
            continue
        if magic != _MAGIC:
            msg = "it is no Zstandard file"
            raise ValueError(msg)
        descriptor = _exactly(file, 1)
        flags = descriptor[0]
        single, checksum = flags >> 5 & 1, flags >> 2 & 1
        size = _SIZE_BYTES[flags >> 6] or single
        yield magic + descriptor + _exactly(file, 1 - single + _DICTIONARY_BYTES[flags & 3] + size)
        last = 0
        while not last:
            head = _exactly(file, 3)
            number = int.from_bytes(head, "little")
            last, kind, length = number & 1, number >> 1 & 3, number >> 3
            yield head + _exactly(file, 1 if kind == _RUN else length)
        if checksum:
            yield _exactly(file, 4)


def _skip(file: IO[bytes], size: int) -> None:
    while size:
        size -= len(_exactly(file, min(size, _PIECE)))


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = file.read(size - len(data))
        if not piece:
            msg = "the file ends in the midst of a frame"
            raise EOFError(msg)
        data += piece
    return data

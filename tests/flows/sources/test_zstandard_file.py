"""Files of Zstandard: all of the text, or an error, in bounded memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from flows.sources.zstandard_file import Zstandard


def read(path: Path, size: int = 65_536) -> bytes:
    """Return the text of a file."""
    with path.open("rb", buffering=0) as file:
        reader = Zstandard(file)
        return b"".join(iter(lambda: reader.read(size), b""))


@given(
    texts=st.lists(st.binary(max_size=3000) | st.integers(0, 400_000).map(bytes), max_size=4),
    level=st.sampled_from([-5, 1, 9, 19]),
    checksum=st.booleans(),
    sized=st.booleans(),
    size=st.integers(1, 100_000),
)
def test_it_is_what_was_packed(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], level: int, checksum: bool, sized: bool, size: int
) -> None:
    """Frames of every form, one after another, and frames to be skipped between them."""
    packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=sized)
    skipped = struct.pack("<II", 0x184D2A53, 5) + b"other"
    path = tmp_path_factory.mktemp("zst") / "a.zst"
    path.write_bytes(skipped.join(packer.compress(text) for text in texts))
    assert read(path, size) == b"".join(texts)


def test_frames_that_were_streamed(tmp_path: Path) -> None:
    """Whose writer did not know their size."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        for number in range(5000):
            writer.write(b"line %d\n" % number)
            if not number % 700:
                writer.flush()
    (tmp_path / "a.zst").write_bytes(out.getvalue())
    assert read(tmp_path / "a.zst") == b"".join(b"line %d\n" % number for number in range(5000))


def test_a_bomb(tmp_path: Path) -> None:
    """Thousands of blocks of four bytes, each of which stands for 128 KB: they come one by one."""
    block = (131_072 << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    last = (0 << 3 | 1).to_bytes(3, "little")
    path = tmp_path / "a.zst"
    # A window of 8 MB: mantissa 0, exponent 13.
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes([0, 13 << 3]) + block * 10_000 + last)
    assert path.stat().st_size < 41_000
    total = 0
    with path.open("rb", buffering=0) as file:
        reader = Zstandard(file)
        tracemalloc.start()
        while piece := reader.read(1 << 20):
            total += len(piece)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total == 131_072 * 10_000
    assert peak < 20 << 20


def test_every_cut(tmp_path: Path) -> None:
    """A file that ends too early is told, wherever it ends within a frame."""
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(b"some text " * 500)
    path = tmp_path / "a.zst"
    for end in range(1, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(EOFError, match="in the midst of a frame"):
            read(path)


@pytest.mark.parametrize("text", [b"plain text", b"\x1f\x8bgzip", b"\x28\xb5\x2f\xfe"])
def test_something_else(tmp_path: Path, text: bytes) -> None:
    """It is said, and nothing is given."""
    (tmp_path / "a.zst").write_bytes(text)
    with pytest.raises(ValueError, match="no Zstandard file"):
        read(tmp_path / "a.zst")


@given(st.binary(max_size=200), st.integers(0, 100), st.integers(0, 255))
def test_damage(tmp_path_factory: pytest.TempPathFactory, text: bytes, place: int, byte: int) -> None:
    """A changed byte gives the text, or an error, and never another text."""
    whole = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(text))
    whole[place % len(whole)] = byte
    path = tmp_path_factory.mktemp("zst") / "a.zst"
    path.write_bytes(whole)
    try:
        found = read(path)
    except (zstandard.ZstdError, ValueError, EOFError):
        return
    assert found in (text, b"")

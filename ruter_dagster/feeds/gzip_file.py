"""Gzip in threads of its own. The same content always gives the same bytes: the header has no time and no name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

LEVEL = 1
BLOCK_BYTES = 4 << 20
"""Blocks of this size are compressed in parallel."""

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_RAW_DEFLATE = -15


def gzip_file(parts: Iterable[bytes | memoryview], workers: int = 1) -> bytes:
    """A gzip file with one member, whose content is the concatenation of the parts. `workers` threads compress while parts are made."""
    checksum, size, compressed = 0, 0, list[Future[bytes]]()
    with ThreadPoolExecutor(workers) as compressors:
        for part in parts:
            view = memoryview(part)
            checksum, size = zlib.crc32(view, checksum), size + len(view)
            for start in range(0, len(view), BLOCK_BYTES):
                compressed.append(compressors.submit(_deflate, view[start : start + BLOCK_BYTES]))
        blocks = [block.result() for block in compressed]
    end = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW_DEFLATE).flush()
    return b"".join([_HEADER, *blocks, end, struct.pack("<II", checksum, size & 0xFFFFFFFF)])


def _deflate(block: memoryview) -> bytes:
    """A block of deflate that ends at a byte boundary, so that blocks can be joined."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW_DEFLATE, 9)
    return compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)

"""WAV headers of streams, whose length is not known: what libsndfile, which wants to seek, does not read or write."""

from __future__ import annotations

import struct
from typing import BinaryIO

from m8d.engines.errors import InputError

UNKNOWN_BYTES = 0xFFFFFFFF
PCM_16_BITS = (1, 1, 16)  # format tag, channels, bits per sample


def wav_header(sample_rate: int) -> bytes:
    """Of 16-bit mono PCM with unknown length, as sox and ffmpeg write to a pipe."""
    tag, channels, bits = PCM_16_BITS
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", tag, channels, sample_rate, sample_rate * block, block, bits)
    return b"RIFF" + struct.pack("<I", UNKNOWN_BYTES) + b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + (
        b"data" + struct.pack("<I", UNKNOWN_BYTES)
    )  # fmt: skip


def read_wav_rate(source: BinaryIO, raw_rate: int) -> tuple[bytes, int]:
    """Reads the header, if there is one: (samples that were read too, sample rate in Hz).

    Raises:
        InputError: the header is cut short, or of anything but 16-bit mono PCM.
    """
    begin = source.read(4)
    if begin != b"RIFF":
        return begin, raw_rate
    _exactly(source, 8)
    layout = None
    while True:
        name, size = struct.unpack("<4sI", _exactly(source, 8))
        if name == b"data":
            break
        body = _exactly(source, size + size % 2)
        if name == b"fmt ":
            layout = struct.unpack("<HHIIHH", body[:16])
    if layout is None or (layout[0], layout[1], layout[5]) != PCM_16_BITS:
        raise InputError(
            "The WAV on standard input is not 16-bit mono PCM. Convert it on the way: "
            "`sox in.wav -b 16 -c 1 -t wav - | m8d-run stream …`."
        )
    return b"", layout[2]


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise InputError("The WAV header on standard input is cut short: expected RIFF, fmt and data chunks.")
    return data

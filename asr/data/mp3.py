"""How much audio an MP3 file has, by its frames: decoders may go by a header that tells less, or guess.

ISO/IEC 11172-3, section 2.4.2.3, and 13818-3 for half the sample rates; http://www.mp3-tech.org/programmer/frame_header.html.
"""

from typing import NamedTuple

KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates of Layer III by index, for MPEG-1 and for MPEG-2 and 2.5; the first stands for another one."""
RATES = (44100, 48000, 32000)
"""Sample rates of MPEG-1 by index, in Hz."""
DIVISORS = {3: 1, 2: 2, 0: 4}
"""MPEG-1, 2 and 2.5 as a header has them, and what they divide these rates by."""
LAYER_III = 1
TAG_HEADER = 10
"""Bytes that begin an ID3v2 tag."""


class Frame(NamedTuple):
    """What a frame's header says: bytes of the frame, samples per channel, and sample rate in Hz."""

    size: int
    samples: int
    rate: int


def count_samples(content: bytes) -> int:
    """Samples per channel in all frames of Layer III, whatever lies between them; 0 if there are none."""
    at = _first(content)
    total = rate = 0
    while (at := content.find(b"\xff", at)) >= 0:
        frame = _frame(content[at : at + 4])
        known = frame is not None and frame.rate == rate
        if frame is None or not (known or _frame(content[at + frame.size : at + frame.size + 4])):
            at += 1  # no header, or what looks like one: the first is believed if another follows it
            continue
        rate = frame.rate
        total += frame.samples
        at += frame.size
    return total


def _first(content: bytes) -> int:
    """Where frames can begin: behind a tag, whose size has seven bits a byte."""
    if not content.startswith(b"ID3") or len(content) < TAG_HEADER:
        return 0
    size = 0
    for byte in content[6:TAG_HEADER]:
        size = size << 7 | byte & 0x7F
    return TAG_HEADER + size


def _frame(header: bytes) -> Frame | None:
    """Read the four bytes that begin a frame; None if they begin none that can be measured."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version not in DIVISORS or layer != LAYER_III or bits in (0, 15) or rate == len(RATES):
        return None
    whole = DIVISORS[version] == 1
    samples, hertz = 1152 if whole else 576, RATES[rate] // DIVISORS[version]
    return Frame(samples // 8 * KILOBITS[whole][bits] * 1000 // hertz + padding, samples, hertz)

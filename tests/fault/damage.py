# SPDX-License-Identifier: Apache-2.0
"""Damages files as disks and power cuts do.  Reads segments of the log by the grammar at the head
of common/replica/log_segment.h."""

import os
import struct

SEGMENT_HEADER_BYTES = 56
RECORD_HEADER = struct.Struct("<4sIQ16sQQQQ")  # magic parts version chain parts server hashes


class Flip:
    """A bit turned over; undo() turns it back."""

    def __init__(self, path, bit):
        self.path = path
        self.offset = bit // 8
        self.mask = 1 << bit % 8
        self.undo()

    def undo(self):
        with open(self.path, "r+b") as file:
            file.seek(self.offset)
            [byte] = file.read(1)
            file.seek(self.offset)
            file.write(bytes([byte ^ self.mask]))


def flip_between(rng, path, begin, end):
    """A random bit of the bytes begin..end-1."""
    return Flip(path, rng.randrange(8 * begin, 8 * end))


def numbered(folder, suffix):
    """The folder's files with this suffix, by name, which here is by version."""
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.endswith(suffix)]


def segments(state_dir):
    return numbered(os.path.join(state_dir, "log"), ".log")


def records(path):
    """(offset, size) of each whole record."""
    places = []
    offset = SEGMENT_HEADER_BYTES
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        while offset + RECORD_HEADER.size <= total:
            file.seek(offset)
            header = RECORD_HEADER.unpack(file.read(RECORD_HEADER.size))
            magic, parts, _, _, parts_bytes, server_bytes, _, _ = header
            size = RECORD_HEADER.size + 4 * parts + parts_bytes + server_bytes
            if magic != b"GWRC" or offset + size > total:
                break
            places.append((offset, size))
            offset += size
    return places


def damage_tail(rng, state_dir):
    """Cuts the log within one of its last records, or turns over a bit of the very last; what was
    done, in words."""
    path = segments(state_dir)[-1]
    places = records(path)
    if rng.random() < 0.5:
        flip = flip_between(rng, path, places[-1][0], sum(places[-1]))
        return f"a bit of the last record is turned over at {flip.offset} of {path}"
    offset, size = rng.choice(places[-5:])
    end = offset + rng.randrange(1, size)
    os.truncate(path, end)
    return f"{path} is cut to {end} bytes"


def flip_inside(rng, state_dir):
    """Turns over a bit of a record that another one follows: None when there is no such record."""
    for path in reversed(segments(state_dir)):
        places = records(path)
        if len(places) > 1:
            return flip_between(rng, path, places[0][0], places[-1][0])
    return None


def flip_newest(rng, folder, suffix):
    """Turns over a bit of the newest of at least two files: None when there are fewer."""
    paths = numbered(folder, suffix)
    if len(paths) < 2:
        return None
    return flip_between(rng, paths[-1], 0, os.path.getsize(paths[-1]))

# SPDX-License-Identifier: Apache-2.0
"""Prints a log segment and a state file as hexadecimal bytes, from the grammars alone.

Hashes are libxxhash's; log_segment_test.cc and state_file_test.cc hold what this prints.
"""
import ctypes
import struct
import textwrap


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


XXHASH = ctypes.CDLL("libxxhash.so.0")
XXHASH.XXH3_64bits.restype = ctypes.c_uint64
XXHASH.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
XXHASH.XXH3_128bits.restype = Hash128
XXHASH.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def hash64(data):
    return struct.pack("<Q", XXHASH.XXH3_64bits(data, len(data)))


def hash128(data):
    value = XXHASH.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", value.high, value.low)


def record(version, parts, server):
    together = b"".join(parts)
    body = b"".join(struct.pack("<I", len(part)) for part in parts) + together + server
    header = b"GWRC" + struct.pack("<IQ", len(parts), version) + hash128(together)
    header += struct.pack("<QQ", len(together), len(server)) + hash64(body)
    return header + hash64(header) + body


def segment():
    header = b"GWSEGMNT" + struct.pack("<IIQQ", 1, 1, 0, 0x1122334455667788) + bytes(16)
    first = [bytes.fromhex("2200")]  # UpdatePart { header {} }
    chain_hash = hash128(first[0])
    second = [
        bytes.fromhex("08011a0512030102 03"),  # { version: 1 blocks { payload: 1 2 3 } }
        bytes.fromhex("080122120a10") + chain_hash,  # { version: 1 header { previous.. } }
    ]
    return header + hash64(header) + record(0, first, b"") + record(1, second, b"srv")


def named(name):
    return struct.pack("<I", len(name)) + name


def state():
    texts = struct.pack("<I", 2) + named(b"id") + struct.pack("<Q", 4) + b"w\x00-1"
    texts += named(b"version") + struct.pack("<Q", 0)
    floats = struct.pack("<I", 1) + named(b"residual") + struct.pack("<Qff", 2, 1.5, -0.0)
    doubles = struct.pack("<I", 1) + named(b"") + struct.pack("<Qd", 1, 0.1)
    body = texts + floats + doubles
    begin = b"GWSTATE1" + struct.pack("<Q", len(body))
    end = struct.pack("<I", 6) + b"worker" + body
    return begin + hash128(begin + end) + end


for name, data in (("segment", segment()), ("state", state())):
    print(name, len(data))
    print("\n".join('    "%s"' % line for line in textwrap.wrap(data.hex(), 88)))

# SPDX-License-Identifier: Apache-2.0
"""Prints the first values of a he_uniform tensor, from an implementation of its own.

Philox4x32-10 as in Salmon et al. 2011; initializer_test.cc holds what this prints.
"""
import math
import struct

SEED, TENSOR, FAN_IN = 0x123456789ABCDEF0, 3, 5
PURPOSE_INIT = 1


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def to_float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def value(i):
    block, place = divmod(i, 2**18)
    words = philox([place // 4, block, TENSOR, PURPOSE_INIT << 24], [SEED & 0xFFFFFFFF, SEED >> 32])
    odd = 2 * (words[place % 4] >> 8) + 1 - 2**24
    bound = to_float32(math.sqrt(6 / FAN_IN))
    return to_float32(bound * odd / 2**24)  # exact in fp64, rounded once


for i in (0, 1, 2, 3, 4, 1000, 2**18 - 1, 2**18, 2**18 + 5):
    print("{%d, %sF}," % (i, value(i).hex()))

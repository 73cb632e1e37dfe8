# SPDX-License-Identifier: Apache-2.0
"""Reads a safetensors file by its published format, independently of our writer."""

import json
import struct


def read_tensors(data):
    """{name: (shape, values as a flat tuple of floats)} and the metadata.  float32 tensors only."""
    (header_size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_size])
    metadata = header.pop("__metadata__", {})
    body = memoryview(data)[8 + header_size :]
    tensors, covered = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", (name, entry)
        assert begin == covered, f"a gap or an overlap before {name}"
        covered = end
        count = (end - begin) // 4
        product = 1
        for extent in entry["shape"]:
            product *= extent
        assert product == count, (name, entry)
        tensors[name] = (entry["shape"], struct.unpack(f"<{count}f", body[begin:end]))
    assert covered == len(body), "bytes after the last tensor"
    return tensors, metadata

# SPDX-License-Identifier: Apache-2.0
"""Reads a snapshot as a stranger would: by the published safetensors format alone.

Prints "NAME SHAPE VALUES" for every tensor; then, with torch, loads the tensors
layer1.weight, layer1.bias, ... into nn.Linear modules and prints "torch NAME VALUES".
"""
import json
import re
import struct
import sys

with open(sys.argv[1], "rb") as file:
    data = file.read()
(header_size,) = struct.unpack("<Q", data[:8])
assert header_size % 8 == 0, header_size
header = json.loads(data[8:8 + header_size])
body = data[8 + header_size:]
metadata = header.pop("__metadata__")
assert all(isinstance(v, str) for v in metadata.values()), metadata

tensors, end = {}, 0
for name, entry in header.items():
    assert entry["dtype"] == "F32", entry
    begin, last = entry["data_offsets"]
    assert begin == end, (name, begin, end)
    end = last
    count = 1
    for side in entry["shape"]:
        count *= side
    assert last - begin == 4 * count, (name, entry)
    tensors[name] = (entry["shape"], struct.unpack("<%df" % count, body[begin:last]))
    print(name, entry["shape"], " ".join("%.9g" % v for v in tensors[name][1]))
assert end == len(body), (end, len(body))

try:
    import torch
except ImportError:
    sys.exit(0)
model = torch.nn.Module()
for name, (shape, _) in tensors.items():
    if re.fullmatch(r"layer\d+\.weight", name):
        model.add_module(name[:-len(".weight")], torch.nn.Linear(shape[1], shape[0]))
state = {name: torch.tensor(values).reshape(shape) for name, (shape, values) in tensors.items()
         if name.startswith("layer")}
model.load_state_dict(state)  # strict: every name and shape must fit
for name, value in model.state_dict().items():
    print("torch", name, " ".join("%.9g" % v for v in value.flatten().tolist()))

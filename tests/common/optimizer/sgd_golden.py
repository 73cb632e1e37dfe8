# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/optimizer/sgd.txt: where torch.optim.SGD goes in 200 steps.

Run with /usr/bin/python3 (Debian's python3-torch); without torch it exits 77.  A row is
    <gradients> <spec of gradwire> <step> <8 parameters>
sgd_torch_test.cc makes the same gradients, from the same integers.
"""
import itertools
import sys

try:
    import torch
except ImportError:
    sys.exit(77)

SIZE = 8
STEPS = 200
CHANGE = 100  # after so many steps the learning rate is a tenth


class Numbers:
    """Multiples of 1/512 in [-1.95, 1.95], exact in fp32."""

    def __init__(self):
        self.state = 12345

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return ((self.state >> 9) % 2001 - 1000) / 512


def gradient(kind, step, numbers):
    values = [numbers.next() for _ in range(SIZE)]
    if kind == "random":
        return values
    if kind == "zeros":
        return values if step == 1 else [0.0] * SIZE
    if kind == "huge":
        return [v * 2.0**40 if step == 50 else v for v in values]
    if kind == "alternating":
        return [1.5 if (step + i) % 2 else -1.5 for i in range(SIZE)]
    return [v if i == step % SIZE else 0.0 for i, v in enumerate(values)]  # sparse


def combinations():
    for momentum, dampening, decay, nesterov in itertools.product(
            (0, 0.9), (0, 0.3), (0, 0.01), ("no", "yes")):
        if nesterov == "yes" and (momentum == 0 or dampening != 0):
            continue
        yield momentum, dampening, decay, nesterov


def run(kind, momentum, dampening, decay, nesterov):
    numbers = Numbers()
    w = torch.tensor([numbers.next() for _ in range(SIZE)], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=momentum, dampening=dampening,
                                weight_decay=decay, nesterov=nesterov == "yes")
    for step in range(1, STEPS + 1):
        w.grad = torch.tensor(gradient(kind, step, numbers))
        optimizer.step()
        if step == CHANGE:
            optimizer.param_groups[0]["lr"] = 0.01
        if step in (1, 2, CHANGE, CHANGE + 1, STEPS):
            spec = (f"sgd:lr=0.1,momentum={momentum},dampening={dampening},"
                    f"weight_decay={decay},nesterov={nesterov}")
            print(kind, spec, step, *("%.9g" % v for v in w.tolist()))


for gradients in ("random", "zeros", "huge", "alternating", "sparse"):
    for combination in combinations():
        run(gradients, *combination)

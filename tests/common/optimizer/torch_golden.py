# SPDX-License-Identifier: Apache-2.0
"""Where an optimizer of torch.optim goes in 200 steps.

    /usr/bin/python3 torch_golden.py NAME > tests/golden/optimizer/NAME.txt

(Debian's python3-torch.)  A row is
    <gradients> <spec of gradwire> <step> <8 parameters>
torch_test.cc makes the same gradients, from the same integers.
"""
import itertools
import os
import sys

# Without fused multiply-add, which torch uses where a processor has it.
os.environ["ATEN_CPU_CAPABILITY"] = "default"

import torch  # noqa: E402  (reads the variable)

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


def product(**choices):
    """Every combination, as dictionaries in the order of the choices."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values))


def sgd():
    for options in product(lr=(0.1,), momentum=(0, 0.9), dampening=(0, 0.3),
                           weight_decay=(0, 0.01), nesterov=("no", "yes")):
        if options["nesterov"] == "no" or (options["momentum"] and not options["dampening"]):
            yield options


def adagrad():
    yield from product(lr=(0.1,), lr_decay=(0, 0.01), initial_accumulator=(0, 0.5),
                       weight_decay=(0, 0.01))
    yield {"lr": 0.01, "eps": 1e-3}


def rmsprop():
    yield from product(lr=(0.01,), momentum=(0, 0.9), centered=("no", "yes"),
                       weight_decay=(0, 0.01))
    yield {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "centered": "yes"}


def adadelta():
    yield from product(lr=(1,), weight_decay=(0, 0.01))
    yield from product(lr=(0.5,), rho=(0.99,), eps=(1e-3,), weight_decay=(0, 0.01))


def adam():
    yield from product(lr=(0.01,), weight_decay=(0, 0.1), amsgrad=("no", "yes"))
    yield from product(lr=(0.001,), beta1=(0, 0.5), beta2=(0.9,), eps=(1e-3,),
                       amsgrad=("no", "yes"))


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, sgd),
    "adagrad": (torch.optim.Adagrad, adagrad),
    "rmsprop": (torch.optim.RMSprop, rmsprop),
    "adadelta": (torch.optim.Adadelta, adadelta),
    "adam": (torch.optim.Adam, adam),
    "adamw": (torch.optim.AdamW, adam),
}


def torch_options(options):
    """Ours in torch's words."""
    own = {key: value == "yes" if value in ("yes", "no") else value
           for key, value in options.items()}
    if "initial_accumulator" in own:
        own["initial_accumulator_value"] = own.pop("initial_accumulator")
    if "beta2" in own:
        own["betas"] = (own.pop("beta1"), own.pop("beta2"))
    return own


def run(kind, name, options):
    spec = name + ":" + ",".join(f"{key}={value}" for key, value in options.items())
    numbers = Numbers()
    w = torch.tensor([numbers.next() for _ in range(SIZE)], requires_grad=True)
    optimizer = OPTIMIZERS[name][0]([w], **torch_options(options))
    for step in range(1, STEPS + 1):
        w.grad = torch.tensor(gradient(kind, step, numbers))
        optimizer.step()
        if step == CHANGE:
            optimizer.param_groups[0]["lr"] = options["lr"] / 10
        if step in (1, 2, CHANGE, CHANGE + 1, STEPS):
            print(kind, spec, step, *("%.9g" % v for v in w.tolist()))


for gradients in ("random", "zeros", "huge", "alternating", "sparse"):
    for combination in OPTIMIZERS[sys.argv[1]][1]():
        run(gradients, sys.argv[1], combination)

# SPDX-License-Identifier: Apache-2.0
"""The training of `link` in PyTorch: DistributedDataParallel over gloo, one thread a process.

    python3 train_ddp.py --rank=R --workers=W --master=ADDRESS --hook=none|fp16|alone
                         --steps=N --metrics=FILE [--until=ACCURACY] [--eval_every=N]

Hook `alone`: without communication.  A line for each step goes to --metrics; rank 0 evaluates, and
its accuracy ends the training of all.
"""

import argparse
import gzip
import hashlib
import json
import os

import numpy
import torch
import torch.distributed as distributed
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

LEARNING_RATE = 0.1
BATCH = 64


def read_idx(folder, name, offset):
    with gzip.open(os.path.join(folder, name), "rb") as file:
        return numpy.frombuffer(file.read(), dtype=numpy.uint8)[offset:]


def read(folder, part):
    labels = read_idx(folder, f"{part}-labels-idx1-ubyte.gz", 8)
    images = read_idx(folder, f"{part}-images-idx3-ubyte.gz", 16).reshape(len(labels), -1)
    values = torch.from_numpy(images.astype(numpy.float32) / 255)
    return values, torch.from_numpy(labels.astype(numpy.int64))


def make_model(hidden):
    torch.manual_seed(1)
    widths = [784, *hidden, 10]
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layer = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def accuracy(model, values, labels):
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(dim=1) for part in values.split(500)])
    return (guesses == labels).float().mean().item()


def parameters_hash(model):
    values = [parameter.detach().numpy().tobytes() for parameter in model.parameters()]
    return "sha1:" + hashlib.sha1(b"".join(values)).hexdigest()[:16]


def connect(options, model):
    """The model whose backward pass averages the gradients."""
    os.environ["GLOO_SOCKET_IFNAME"] = "eth0"
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://{options.master}:7071",
        rank=options.rank,
        world_size=options.workers,
    )
    parallel = nn.parallel.DistributedDataParallel(model)
    if options.hook == "fp16":
        parallel.register_comm_hook(None, default_hooks.fp16_compress_hook)
    return parallel


def reached(options, model, test, step, line):
    """Whether the training is over, as rank 0 says."""
    if options.until == 0 or step % options.eval_every != 0:
        return False
    over = torch.zeros(1)
    if options.rank == 0:
        line["metrics"] = {"accuracy": accuracy(model, *test)}
        over[0] = line["metrics"]["accuracy"] >= options.until
    distributed.broadcast(over, 0)
    return over.item() > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--master", default="")
    parser.add_argument("--hook", choices=["none", "fp16", "alone"], required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--hidden", type=int, nargs="+", required=True)
    parser.add_argument("--metrics", required=True)
    parser.add_argument("--until", type=float, default=0)
    parser.add_argument("--eval_every", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    values, labels = read(options.data, "train")
    test = read(options.data, "t10k")
    model = make_model(options.hidden)
    trained = model if options.hook == "alone" else connect(options, model)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    draw = torch.Generator().manual_seed(options.rank)
    with open(options.metrics, "w", encoding="utf-8") as metrics:
        for step in range(1, options.steps + 1):
            rows = torch.randint(len(labels) // options.workers, (BATCH,), generator=draw)
            rows = rows * options.workers + options.rank
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(trained(values[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            line = {"step": step, "loss": loss.item()}
            over = reached(options, model, test, step, line)
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if over:
                break
    print(f"final parameters={parameters_hash(model)}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The jobs that are run under faults, and the small data set they train on."""

import os
import random

CODECS = ("identity", "random_k:0.05", "top_k:0.05", "sign_majority")
# By codec: SignSGD's aggregate has the magnitude 1 everywhere, and needs small rates.
OPTIMIZERS = ("sgd:lr=0.2", "sgd:lr=0.05,momentum=0.9", "adam:lr=0.005")
SIGN_OPTIMIZERS = ("sgd:lr=0.005", "sgd:lr=0.001,momentum=0.9", "adam:lr=0.002")
# Beside those of the matrix, in long runs: codecs with momentum at the worker, bases, sketches.
MORE = (
    ("dgc:ratio=0.05", "sgd:lr=0.05"),
    ("sign_majority:momentum=0.9", "sgd:lr=0.005"),
    ("powersgd:rank=1", "sgd:lr=0.02,momentum=0.9"),
    ("count_sketch:ratio=0.2,k=0.05", "sgd:lr=0.02"),
    ("qsgd", "adam:lr=0.005"),
)
FSYNC = ("always", "interval:100ms", "never")

SECOND_CODEC = "top_k:0.2"

SNAPSHOT_EVERY = 20  # versions: a run has many snapshots, every second with a state
STATE_EVERY = 10  # versions, of a worker's state
LEASE_SECONDS = 2

FEATURES, HIDDEN, CLASSES = 64, 32, 8
TRAIN_SAMPLES, TEST_SAMPLES = 960, 240


def matrix():
    """All (codec, optimizer) of the matrix."""
    for codec in CODECS:
        optimizers = SIGN_OPTIMIZERS if codec == "sign_majority" else OPTIMIZERS
        for optimizer in optimizers:
            yield codec, optimizer


def job_text(codec, optimizer, perturbation, steps, workers, mode="FIXED", shards=1, lag=0):
    """Of several shards: a codec of its own makes the last tensor but one the first block of the
    last shard."""
    cut = f'tensors {{ name: "layer2.*" codec: "{SECOND_CODEC}" }}' if shards > 1 else ""
    return "\n".join(
        [
            'name: "fault"',
            f"model {{ mlp {{ inputs: {FEATURES} hidden: {HIDDEN} classes: {CLASSES} }} }}",
            f"steps: {steps}",
            f'codec: "{codec}"',
            f'optimizer: "{optimizer}"',
            f'perturbation: "{perturbation}"',
            f"snapshot_every: {SNAPSHOT_EVERY}",
            "hash_every: 10",
            f"lag: {lag}",
            f"membership {{ workers: {workers} mode: {mode} lease_seconds: {LEASE_SECONDS} }}",
            "trainer { batch: 16 }",
            cut,
            "",
        ]
    )


def write_data(folder):
    """Gaussian clouds, one a class, in LIBSVM's format; what to give as --data.  The same bytes
    every time."""
    rng = random.Random(1)
    centres = [[rng.gauss(0, 1) for _ in range(FEATURES)] for _ in range(CLASSES)]
    paths = []
    for name, samples in (("train", TRAIN_SAMPLES), ("test", TEST_SAMPLES)):
        path = os.path.join(folder, f"{name}.libsvm")
        with open(path, "w", encoding="utf-8") as file:
            for i in range(samples):
                label = i % CLASSES
                values = (rng.gauss(centre, 4) / 4 for centre in centres[label])
                features = " ".join(f"{k}:{value:.3f}" for k, value in enumerate(values, 1))
                file.write(f"{label} {features}\n")
        paths.append(path)
    return "libsvm:" + ",".join(paths)

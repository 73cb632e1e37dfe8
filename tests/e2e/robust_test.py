# SPDX-License-Identifier: Apache-2.0
"""Some workers send their gradients with the sign flipped, ten times as large: the mean does not
learn, the robust aggregators do, and what is refused is counted by worker."""

import os
import re
import subprocess
import unittest

from cluster import FASHION_MNIST, PATIENCE, Cluster, Process, job_text, mlp, program, run_program

STEPS = 150
CODECS = ("identity", "random_k:0.1")
CLUSTERS = ((5, 1), (9, 2))  # workers, and how many of them are hostile
ROBUST = ("trimmed_mean:trim=0.25", "coordinate_median", "norm_clip:factor=1")
FLIPPED = "-10"
CHANCE = 0.1


class HostileProcess(Process):
    """A hostile_worker, which stands beside the tests and not beside the programs."""

    def __init__(self, cluster, name, *arguments):
        super().__init__(
            cluster.folder,
            name,
            os.path.join("..", "tests", "hostile_worker"),
            [cluster.address, name, FASHION_MNIST, *arguments],
        )


def job(workers, codec, **fields):
    return job_text(
        mlp(32), STEPS, workers, codec=codec, optimizer="sgd:lr=0.1", batch=32, **fields
    )


def start(cluster, workers, hostile, *arguments):
    """Worker 0 joins first and evaluates; the hostile ones come last."""
    cluster.start(1, f"--data={FASHION_MNIST}")
    for i in range(1, workers - hostile):
        cluster.start_worker(f"worker-{i}", f"--data={FASHION_MNIST}")
    for i in range(hostile):
        cluster.workers[f"hostile-{i}"] = HostileProcess(
            cluster, f"hostile-{i}", *(arguments or (FLIPPED,))
        )


def accuracy(workers, hostile, codec, **fields):
    """Of the final model; None when the job has failed because nothing is finite any more."""
    with Cluster(job(workers, codec, **fields)) as cluster:
        start(cluster, workers, hostile)
        if cluster.server.wait() == 0:
            return cluster.finish()["test_accuracy"]
        if "diverged" not in cluster.server.err:
            raise AssertionError(cluster.tails())
        return None


class RobustTest(unittest.TestCase):
    def test_the_mean_fails_and_the_robust_aggregators_stay_near_the_clean_accuracy(self):
        for workers, hostile in CLUSTERS:
            for codec in CODECS:
                with self.subTest(workers=workers, codec=codec):
                    self.check(workers, hostile, codec)

    def check(self, workers, hostile, codec):
        clean = accuracy(workers, 0, codec)
        mean = accuracy(workers, hostile, codec)
        robust = {
            name: accuracy(workers, hostile, codec, aggregator=name) for name in ROBUST
        }
        print(f"{codec}, {hostile} of {workers} hostile: clean {clean}, mean {mean}, {robust}")
        self.assertGreater(clean, 0.75)
        if mean is not None:
            self.assertLess(mean, 2 * CHANCE)
        for name, reached in robust.items():
            self.assertGreaterEqual(reached, clean - 0.02, name)


if __name__ == "__main__":
    unittest.main()

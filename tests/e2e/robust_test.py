# SPDX-License-Identifier: Apache-2.0
"""Some workers send their gradients with the sign flipped, ten times as large: the mean does not
learn, the robust aggregators do, and what is refused is counted by worker."""

import gzip
import os
import re
import shutil
import struct
import tempfile
import unittest

from cluster import FASHION_MNIST, Cluster, Process, job_text, mlp, run_program, wait_until

STEPS = 1200
TRAINING_IMAGES = 20000  # the first ones, unpacked: more than a hundred workers read them
CODECS = ("identity", "random_k:0.1")
CLUSTERS = ((5, 1), (9, 2))  # workers, and how many of them are hostile
ROBUST = ("trimmed_mean:trim=0.25", "coordinate_median", "norm_clip:factor=1")
FLIPPED = "-10"
CHANCE = 0.1


def take(name, count, folder):
    """Puts the first `count` entries of an IDX file into the folder, unpacked."""
    with gzip.open(os.path.join(FASHION_MNIST, f"{name}.gz")) as file:
        data = file.read()
    axes = data[3]
    sizes = struct.unpack(f">{axes}I", data[4 : 4 + 4 * axes])
    entry = 1
    for size in sizes[1:]:
        entry *= size
    count = min(count, sizes[0])
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data[:4] + struct.pack(f">{axes}I", count, *sizes[1:]))
        file.write(data[4 + 4 * axes :][: count * entry])


class HostileProcess(Process):
    """A hostile_worker, which stands beside the tests and not beside the programs."""

    def __init__(self, cluster, name, data, *arguments):
        super().__init__(
            cluster.folder,
            name,
            os.path.join("..", "tests", "hostile_worker"),
            [cluster.address, name, data, *arguments],
        )


def job(workers, codec, **fields):
    return job_text(
        mlp(32),
        STEPS,
        workers,
        codec=codec,
        optimizer="sgd:lr=0.3",
        schedule=f"cosine:steps={STEPS}",
        batch=64,
        **fields,
    )


def start(cluster, data, workers, hostile, *arguments):
    """The honest workers in the order of their ranks, then the hostile ones: where there are two,
    it does not matter who of them comes first."""
    cluster.start(workers - hostile, f"--data={data}")
    for i in range(hostile):
        name = f"hostile-{i}"
        cluster.workers[name] = HostileProcess(cluster, name, data, *arguments)


def accuracy(data, workers, hostile, codec, **fields):
    """Of the final model; None when the job has failed because nothing is finite any more."""
    with Cluster(job(workers, codec, **fields)) as cluster:
        start(cluster, data, workers, hostile, FLIPPED)
        if cluster.server.wait() == 0:
            return cluster.finish()["test_accuracy"]
        if "diverged" not in cluster.server.err:
            raise AssertionError(cluster.tails())
        return None


class RobustTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = tempfile.mkdtemp(prefix="gradwire-e2e-data-")
        cls.addClassCleanup(shutil.rmtree, cls.data)
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
            take(name, TRAINING_IMAGES, cls.data)
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            take(name, TRAINING_IMAGES, cls.data)

    def test_the_mean_fails_and_the_robust_aggregators_stay_near_the_clean_accuracy(self):
        for workers, hostile in CLUSTERS:
            for codec in CODECS:
                with self.subTest(workers=workers, codec=codec):
                    self.check(workers, hostile, codec)

    def check(self, workers, hostile, codec):
        clean = accuracy(self.data, workers, 0, codec)
        mean = accuracy(self.data, workers, hostile, codec)
        robust = {
            name: accuracy(self.data, workers, hostile, codec, aggregator=name) for name in ROBUST
        }
        print(f"{codec}, {hostile} of {workers} hostile: clean {clean}, mean {mean}, {robust}")
        self.assertGreater(clean, 0.8)
        if mean is not None:
            self.assertLess(mean, 2 * CHANCE)
        for name, reached in robust.items():
            self.assertGreaterEqual(reached, clean - 0.02, name)

    def test_what_is_too_large_is_left_out_and_counted_for_its_worker(self):
        with Cluster(job(5, "random_k:0.1", max_norm_factor=20)) as cluster:
            start(cluster, self.data, 5, 1, "-1e30", "20")
            text = r"hostile-0 .* (\d+) too large"
            status = wait_until(lambda: self.status_with(cluster, text), "a refusal in status")
            self.assertEqual(status.count("too large\n"), 2, status)  # in all, and of this worker
            summary = cluster.finish()
            self.assertGreater(summary["test_accuracy"], 0.8)
            self.assertIn('worker "hostile-0": its payload of step 20 has', cluster.server.err)

    @staticmethod
    def status_with(cluster, pattern):
        text = run_program("gradwire", "status", f"--server={cluster.address}").stdout
        return text if re.search(pattern, text) else None


if __name__ == "__main__":
    unittest.main()

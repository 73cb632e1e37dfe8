# SPDX-License-Identifier: Apache-2.0
"""Four workers train on Fashion-MNIST: same job, same bits, everywhere, at the expected traffic."""

import unittest

from cluster import FASHION_MNIST, job_text, mlp, run_job
from safetensors_file import read_tensors

DIMENSION = 784 * 32 + 32 + 32 * 10 + 10
# codec: least saving up and down.  Up: 1 % of 4-byte values and some 60 bytes of framing;
# top_k's indices cost about a byte more each, and its downlink is the union of four.
CODECS = {"identity": (0.99, 0.99), "random_k:0.01": (85, 60), "top_k:0.01": (65, 15)}


def train(codec, **fields):
    job = job_text(mlp(32), steps=60, workers=4, codec=codec, batch=32, eval_every=20, **fields)
    return run_job(job, 4, f"--data={FASHION_MNIST}")


class TrainTest(unittest.TestCase):
    def check_run(self, codec, run):
        summary, hashes, snapshot, _ = run
        with self.subTest(codec=codec):
            self.assertEqual(hashes, [summary["parameters"]] * 4, "a worker and the server differ")
            self.assertEqual((summary["version"], summary["steps"]), (60, 60))
            self.assertEqual(summary["dimension"], DIMENSION)
            self.assertEqual(summary["dense_bytes_per_step"], 4 * DIMENSION)
            self.assertEqual(summary["left"], [])
            for link, least in zip(("uplink", "downlink"), CODECS[codec]):
                self.assertGreater(
                    4 * DIMENSION / summary[link]["wire_bytes_per_step"], least, link
                )
                self.assertLess(
                    summary[link]["payload_bytes_per_step"],
                    summary[link]["wire_bytes_per_step"],
                    link,
                )
            tensors, _ = read_tensors(snapshot)
            self.assertEqual(
                {name: shape for name, (shape, _) in tensors.items()},
                {
                    "layer1.weight": [32, 784],
                    "layer1.bias": [32],
                    "layer2.weight": [10, 32],
                    "layer2.bias": [10],
                },
            )

    def test_two_runs_of_a_job_end_with_the_same_bits_for_every_codec(self):
        for codec in CODECS:
            first, second = train(codec), train(codec)
            self.check_run(codec, first)
            self.check_run(codec, second)
            self.assertEqual(first[0]["parameters"], second[0]["parameters"], codec)
            self.assertEqual(first[2], second[2], f"{codec}: final snapshots differ")

    def test_dense_training_learns(self):
        summary, _, _, metrics = train("identity")
        self.assertGreater(summary["test_accuracy"], 0.5)
        accuracies = [line["metrics"]["accuracy"] for line in metrics if "metrics" in line]
        self.assertGreaterEqual(len(accuracies), 2)
        self.assertGreater(accuracies[-1], 0.4)

    def test_another_seed_gives_other_parameters(self):
        one, two = train("random_k:0.01", seed=1), train("random_k:0.01", seed=2)
        self.assertNotEqual(one[0]["parameters"], two[0]["parameters"])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Jobs with `lag: 1` through real processes: what it computes, and members that go and come."""

import unittest

from cluster import Cluster, job_text, run_job, saddle
from safetensors_file import read_tensors

ETA, STEPS = 0.1, 30


def by_recurrence(curvature, lag, start=1.0):
    """x' = x - eta * a * y, y being x so many versions before; at the beginning, the first."""
    values = [start]
    for version in range(STEPS):
        values.append(values[version] - ETA * curvature * values[max(0, version - lag)])
    return values[-1]


class LagTest(unittest.TestCase):
    def test_each_step_is_computed_at_the_parameters_one_version_back(self):
        for lag in (0, 1):
            job = job_text(
                saddle(dimension=3, negative=1, gamma=1, curvature=1, start=1),
                STEPS,
                workers=2,
                optimizer=f"sgd:lr={ETA}",
                lag=lag,
            )
            _, hashes, snapshot, metrics = run_job(job, 2)
            self.assertEqual(len(set(hashes)), 1)
            _, values = read_tensors(snapshot)[0]["x"]
            for value, curvature in zip(values, (-1, 1, 1)):
                expected = by_recurrence(curvature, lag)
                self.assertLess(abs(value / expected - 1), 1e-5, f"lag {lag}, {curvature}")
            steps = [line["step"] for line in metrics]
            self.assertEqual(steps, list(range(1, STEPS + 1)) + [STEPS])  # and the evaluation
        # It makes a difference.
        self.assertGreater(by_recurrence(-1, 0) / by_recurrence(-1, 1), 1.1)

    def test_elastic_members_go_and_come(self):
        job = job_text(
            saddle(dimension=40, negative=1, curvature=0.5, start=0.1),
            300,
            workers=2,
            codec="random_k:0.1",
            optimizer="sgd:lr=0.001",
            lag=1,
            lease_seconds=1,
            hash_every=5,
        )
        with Cluster(job) as cluster:
            cluster.start(2, "--step_delay=10ms")
            cluster.wait_for_step("worker-1", 41)
            cluster.kill("worker-1")
            lost_at = cluster.step_of("worker-0")
            cluster.wait_for_step("worker-0", lost_at + 21)
            cluster.start_worker("worker-1", "--step_delay=10ms")
            summary = cluster.finish()
            hashes = {worker.final_hash() for worker in cluster.workers.values()}
            self.assertEqual(hashes, {summary["parameters"]})
            self.assertEqual([left["worker"] for left in summary["left"]], ["worker-1"])
            self.assertGreater(len(cluster.metrics("worker-1")), 20)


if __name__ == "__main__":
    unittest.main()

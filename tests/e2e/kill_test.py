# SPDX-License-Identifier: Apache-2.0
"""A worker killed in mid-run: the others go on, and it is said who left and when."""

import time
import unittest

from cluster import Cluster, job_text, saddle, wait_until

LEASE = 10


class KillTest(unittest.TestCase):
    shards = 1
    dimension = 1000

    def cluster(self, steps, **fields):
        job = job_text(
            saddle(dimension=self.dimension, start=0.5, gamma=0.1),
            steps=steps,
            workers=4,
            lease_seconds=LEASE,
            codec="random_k:0.1",
            **fields,
        )
        return Cluster(job, shards=self.shards)

    def check_end(self, cluster, steps):
        """All processes end well, with one model; the summary."""
        summary = cluster.finish()
        self.assertEqual(summary["version"], steps)
        hashes = {worker.final_hash() for worker in cluster.workers.values()}
        self.assertEqual(len(hashes), 1, hashes)
        if self.shards == 1:  # otherwise a server's hash is of its blocks
            self.assertEqual(hashes, {summary["parameters"]})
        return summary

    def test_the_others_go_on_within_the_lease_and_the_run_ends_well(self):
        with self.cluster(steps=150) as cluster:
            cluster.start(4, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 20)
            cluster.kill("worker-2")
            killed_at, killed_step = time.monotonic(), cluster.step_of("worker-0")
            # At most one round can have been open with its payload in it.
            cluster.wait_for_step("worker-0", killed_step + 5)
            self.assertLess(time.monotonic() - killed_at, LEASE)
            summary = self.check_end(cluster, 150)
            [left] = summary["left"]
            self.assertEqual((left["worker"], left["rank"]), ("worker-2", 2))
            self.assertLessEqual(abs(left["step"] - killed_step), 2)
            self.assertTrue(left["reason"])
            said = [
                line
                for line in cluster.server.err.splitlines()
                if "worker-2" in line and str(left["step"]) in line
            ]
            self.assertTrue(said, "the server's log does not say who left at which step")

    def test_the_evaluating_worker_may_be_the_one_that_dies(self):
        with self.cluster(steps=100, eval_every=10) as cluster:
            cluster.start(4, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 15)
            cluster.kill("worker-0")
            summary = self.check_end(cluster, 100)
            self.assertEqual([left["worker"] for left in summary["left"]], ["worker-0"])
            evaluated = [line for line in cluster.metrics("worker-1") if "metrics" in line]
            self.assertTrue(evaluated, "no other worker took over the evaluation")

    def test_a_killed_worker_that_is_started_again_takes_part_again(self):
        with self.cluster(steps=250) as cluster:
            cluster.start(4, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 20)
            cluster.kill("worker-3")
            wait_until(
                lambda: not cluster.server.running() or cluster.step_of("worker-0") >= 30,
                "the others to go on",
            )
            cluster.start_worker("worker-3", "--step_delay=20ms")
            cluster.wait_for_step("worker-3", 30)
            self.check_end(cluster, 250)


class KillWithTwoShardsTest(KillTest):
    shards = 2
    dimension = 300000  # two blocks


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""log: snapshots_only. A killed server stands at its newest snapshot, and the training goes on."""

import os
import re
import signal
import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until

EVERY = 20


def job(steps, **fields):
    return job_text(
        saddle(dimension=1000, start=0.5, gamma=0.1),
        steps=steps,
        workers=2,
        log="snapshots_only",
        snapshot_every=EVERY,
        **fields
    )


class SnapshotsOnlyTest(unittest.TestCase):
    def test_killed_servers_go_on_from_their_snapshots_and_workers_with_them(self):
        for codec in ("identity", "random_k:0.1"):
            with self.subTest(codec=codec), Cluster(job(300, codec=codec)) as cluster:
                cluster.start(2, "--step_delay=10ms")
                for _ in range(2):
                    reached = cluster.step_of("worker-0")
                    wait_until(lambda: self.is_between(cluster, reached), "more steps")
                    self.kill_and_restart(cluster)
                summary = cluster.finish()
                self.assertEqual(summary["version"], 300)
                for worker in cluster.workers.values():
                    self.assertEqual(worker.final_hash(), summary["parameters"])
                    self.assertIn("resync", worker.err)
                self.assertFalse(os.path.exists(cluster.path("state/log")))

    def is_between(self, cluster, reached):
        """Some snapshots later, and well after the newest of them."""
        step = cluster.step_of("worker-0")
        return step > reached + 2 * EVERY and EVERY // 4 <= step % EVERY <= EVERY // 2

    def kill_and_restart(self, cluster):
        server = cluster.server
        server.signal(signal.SIGKILL)
        server.wait()
        last = cluster.step_of("worker-0")
        cluster.start_server(f"--listen={cluster.address}")
        found = wait_until(
            lambda: re.search(
                r"recovered version (\d+) from the snapshot of version (\d+) and 0 records",
                cluster.server.err,
            ),
            "the server to come back",
        )
        self.assertEqual(found[1], found[2])
        self.assertEqual(int(found[1]) % EVERY, 0)
        self.assertLess(int(found[1]), last + 2)  # whatever came after it is gone

    def test_a_worker_that_comes_late_gets_there(self):
        with Cluster(job(400, codec="identity")) as cluster:
            cluster.start(2, "--step_delay=10ms")
            cluster.wait_for_step("worker-0", EVERY + 6)
            cluster.start_worker("late", "--step_delay=10ms")
            cluster.wait_for_step("late", 1)
            summary = cluster.finish()
            for worker in cluster.workers.values():
                self.assertEqual(worker.final_hash(), summary["parameters"])

    def test_the_server_says_what_is_given_up_and_the_command_that_there_is_no_log(self):
        with Cluster(job(3)) as cluster:
            cluster.start(2)
            cluster.finish()
            self.assertIn("log snapshots_only: a killed server loses up to 20", cluster.server.err)
            shown = run_program("gradwire", "log", "show", f"--state_dir={cluster.path('state')}")
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertNotIn("version=", shown.stdout)


if __name__ == "__main__":
    unittest.main()

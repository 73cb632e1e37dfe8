# SPDX-License-Identifier: Apache-2.0
"""gradwire health: what orchestrators decide by."""

import signal
import time
import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until

JOB = job_text(
    saddle(dimension=100, start=0.5, gamma=0.1, wall=0.001),
    steps=100000,
    workers=1,
    lease_seconds=2,
)


class HealthTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(JOB)
        self.addCleanup(self.cluster.__exit__, None, None, None)
        self.cluster.start(1, "--step_delay=5ms")

    def health(self, *words):
        return run_program(
            "gradwire", "health", *words, f"--server={self.cluster.address}", "--timeout=3s"
        )

    def test_a_server_that_serves_and_a_worker_that_it_hears_are_healthy(self):
        for words in ([], ["worker", "worker-0"]):
            done = self.health(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)

    def test_a_worker_that_is_not_there_is_not_healthy(self):
        for words in (["worker"], ["worker", "worker-1"]):
            done = self.health(*words)
            self.assertEqual(done.returncode, 1)
            self.assertIn("there is no worker", done.stderr)
        self.cluster.kill("worker-0")
        wait_until(
            lambda: self.health("worker", "worker-0").returncode == 1, "the worker to be missed"
        )
        self.assertRegex(self.health("worker", "worker-0").stderr, '"worker-0" is lost')

    def test_a_server_that_does_not_answer_is_not_healthy_once_the_timeout_is_over(self):
        self.cluster.server.signal(signal.SIGSTOP)
        begin = time.monotonic()
        done = self.health()
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.cluster.address, done.stderr)
        self.assertLess(time.monotonic() - begin, 30)
        self.cluster.server.signal(signal.SIGCONT)

    def test_other_words_are_refused(self):
        done = self.health("nobody")
        self.assertEqual(done.returncode, 1)
        self.assertIn("health worker ID", done.stderr)


if __name__ == "__main__":
    unittest.main()

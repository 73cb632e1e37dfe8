# SPDX-License-Identifier: Apache-2.0
"""A quorum does not wait for a straggler: one of four workers is stopped half of the time."""

import signal
import threading
import time
import unittest

from cluster import Cluster, job_text, saddle

STEP_DELAY = "--step_delay=50ms"
SECONDS = 12
STOPPED, PERIOD = 2, 4


def job(workers, consistency):
    return (
        job_text(
            saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001),
            steps=100000,
            workers=workers,
            lease_seconds=10,
            codec="random_k:0.1",
        )
        + consistency
    )


class Straggler:
    """Stops a process for STOPPED of every PERIOD seconds."""

    def __init__(self, process):
        self.process = process
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.is_set():
            self.process.signal(signal.SIGSTOP)
            self.done.wait(STOPPED)
            self.process.signal(signal.SIGCONT)
            self.done.wait(PERIOD - STOPPED)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def steps_in(cluster, seconds):
    begin = cluster.step_of("worker-0")
    time.sleep(seconds)
    return cluster.step_of("worker-0") - begin


def measure(workers, consistency, straggles):
    """Steps made in SECONDS, and the server's log."""
    with Cluster(job(workers, consistency)) as cluster:
        cluster.start(workers, STEP_DELAY)
        cluster.wait_for_step("worker-0", 5)
        if not straggles:
            return steps_in(cluster, SECONDS), cluster.server.err
        with Straggler(cluster.workers[f"worker-{workers - 1}"]):
            return steps_in(cluster, SECONDS), cluster.server.err


class QuorumTest(unittest.TestCase):
    def test_a_straggler_costs_sync_half_of_its_rate_and_a_quorum_next_to_nothing(self):
        alone, _ = measure(3, "", straggles=False)
        quorum, log = measure(
            4, "consistency: QUORUM quorum { workers: 3 min_workers: 3 }", straggles=True
        )
        sync, _ = measure(4, "", straggles=True)
        print(f"steps in {SECONDS} s: without the straggler {alone}, quorum {quorum}, sync {sync}")
        self.assertGreaterEqual(quorum, 0.9 * alone)
        self.assertLessEqual(sync, 0.6 * alone)
        self.assertNotIn("is out at step", log)

    def test_the_job_ends_with_one_model_everywhere(self):
        text = job(4, "consistency: QUORUM quorum { workers: 3 }").replace("100000", "150")
        with Cluster(text) as cluster:
            cluster.start(4, "--step_delay=5ms")
            with Straggler(cluster.workers["worker-3"]):
                cluster.workers["worker-0"].wait()
            summary = cluster.finish()
            self.assertEqual(summary["version"], 150)
            for worker in cluster.workers.values():
                self.assertEqual(worker.final_hash(), summary["parameters"])


if __name__ == "__main__":
    unittest.main()

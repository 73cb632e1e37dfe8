# SPDX-License-Identifier: Apache-2.0
"""ASYNC: no worker waits for a straggler, within max_lead, and the model is as good as SYNC's."""

import re
import signal
import time
import unittest

from cluster import FASHION_MNIST, Cluster, job_text, mlp, run_job, run_program, saddle, wait_until

WORKERS = 4
MAX_LEAD = 4
DATA = f"--data={FASHION_MNIST}"
SYNC_STEPS = 400


def training(steps, more=""):
    return (
        job_text(
            mlp(64),
            steps=steps,
            workers=WORKERS,
            batch=32,
            codec="random_k:0.05",
            optimizer="sgd:lr=0.1",
            schedule=f"step_decay:at={steps * 4 // 5},factor=0.1",  # else the last steps are noise
        )
        + more
    )


ASYNC = f"consistency: ASYNC async {{ max_lead: {MAX_LEAD} }}"


def staleness_bound(workers):
    return (2 * MAX_LEAD + 1) * (workers - 1)


class AsyncTest(unittest.TestCase):
    def test_it_is_as_accurate_as_sync_at_equal_gradients(self):
        sync = run_job(training(SYNC_STEPS), WORKERS, DATA)[0]
        with Cluster(training(SYNC_STEPS * WORKERS, ASYNC)) as cluster:
            # Of different speed, so that they are ahead of each other.
            cluster.start(WORKERS, DATA, worker_flags=lambda i: [f"--step_delay={2 * i}ms"])
            summary = cluster.finish()
            for worker in cluster.workers.values():
                self.assertEqual(worker.final_hash(), summary["parameters"])
        print(f"test accuracy: sync {sync['test_accuracy']}, async {summary['test_accuracy']}")
        print(f"payloads by staleness: {summary['staleness']}")
        print(f"payloads by lead:      {summary['lead']}")
        self.assertGreater(summary["test_accuracy"], sync["test_accuracy"] - 0.015)
        self.assertEqual(sum(summary["staleness"]), SYNC_STEPS * WORKERS)
        self.assertLessEqual(len(summary["lead"]), MAX_LEAD + 1)
        self.assertGreater(len(summary["lead"]), 1)
        self.assertLessEqual(len(summary["staleness"]), staleness_bound(WORKERS) + 1)

    def test_a_stopped_worker_is_waited_for_only_beyond_max_lead(self):
        text = job_text(
            saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001),
            steps=1000000,
            workers=3,
            lease_seconds=600,
            codec="random_k:0.1",
        )
        with Cluster(text + ASYNC) as cluster:
            cluster.start(3, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 20)
            cluster.workers["worker-2"].signal(signal.SIGSTOP)
            held = self.version(cluster)

            def stands_still():
                nonlocal held
                time.sleep(0.3)
                before, held = held, self.version(cluster)
                return before == held

            wait_until(stands_still, "the others to come to the bound")
            cluster.workers["worker-2"].signal(signal.SIGCONT)
            wait_until(lambda: self.version(cluster) > held + 20, "the training to go on")
            status = run_program("gradwire", "status", f"--server={cluster.address}").stdout
            leads = re.search(r"^lead\s+(.*) payloads$", status, re.M)
            self.assertIsNotNone(leads, status)
            most = max(int(bar.split(":")[0]) for bar in leads.group(1).split(", "))
            self.assertEqual(most, MAX_LEAD, status)

    def version(self, cluster):
        status = run_program("gradwire", "status", f"--server={cluster.address}").stdout
        return int(re.search(r"^version\s+(\d+)", status, re.M).group(1))

    def test_killed_workers_come_back_and_all_models_are_one(self):
        text = training(1500, ASYNC).replace("membership {", "membership { lease_seconds: 2")
        with Cluster(text) as cluster:
            cluster.start(WORKERS, DATA, "--step_delay=2ms")
            for name in ("worker-1", "worker-3"):
                at = self.version(cluster)
                wait_until(lambda: self.version(cluster) > at + 50, "50 updates")
                cluster.kill(name)
                cluster.start_worker(name, DATA, "--step_delay=2ms")
            summary = cluster.finish()
            for worker in cluster.workers.values():
                self.assertEqual(worker.final_hash(), summary["parameters"])
            self.assertIn("residual=reset", cluster.workers["worker-3"].err)


if __name__ == "__main__":
    unittest.main()

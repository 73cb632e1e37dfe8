# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, as an orchestrator sends it: exit code, within the grace period, and what is kept."""

import os
import re
import signal
import time
import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until

DRAIN = 3  # seconds; --drain
GRACE = 30  # an orchestrator's usual one; a sanitizer's build has it, too
TERMINATED = 128 + signal.SIGTERM
SERVER_FLAGS = [f"--drain={DRAIN}s"]


def job(steps=100000, dimension=1000, **fields):
    return job_text(
        saddle(dimension=dimension, start=0.5, gamma=0.1, wall=1e-6), steps=steps, **fields
    )


class SigtermTest(unittest.TestCase):
    def cluster(self, text):
        cluster = Cluster(text, SERVER_FLAGS)
        self.addCleanup(cluster.__exit__, None, None, None)
        return cluster

    def terminate(self, process, code):
        """The seconds that it took."""
        begin = time.monotonic()
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(GRACE), code, process.tail())
        return time.monotonic() - begin

    def state_files(self, cluster, name):
        folder = cluster.path(f"{name}.state/worker")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return sorted(int(file.removesuffix(".state")) for file in names if file.endswith(".state"))

    def restarted_server(self, cluster):
        cluster.start_server()
        cluster.wait_for_address()
        return int(re.search(r"recovered version (\d+)", cluster.server.err).group(1))


class ServerTest(SigtermTest):
    def test_in_training_the_open_step_ends_and_a_snapshot_has_it(self):
        cluster = self.cluster(job(workers=2))
        cluster.start(2, "--step_delay=5ms", "--give_up_after=1s")
        cluster.wait_for_step("worker-0", 25)
        self.terminate(cluster.server, 0)
        version = cluster.summary()["version"]
        self.assertGreaterEqual(version, 25)
        snapshots = os.listdir(cluster.path("state/snapshots"))
        self.assertIn(f"{version:012d}.manifest", snapshots)
        self.assertEqual(self.restarted_server(cluster), version)
        self.terminate(cluster.server, 0)

    def test_a_step_that_does_not_end_is_given_up_after_the_drain(self):
        cluster = self.cluster(job(workers=2))
        cluster.start(
            2,
            "--give_up_after=1s",
            worker_flags=lambda i: ["--step_delay=1h"] if i == 1 else [],
        )
        cluster.wait_for_step("worker-0", 1)  # its payload is in; worker-1's never is
        self.assertGreaterEqual(self.terminate(cluster.server, 0), DRAIN)
        self.assertIn("step 1 is given up: it waited for", cluster.server.err)

    def snapshot_under_way(self, folder):
        names = os.listdir(folder) if os.path.isdir(folder) else []
        begun = {name.split(".")[0] for name in names}
        return begun - {name.removesuffix(".manifest") for name in names}

    def test_while_snapshots_are_written(self):
        # 32 MB at every step: one is being written, or waits to be, at any time.
        cluster = self.cluster(job(dimension=8_000_000, codec="random_k:0.0001", snapshot_every=1))
        cluster.start(1, "--give_up_after=1s")
        folder = cluster.path("state/snapshots")
        wait_until(lambda: self.snapshot_under_way(folder), "a snapshot that is being written")
        self.terminate(cluster.server, 0)
        verified = run_program("gradwire", "log", "verify", f"--state_dir={cluster.path('state')}")
        self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertEqual(self.restarted_server(cluster), cluster.summary()["version"])
        self.terminate(cluster.server, 0)

    def test_while_it_waits_for_workers(self):
        cluster = self.cluster(job(workers=2))
        cluster.start(1, "--give_up_after=1s")
        self.assertLess(self.terminate(cluster.server, 0), DRAIN + GRACE / 2)


class WorkerTest(SigtermTest):
    def start(self, cluster, workers, *flags):
        cluster.start(
            workers,
            *flags,
            worker_flags=lambda i: [f"--state_dir={cluster.path(f'worker-{i}.state')}"],
        )

    def test_in_training_it_saves_its_state_and_goes_on_from_there(self):
        cluster = self.cluster(job(workers=2, codec="random_k:0.1"))
        self.start(cluster, 2, "--step_delay=5ms", "--state_every=1000000")
        cluster.wait_for_step("worker-1", 25)
        self.terminate(cluster.workers["worker-1"], TERMINATED)
        version = self.state_files(cluster, "worker-1")[-1]
        self.assertGreaterEqual(version, 24)
        again = cluster.start_worker(
            "worker-1", "--step_delay=5ms", f"--state_dir={cluster.path('worker-1.state')}"
        )
        wait_until(lambda: "residual=" in again.err, "the worker to go on")
        self.assertIn("residual=recovered", again.err)
        self.terminate(again, TERMINATED)

    def test_while_it_takes_a_snapshot(self):
        cluster = self.cluster(job(dimension=8_000_000, codec="random_k:0.0001", snapshot_every=1))
        cluster.server_flags = [*SERVER_FLAGS, "--snapshot_rate=1", "--log_retain=0"]
        self.start(cluster, 1)
        cluster.wait_for_step("worker-0", 10)
        late = cluster.start_worker("late", f"--state_dir={cluster.path('late.state')}")
        wait_until(lambda: cluster.has_joined("late"), "the newcomer to join")
        self.terminate(late, TERMINATED)  # the 32 MB take half a minute
        self.assertEqual(cluster.step_of("late"), 0)

    def test_while_it_waits_for_other_workers(self):
        cluster = self.cluster(job(workers=2))
        self.start(cluster, 1)
        self.terminate(cluster.workers["worker-0"], TERMINATED)

    def test_while_it_waits_for_a_server(self):
        cluster = self.cluster(job(workers=1))
        cluster.address = "127.0.0.1:1"
        worker = cluster.start_worker("worker-0", "--give_up_after=1h")
        wait_until(lambda: "127.0.0.1:1" in worker.err, "the worker to try")
        self.terminate(worker, TERMINATED)

    def test_once_the_job_is_done_its_end_is_a_good_one(self):
        cluster = self.cluster(job(steps=1, workers=2))
        cluster.start(2, worker_flags=lambda i: ["--step_delay=1s"] if i == 1 else [])
        cluster.wait_for_step("worker-0", 1)  # sent; the last step ends when worker-1's comes
        self.terminate(cluster.workers["worker-0"], 0)
        summary = cluster.finish()
        self.assertEqual(cluster.workers["worker-0"].final_hash(), summary["parameters"])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a running job: look at it, take the model, end it."""

import os
import re
import signal
import unittest

from cluster import Cluster, job_text, run_program, saddle
from safetensors_file import read_tensors


def job(dimension=1000):
    return job_text(
        saddle(dimension=dimension, start=0.5, gamma=0.1, wall=1e-6),
        steps=100000,
        workers=2,
        name="operated",
        snapshot_every=10,
    )


JOB = job()
LONG_LOG = JOB.replace("snapshot_every: 10", "snapshot_every: 100000")


class OperateTest(unittest.TestCase):
    shards = 1
    dimension = 1000

    def running_cluster(self, *worker_flags):
        cluster = Cluster(job(self.dimension), shards=self.shards)
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.start(2, "--step_delay=5ms", *worker_flags)
        cluster.wait_for_step("worker-0", 25)
        return cluster

    def test_sigterm_drains_the_server(self):
        cluster = self.running_cluster("--give_up_after=2s")
        cluster.server.signal(signal.SIGTERM)
        self.assertEqual(cluster.server.wait(10), 0, cluster.server.tail())
        for worker in cluster.workers.values():  # each tries for --give_up_after, then says so
            self.assertEqual(worker.wait(30), 1)
            self.assertIn(cluster.address.split(",")[0], worker.err)

    def test_a_worker_that_waits_for_a_slow_one_does_not_give_the_server_up(self):
        text = job_text(
            saddle(dimension=self.dimension, start=0.5, gamma=0.1, wall=1e-6), steps=2, workers=2
        )
        with Cluster(text, shards=self.shards) as cluster:
            cluster.start(
                2,
                worker_flags=lambda i: ["--give_up_after=1s"] if i == 0 else ["--step_delay=3s"],
            )
            cluster.finish()

    def test_sigterm_before_any_worker_came_ends_the_server(self):
        with Cluster(job(self.dimension), shards=self.shards) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            for server in cluster.servers():
                server.signal(signal.SIGTERM)
                self.assertEqual(server.wait(10), 0, server.tail())

    def test_sigterm_to_a_worker_makes_it_leave(self):
        cluster = self.running_cluster()
        worker = cluster.workers["worker-1"]
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(20), 128 + signal.SIGTERM)
        step = cluster.step_of("worker-0")
        cluster.wait_for_step("worker-0", step + 10)

    def test_status_shows_job_and_workers(self):
        cluster = self.running_cluster()
        status = run_program("gradwire", "status", f"--server={cluster.address}")
        self.assertEqual(status.returncode, 0, status.stderr)
        for text in ("operated", "training", "version"):
            self.assertIn(text, status.stdout)
        for rank in (0, 1):
            self.assertRegex(status.stdout, rf"(?m)^worker-{rank} +{rank} +1 +(ready|member) +\d+ ")

    def test_export_writes_the_newest_snapshot(self):
        cluster = self.running_cluster()
        path = cluster.path("model.safetensors")
        export = run_program("gradwire", "export", f"--server={cluster.address}", f"--out={path}")
        self.assertEqual(export.returncode, 0, export.stderr)
        with open(path, "rb") as file:
            tensors, metadata = read_tensors(file.read())
        self.assertEqual([name for name in tensors], ["x"])
        self.assertEqual(tensors["x"][0], [self.dimension])
        version = int(metadata["gradwire.version"])
        self.assertEqual(version % 10, 0)
        self.assertGreaterEqual(version, 10)

    def test_export_names_a_path_that_cannot_be_written(self):
        cluster = self.running_cluster()
        path = os.path.join(cluster.folder, "no-such-folder", "model.safetensors")
        export = run_program("gradwire", "export", f"--server={cluster.address}", f"--out={path}")
        self.assertEqual(export.returncode, 1)
        self.assertIn(path, export.stderr)


class OperateTwoShardsTest(OperateTest):
    shards = 2
    dimension = 300000  # two blocks


class CommandTest(unittest.TestCase):
    def cluster(self, *flags, job=JOB):
        cluster = Cluster(job, flags)
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.start(2, "--step_delay=5ms")
        cluster.wait_for_step("worker-0", 5)
        return cluster

    def command(self, cluster, *words):
        return run_program("gradwire", *words, f"--server={cluster.address}")

    def test_snapshot_writes_one_now(self):
        cluster = self.cluster(job=LONG_LOG)
        done = self.command(cluster, "snapshot")
        self.assertEqual(done.returncode, 0, done.stderr)
        version, path = re.search(r"^snapshot of version (\d+): (\S+)$", done.stdout).groups()
        self.assertGreaterEqual(int(version), 4)
        inspected = run_program("gradwire", "snapshot", "inspect", path)
        self.assertEqual(inspected.returncode, 0, inspected.stderr)
        self.assertIn(version, inspected.stdout)
        cluster.wait_for_step("worker-0", cluster.step_of("worker-0") + 5)

    def test_drain_ends_the_server_and_the_next_one_goes_on(self):
        cluster = self.cluster()
        done = self.command(cluster, "drain")
        self.assertEqual(done.returncode, 0, done.stderr)
        version = int(re.search(r"^drained at version (\d+): ", done.stdout).group(1))
        self.assertEqual(cluster.server.wait(20), 0, cluster.server.tail())
        cluster.server_flags = [f"--listen={cluster.address}"]
        cluster.start_server()
        cluster.wait_for_address()
        self.assertIn(f"recovered version {version} ", cluster.server.err)
        cluster.wait_for_step("worker-0", version + 10)

    def test_drain_ends_a_server_that_serves_a_final_model(self):
        text = job_text(
            saddle(dimension=100, start=0.5, gamma=0.1, wall=1e-6), steps=20, workers=2
        )
        with Cluster(text, ["--when_done=serve"]) as cluster:
            cluster.start(2)
            for worker in cluster.workers.values():
                self.assertEqual(worker.wait(), 0)
            done = self.command(cluster, "drain")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("drained at version 20: ", done.stdout)
            self.assertEqual(cluster.server.wait(20), 0, cluster.server.tail())

    def test_stop_ends_the_job_for_everybody(self):
        cluster = self.cluster()
        done = self.command(cluster, "stop")
        self.assertEqual(done.returncode, 0, done.stderr)
        version = int(re.search(r"^the job ends with version (\d+)$", done.stdout).group(1))
        summary = cluster.finish()
        self.assertEqual((summary["version"], summary["steps"]), (version, version))
        self.assertEqual(summary["phase"], "finished")

    def test_set_lr_counts_from_the_next_step(self):
        cluster = self.cluster(job=LONG_LOG)
        done = self.command(cluster, "set", "lr=0.025")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = re.search(r"^set from version (\d+) on: learning_rate=0.025$", done.stdout)
        version = int(found.group(1))
        cluster.wait_for_step("worker-0", version + 5)
        shown = run_program(
            "gradwire",
            "log",
            "show",
            f"--state_dir={cluster.path('state')}",
            f"--from={version}",
            f"--to={version + 2}",
        )
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("learning_rate=0.025", shown.stdout)
        self.assertRegex(self.command(cluster, "status").stdout, r"(?m)^rate +0.025 ")
        refused = self.command(cluster, "set", "lr=-1")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("learning_rate", refused.stderr)

    def test_an_unreachable_server_is_named(self):
        for words in (["snapshot"], ["drain"], ["stop"]):
            done = run_program("gradwire", *words, "--server=127.0.0.1:9", "--timeout=2s")
            self.assertEqual(done.returncode, 1)
            self.assertIn("127.0.0.1:9", done.stderr)


class WhenDoneTest(unittest.TestCase):
    def test_a_server_that_serves_answers_with_the_final_model_until_sigterm(self):
        text = job_text(saddle(dimension=100, start=0.5, gamma=0.1, wall=1e-6), steps=20)
        with Cluster(text, ["--when_done=serve"]) as cluster:
            cluster.start(1)
            self.assertEqual(cluster.workers["worker-0"].wait(), 0)
            final = cluster.workers["worker-0"].final_hash()
            for _ in range(2):  # the second time it is started on the finished directory
                late = cluster.start_worker("late")
                self.assertEqual(late.wait(20), 0, late.tail())
                self.assertEqual(late.final_hash(), final)
                model = cluster.path("model.safetensors")
                export = run_program(
                    "gradwire", "export", f"--server={cluster.address}", f"--out={model}"
                )
                self.assertEqual(export.returncode, 0, export.stderr)
                self.assertTrue(cluster.server.running())
                cluster.server.signal(signal.SIGTERM)
                self.assertEqual(cluster.server.wait(20), 0, cluster.server.tail())
                cluster.start_server()
                cluster.wait_for_address()

    def test_neither_exit_nor_serve_is_refused(self):
        with Cluster(job()) as cluster:
            for flag in ("--when_done=stay", "--snapshots=0"):
                server = cluster.start_server(flag)
                self.assertEqual(server.wait(20), 2)
                self.assertIn(flag, server.err)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Followers: they read a job's updates, come and go, and take no part."""

import re
import signal
import unittest

from cluster import (
    FASHION_MNIST,
    Cluster,
    Process,
    job_text,
    mlp,
    run_job,
    run_program,
    saddle,
    wait_until,
)

SADDLE = saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001)


def follow(cluster, label, command="follow", *flags):
    return Process(
        cluster.folder, label, "gradwire", [command, f"--server={cluster.address}", *flags]
    )


def versions(process):
    """(version, loss) of every line that a follower has printed, in order."""
    return [
        (int(version), float(loss))
        for version, loss in re.findall(r"^version (\d+) .*?loss (\S+)$", process.out, re.M)
    ]


class FollowTest(unittest.TestCase):
    def start(self, cluster, label, *arguments):
        process = follow(cluster, label, *arguments)
        self.addCleanup(process.end)
        return process

    def test_they_come_and_go_and_the_run_is_the_same(self):
        job = job_text(
            mlp(32), steps=80, workers=2, codec="top_k:0.05", batch=32, eval_every=20, seed=3
        )
        data = f"--data={FASHION_MNIST}"
        alone = run_job(job, 2, data)[0]
        with Cluster(job) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            first = self.start(cluster, "first")  # before there is anything to follow
            evaluate = self.start(cluster, "evaluate", "evaluate", data, "--every=30")
            cluster.start_worker("worker-0", data, "--step_delay=30ms")
            wait_until(lambda: cluster.has_joined("worker-0"), "worker-0 to join")
            cluster.start_worker("worker-1", data, "--step_delay=30ms")
            killed, left = self.start(cluster, "killed"), self.start(cluster, "left")
            wait_until(lambda: len(versions(killed)) > 5 and len(versions(left)) > 5, "updates")
            killed.signal(signal.SIGKILL)
            left.signal(signal.SIGTERM)
            self.assertEqual(left.wait(), 128 + signal.SIGTERM)
            status = run_program("gradwire", "status", f"--server={cluster.address}")
            self.assertEqual(len(re.findall(r"(?m)^\S+ +\d+ +\d+ +member ", status.stdout)), 2)
            late = self.start(cluster, "late")
            summary = cluster.finish()
            for follower in (first, late, evaluate):
                self.assertEqual(follower.wait(), 0, follower.tail())
                self.assertEqual(follower.final_hash(), alone["parameters"], follower.label)
            self.assertEqual(summary["parameters"], alone["parameters"])
            self.assertEqual(summary["left"], [])
            for follower in (first, late):
                self.assertEqual([v for v, _ in versions(follower)], list(range(1, 81)))
            self.assertEqual(versions(late), versions(first))
            self.assertAlmostEqual(versions(first)[-1][1], summary["loss"], places=5)
            self.assertEqual([v for v, _ in versions(evaluate)], [30, 60, 80])
            accuracy = re.findall(r"^version 80 accuracy (\S+) ", evaluate.out, re.M)
            self.assertEqual(accuracy, [f"{summary['test_accuracy']:.6g}"])

    def test_one_that_comes_late_starts_from_a_snapshot(self):
        job = job_text(SADDLE, steps=150, snapshot_every=10, codec="random_k:0.1")
        with Cluster(job) as cluster:
            cluster.start(1, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 60)
            late = self.start(cluster, "late")
            summary = cluster.finish()
            self.assertEqual(late.wait(), 0, late.tail())
            seen = [version for version, _ in versions(late)]
            self.assertGreaterEqual(seen[0], 10)
            self.assertEqual(seen[0] % 10, 0)
            self.assertEqual(seen, list(range(seen[0], 151)))
            self.assertEqual(late.final_hash(), summary["parameters"])

    def test_it_survives_a_killed_server(self):
        job = job_text(SADDLE, steps=150, workers=2, codec="top_k:0.1")
        with Cluster(job) as cluster:
            cluster.start(2, "--step_delay=20ms")
            follower = self.start(cluster, "follower")
            wait_until(lambda: len(versions(follower)) >= 20, "20 updates")
            cluster.server.signal(signal.SIGKILL)
            cluster.server.wait()
            cluster.start_server(f"--listen={cluster.address}")
            cluster.wait_for_address()
            summary = cluster.finish()
            self.assertEqual(follower.wait(), 0, follower.tail())
            self.assertEqual(follower.final_hash(), summary["parameters"])
            self.assertEqual([version for version, _ in versions(follower)], list(range(1, 151)))
            self.assertIn("trying again", follower.err)

    def test_one_that_comes_after_the_end_is_shown_the_end(self):
        job = job_text(SADDLE, steps=30, codec="random_k:0.1")
        with Cluster(job, ["--when_done=serve"]) as cluster:
            cluster.start(1)
            self.assertEqual(cluster.workers["worker-0"].wait(), 0)
            for command in ("follow", "evaluate"):
                late = run_program("gradwire", command, f"--server={cluster.address}")
                self.assertEqual(late.returncode, 0, late.stderr)
                self.assertIn(cluster.workers["worker-0"].final_hash(), late.stdout)
                self.assertRegex(late.stdout, r"(?m)^version 30 ")
            cluster.server.signal(signal.SIGTERM)
            self.assertEqual(cluster.server.wait(), 0, cluster.server.tail())

    def test_it_says_why_it_cannot_follow(self):
        job = job_text(SADDLE, steps=100000)
        with Cluster(job) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            other = cluster.path("other.textproto")
            with open(other, "w", encoding="utf-8") as file:
                file.write(job_text(SADDLE, steps=100000, seed=2))
            server = f"--server={cluster.address}"
            for flags, code, text in (
                (["follow", f"--job={other}"], 2, "schema"),
                (["evaluate", "--every=0"], 2, "--every"),
                (["follow", "--rule=evaluate"], 2, "'rule'"),
                (["follow", "--role=advise"], 2, "advise"),
            ):
                with self.subTest(flags=flags):
                    ended = run_program("gradwire", flags[0], server, *flags[1:])
                    self.assertEqual(ended.returncode, code, ended.stderr)
                    self.assertIn(text, ended.stderr)
        gone = run_program("gradwire", "follow", server, "--give_up_after=1s")
        self.assertEqual(gone.returncode, 1)
        self.assertIn(cluster.address, gone.stderr)


if __name__ == "__main__":
    unittest.main()

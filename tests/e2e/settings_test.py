# SPDX-License-Identifier: Apache-2.0
"""What changes while a job runs: gradwire set, and a job file that has changed at a restart."""

import re
import signal
import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until

STEPS = 100000
JOB = job_text(
    saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001),
    steps=STEPS,
    workers=2,
    name="changing",
    snapshot_every=60000,  # so that the log stays whole
)


class SettingsTest(unittest.TestCase):
    def running_cluster(self):
        cluster = Cluster(JOB)
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.start(2, "--step_delay=5ms")
        cluster.wait_for_step("worker-0", 20)
        return cluster

    def set(self, cluster, *assignments):
        return run_program("gradwire", "set", f"--server={cluster.address}", *assignments)

    def status(self, cluster):
        return run_program("gradwire", "status", f"--server={cluster.address}").stdout

    def restart(self, cluster, job):
        """After kill -9, on the same address: the workers stay."""
        cluster.server.signal(signal.SIGKILL)
        cluster.server.wait()
        with open(cluster.job_path, "w", encoding="utf-8") as file:
            file.write(job)
        return cluster.start_server(f"--listen={cluster.address}")

    def seen_file(self, cluster):
        with open(cluster.path("state/job.textproto"), encoding="utf-8") as file:
            return file.read()

    def test_what_was_set_holds_over_kills_and_the_old_file_and_ends_the_job(self):
        cluster = self.running_cluster()
        done = self.set(cluster, "membership.min_workers=2", "snapshot_every=70000")
        self.assertEqual(done.returncode, 0, done.stderr)
        both = "snapshot_every=70000 membership.min_workers=2"
        match = re.fullmatch(rf"set from version (\d+) on: {both}\n", done.stdout)
        self.assertIsNotNone(match, done.stdout)
        again = self.set(cluster, "snapshot_every=70000")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertRegex(again.stdout, r"\Aunchanged at version \d+: snapshot_every=70000\n\Z")
        step = cluster.step_of("worker-0")
        schedule = f"schedule=step_decay:at={step + 100},factor=0.5;linear_warmup:10"
        self.assertEqual(self.set(cluster, schedule).returncode, 0)
        for _ in range(2):
            self.restart(cluster, JOB)
            cluster.wait_for_address()
            step = cluster.step_of("worker-0")
            cluster.wait_for_step("worker-0", step + 61)
        self.assertEqual(self.set(cluster, "snapshot_every=70000").stdout[:9], "unchanged")
        shown = run_program("gradwire", "log", "show", f"--state_dir={cluster.path('state')}")
        sets = re.findall(r"^version=(\d+) .* set (.*)$", shown.stdout, re.M)
        self.assertEqual(sets[0], (match[1], both))
        self.assertEqual([text for _, text in sets[1:]], [schedule])
        end = cluster.step_of("worker-0") + 40
        ended = self.set(cluster, f"steps={end}")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        summary = cluster.finish()
        self.assertEqual((summary["version"], summary["steps"]), (end, end))
        verified = run_program("gradwire", "log", "verify", f"--state_dir={cluster.path('state')}")
        self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertIn(summary["parameters"], verified.stdout)

    def test_a_changed_file_counts_from_the_next_record_on(self):
        cluster = self.running_cluster()
        self.assertEqual(self.set(cluster, "snapshot_every=70000").returncode, 0)
        changed = JOB.replace(f"steps: {STEPS}", "steps: 90000")
        self.restart(cluster, changed)
        cluster.wait_for_address()
        wait_until(lambda: " of 90000," in self.status(cluster), "the change to be on the log")
        wait_until(lambda: "steps: 90000\n" in self.seen_file(cluster), "the file to be noted")
        said = "the job file has changed: steps=90000 (before: steps=100000)"
        self.assertIn(said, cluster.server.err)
        self.assertIn("unchanged", self.set(cluster, "snapshot_every=70000").stdout)
        self.restart(cluster, JOB.replace("changing", "another"))
        self.assertEqual(cluster.server.wait(20), 2)
        self.assertIn('modified: name: "changing" -> "another"', cluster.server.err)
        self.restart(cluster, JOB.replace(f"steps: {STEPS}", "steps: 2"))
        self.assertEqual(cluster.server.wait(20), 2)
        self.assertRegex(cluster.server.err, r"steps: 2 is below \d+, the step that is open")
        self.restart(cluster, changed)
        cluster.wait_for_address()
        step = cluster.step_of("worker-0")
        cluster.wait_for_step("worker-0", step + 6)

    def test_what_cannot_be_set_is_refused(self):
        cluster = self.running_cluster()
        for assignments, text in (
            (["codec=top_k:0.1"], "codec is part of what the job is"),
            (["colour=red"], "a job has no colour; these can be set: steps, "),
            (["steps"], "NAME=VALUE"),
            ([], "set steps=5000"),
            (["steps=3"], "steps: 3 is below "),
            (["membership.min_workers=3"], "membership.min_workers: 3 is not in [1, 2]"),
            (["target.metric=accuracy", "target.value=0.9"], "trainer.eval_every"),
        ):
            with self.subTest(assignments=assignments):
                refused = self.set(cluster, *assignments)
                self.assertEqual(refused.returncode, 1)
                self.assertIn(text, refused.stderr)
        self.assertIn(f" of {STEPS},", self.status(cluster))


if __name__ == "__main__":
    unittest.main()

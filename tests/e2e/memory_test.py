# SPDX-License-Identifier: Apache-2.0
"""What --memory_limit does: too large a job is refused at start, and the sum shown holds."""

import os
import re
import unittest

from cluster import Cluster, job_text, saddle, wait_until

DIMENSION = 10_000_000


def job(codec, **fields):
    return job_text(
        saddle(dimension=DIMENSION, start=0.5),
        steps=4,
        workers=2,
        codec=codec,
        snapshot_every=2,
        **fields
    )


def peak(process):
    """Waits for its end: the bytes that it had at most."""
    _, status, usage = os.wait4(process.popen.pid, 0)
    process.popen.returncode = os.waitstatus_to_exitcode(status)
    return 1024 * usage.ru_maxrss


def foretold(process):
    return int(re.search(r"memory: at most about (\d+) bytes: ", process.err)[1])


class MemoryTest(unittest.TestCase):
    def test_what_is_foretold_is_enough_and_not_three_times_too_much(self):
        if "sanitize" in os.environ["GRADWIRE_BIN"] or "asan" in os.environ["GRADWIRE_BIN"]:
            self.skipTest("a sanitizer needs memory of its own")
        for codec in ("random_k:0.01", "top_k:0.01", "identity"):
            with self.subTest(codec=codec), Cluster(job(codec)) as cluster:
                cluster.start(2)
                peaks = {process.label: peak(process) for process in cluster.processes()}
                for process in cluster.processes():
                    self.assertEqual(process.popen.returncode, 0, process.tail())
                    ratio = peaks[process.label] / foretold(process)
                    self.assertLessEqual(ratio, 1, process.label)
                    self.assertGreaterEqual(ratio, 1 / 3, process.label)

    def test_a_server_refuses_what_is_too_much_with_the_sum(self):
        with Cluster(job("identity")) as cluster:
            server = cluster.start_server("--memory_limit=150MB")
            self.assertEqual(server.wait(), 2)
            self.assertRegex(
                server.err,
                r"the server needs about \d+ MB of memory for this job, and the limit is 150 MB "
                r"\(--memory_limit\): parameters 40 MB \+ aggregate 40 MB \+ ",
            )
            self.assertFalse(os.listdir(cluster.path("state")))

    def test_a_worker_does_too(self):
        with Cluster(job("top_k:0.01")) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            worker = cluster.start_worker("small", "--memory_limit=100MiB")
            self.assertEqual(worker.wait(), 2)
            self.assertRegex(
                worker.err,
                r"this worker needs about \d+ MB of memory for this job, and the limit is 105 MB "
                r"\(--memory_limit\): parameters 40 MB \+ gradient 40 MB \+ residual 40 MB",
            )

    def test_what_is_no_size_is_refused(self):
        with Cluster(job("identity")) as cluster:
            server = cluster.start_server("--memory_limit=much")
            self.assertEqual(server.wait(), 2)
            self.assertIn("--memory_limit=much: auto, none, or bytes", server.err)
            server = cluster.start_server("--memory_limit=none")
            wait_until(lambda: "listening" in server.out, "the server to listen")


if __name__ == "__main__":
    unittest.main()

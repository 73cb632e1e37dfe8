# SPDX-License-Identifier: Apache-2.0
"""Tokens: who may do what, and under which name."""

import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until

LONG = job_text(
    saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001),
    steps=1000000,
    workers=1,
    lease_seconds=2,
)
TOKENS = {
    "worker": "worker-token-0000000000",
    "zero": "worker-zero-token-00000",
    "follower": "follower-token-00000000",
    "admin": "admin-token-00000000000",
    "unknown": "a-token-of-nobody-00000",
}
LINES = [
    "# who may do what",
    f"worker {TOKENS['worker']}",
    f"worker {TOKENS['zero']} worker=worker-0",
    f"follower {TOKENS['follower']}",
    f"admin {TOKENS['admin']}",
]


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class TokensTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(LONG)
        self.addCleanup(self.cluster.__exit__, None, None, None)
        self.tokens_path = write(self.cluster.path("tokens"), "\n".join(LINES) + "\n")
        self.cluster.start_server(f"--tokens={self.tokens_path}")
        self.cluster.wait_for_address()

    def token(self, name):
        return f"--token_file={write(self.cluster.path(name + '.token'), TOKENS[name])}"

    def gradwire(self, *arguments):
        return run_program("gradwire", *arguments, f"--server={self.cluster.address}")

    def refused_worker(self, name, *flags):
        worker = self.cluster.start_worker(name, *flags)
        self.assertEqual(worker.wait(30), 2, worker.err)
        return worker.err

    def test_each_role_may_do_its_own(self):
        self.cluster.start_worker("worker-0", self.token("zero"))
        self.cluster.wait_for_step("worker-0", 20)
        self.assertEqual(self.gradwire("set", "steps=900000", self.token("admin")).returncode, 0)
        for name in ("admin", "follower", "worker"):
            status = self.gradwire("status", self.token(name))
            self.assertEqual(status.returncode, 0, status.stderr)
        follower = self.cluster.start_worker("reader", "--role=follow", self.token("follower"))
        wait_until(lambda: "version" in follower.out, "a version that is read")

    def test_the_wrong_role_is_refused(self):
        for name in ("worker", "follower"):
            answer = self.gradwire("set", "steps=900000", self.token(name))
            self.assertEqual(answer.returncode, 1)
            self.assertIn("/gradwire.v1.Admin/Set is for the role admin", answer.stderr)
            self.assertIn(f"this caller is a {name}", answer.stderr)
        for name in ("follower", "admin"):
            self.assertIn(
                f"is for the role worker, and this caller is a {name}",
                self.refused_worker("worker-0", self.token(name)),
            )

    def test_no_token_and_an_unknown_one_are_told(self):
        self.assertIn("give --token_file", self.refused_worker("worker-0"))
        self.assertIn("not in the server's", self.refused_worker("worker-0", self.token("unknown")))
        self.assertIn("give --token_file", self.gradwire("status").stderr)

    def test_a_token_for_one_worker_is_for_no_other(self):
        err = self.refused_worker("worker-1", self.token("zero"))
        self.assertIn('worker id "worker-1": this token is for "worker-0" alone', err)

    def test_a_changed_file_counts_from_then_on(self):
        worker = self.cluster.start_worker("worker-0", self.token("zero"))
        self.cluster.wait_for_step("worker-0", 20)
        admin = self.token("admin")

        def knows_unknown():
            return self.gradwire("status", self.token("unknown")).returncode == 0

        self.assertFalse(knows_unknown())
        write(self.tokens_path, "\n".join([*LINES, f"follower {TOKENS['unknown']}"]))
        wait_until(knows_unknown, "the new token to count")
        write(self.tokens_path, "\n".join([*LINES, "worker short"]))
        wait_until(lambda: "line 6" in self.cluster.server.err, "the word on the bad line")
        self.assertNotIn("short", self.cluster.server.err)
        self.assertTrue(knows_unknown())
        # Without its token a worker's lease is not renewed.
        write(self.tokens_path, "\n".join(line for line in LINES if "zero" not in line))
        wait_until(
            lambda: " lost " in self.gradwire("status", admin).stdout or not worker.running(),
            "the worker to be lost",
        )

    def test_files_that_cannot_be_used_are_named(self):
        bad = write(self.cluster.path("bad"), f"# x\nroot {TOKENS['admin']}\n")
        with Cluster(LONG) as other:
            server = other.start_server(f"--tokens={bad}")
            self.assertEqual(server.wait(30), 2)
            self.assertIn(f"--tokens={bad}: line 2: its role is none of", server.err)
            self.assertNotIn(TOKENS["admin"], server.err)
        short = write(self.cluster.path("short"), "secret\n")
        answer = self.gradwire("status", f"--token_file={short}")
        self.assertIn(f"--token_file={short}: a token of 6 characters", answer.stderr)
        self.assertNotIn("secret", answer.stderr)

    def test_a_token_does_not_travel_readable(self):
        answer = run_program(
            "gradwire", "status", "--server=192.0.2.1:7070", self.token("admin"), "--timeout=1s"
        )
        self.assertEqual(answer.returncode, 1)
        self.assertIn("--insecure", answer.stderr)


if __name__ == "__main__":
    unittest.main()

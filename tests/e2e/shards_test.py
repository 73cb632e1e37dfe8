# SPDX-License-Identifier: Apache-2.0
"""Two servers with half of the blocks each: the bits of one, whatever dies, and one file."""

import re
import unittest

from cluster import FASHION_MNIST, Cluster, job_text, mlp, run_program, wait_until
from safetensors_file import read_tensors

STEPS = 20
DIMENSION = 784 * 400 + 400 + 400 * 10 + 10  # two blocks


def job(codec, optimizer, mode="FIXED", steps=STEPS, model=mlp(400), workers=2):
    text = job_text(
        model,
        steps=steps,
        workers=workers,
        codec=codec,
        optimizer=optimizer,
        batch=16,
        eval_every=10,
        snapshot_every=10,
    )
    return text.replace("membership {", f"membership {{ mode: {mode}")



def start(cluster, workers=2, *flags):
    cluster.start_server("--when_done=serve")
    cluster.wait_for_address()
    for i in range(workers):
        start_worker(cluster, f"worker-{i}", f"--data={FASHION_MNIST}", *flags)


def start_worker(cluster, name, *flags):
    """Ranks are those numbers: one joins after the other."""
    joined = cluster.server.err.count(f'worker "{name}" joined')
    worker = cluster.start_worker(name, *flags)
    wait_until(
        lambda: cluster.server.err.count(f'worker "{name}" joined') > joined
        or not worker.running(),
        f"{name} to join",
    )
    return worker


def finish(cluster):
    """The one hash of all workers."""
    for worker in cluster.workers.values():
        code = worker.wait()
        if code != 0:
            raise AssertionError(f"{worker.label} ended with {code}\n{worker.tail()}")
    hashes = {worker.final_hash() for worker in cluster.workers.values()}
    if len(hashes) != 1:
        raise AssertionError(f"workers differ: {hashes}")
    return hashes.pop()


def wait_for_final(cluster):
    for server in cluster.servers():
        wait_until(lambda: "final version=" in server.out, f"{server.label} to end the job")


def exported(cluster):
    wait_for_final(cluster)
    path = cluster.path("exported.safetensors")
    done = run_program("gradwire", "export", f"--server={cluster.address}", f"--out={path}")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    with open(path, "rb") as file:
        return read_tensors(file.read())[0]


def joined(cluster):
    path = cluster.path("joined.safetensors")
    parts = [cluster.path("state/final.safetensors"), cluster.path("state-1/final.safetensors")]
    done = run_program("gradwire", "snapshot", "join", *parts, f"--out={path}")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    with open(path, "rb") as file:
        return read_tensors(file.read())[0]


class ShardsTest(unittest.TestCase):
    def test_two_servers_end_with_the_bits_and_the_file_of_one(self):
        for codec, optimizer in (
            ("random_k:0.01", "sgd:lr=0.1"),
            ("identity", "sgd:lr=0.1"),
            ("identity", "adam:lr=0.001"),
        ):
            with self.subTest(codec=codec, optimizer=optimizer):
                with Cluster(job(codec, optimizer)) as one:
                    start(one)
                    want = finish(one)
                    want_tensors = exported(one)
                with Cluster(job(codec, optimizer), shards=2) as two:
                    start(two)
                    self.assertEqual(finish(two), want)
                    self.assertEqual(exported(two), want_tensors)
                    self.assertEqual(joined(two), want_tensors)
                    err = two.workers["worker-0"].err
                    said = re.findall(r"memory: .* parameters (\S+) MB", err)
                    self.assertEqual(said, [f"{4e-6 * DIMENSION:.1f}"])  # of all shards, once
                    self.check_status(two)

    def check_status(self, cluster):
        done = run_program("gradwire", "status", f"--server={cluster.address}")
        self.assertEqual(done.returncode, 0, done.stderr)
        for k in range(2):
            self.assertIn(f"shard {k}/2 (finished)", done.stdout)
        sizes = re.findall(r"^model +(\d+) parameters", done.stdout, re.M)
        self.assertEqual(sum(map(int, sizes)), DIMENSION)
        for state in ("state", "state-1"):
            done = run_program("gradwire", "log", "verify", f"--state_dir={cluster.path(state)}")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_address_list_that_is_not_the_jobs_is_refused_with_the_remedy(self):
        with Cluster(job("identity", "sgd:lr=0.1"), shards=2) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            first, second = cluster.address.split(",")
            for servers, says in (
                (f"{second},{first}", "this server is shard 1/2"),
                (first, "this server is shard 0/2"),
                (f"{first},{second},127.0.0.1:1", "takes it for shard 0/3"),
                (f"{first},{first}", "stands there twice"),
            ):
                done = run_program(
                    "gradwire-worker", f"--server={servers}", f"--data={FASHION_MNIST}"
                )
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(says, done.stderr)
                self.assertIn("--server", done.stderr)

    def test_shards_of_two_jobs_are_refused(self):
        text = job("identity", "sgd:lr=0.1")
        with Cluster(text, shards=2) as one, Cluster(text + "seed: 7\n", shards=2) as other:
            for cluster in (one, other):
                cluster.start_server()
                cluster.wait_for_address()
            servers = one.address.split(",")[0] + "," + other.address.split(",")[1]
            done = run_program("gradwire-worker", f"--server={servers}", f"--data={FASHION_MNIST}")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("is a shard of another job than shard 0", done.stderr)

    def test_following_a_shard_is_refused(self):
        with Cluster(job("identity", "sgd:lr=0.1"), shards=2) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            server = cluster.address.split(",")[0]
            done = run_program("gradwire", "follow", f"--server={server}")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("one of 2 shards", done.stderr)

    def test_a_job_that_does_not_go_with_shards_is_refused_at_the_start(self):
        for text, says in (
            (job_text(mlp(32), steps=9), "too few for 2 shards"),
            (job_text(mlp(400), steps=9, clip="norm:1"), 'clip: "norm:1"'),
        ):
            with Cluster(text) as cluster:
                done = run_program(
                    "gradwire-server",
                    f"--job={cluster.job_path}",
                    "--shard=0/2",
                    "--listen=127.0.0.1:0",
                )
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(says, done.stderr)

    def test_elastic_goes_on_without_a_worker_that_is_killed_and_takes_it_back(self):
        text = job("random_k:0.01", "sgd:lr=0.01", mode="ELASTIC", steps=150, workers=3)
        with Cluster(text, shards=2) as cluster:
            start(cluster, 3, "--step_delay=20ms")
            cluster.wait_for_step("worker-0", 10)
            cluster.kill("worker-2")
            killed_at = cluster.step_of("worker-0")
            cluster.wait_for_step("worker-0", killed_at + 5)
            start_worker(cluster, "worker-2", f"--data={FASHION_MNIST}", "--step_delay=20ms")
            cluster.wait_for_step("worker-2", killed_at + 6)
            finish(cluster)
            wait_for_final(cluster)
            for server in cluster.servers():
                self.assertIn("final version=150", server.out)


if __name__ == "__main__":
    unittest.main()

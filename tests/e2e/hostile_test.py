# SPDX-License-Identifier: Apache-2.0
"""Hostile peers at a server with mutual TLS, for a short time; longer: tests/fault/hostile."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from certs import client_flags, make_certs, server_flags
from cluster import SANITIZED, Cluster, job_text, saddle

ATTACKERS = os.path.join(os.path.dirname(__file__), "..", "fault", "attackers.py")
CONNECTIONS = 70  # ten of each kind
STEPS = 400
MAX_MEMORY = 400 << 20
JOB = job_text(
    saddle(dimension=10000, start=0.5, gamma=0.1, wall=1e-6), steps=100000000, workers=2
)


class Attack:
    """The attackers, as a process of their own, all connected when this is made."""

    def __init__(self, address, connections, tls):
        self.popen = subprocess.Popen(
            [
                sys.executable,
                ATTACKERS,
                address,
                f"--connections={connections}",
                *([f"--tls={tls}"] if tls else []),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self.popen.stdout.readline() != "attacking\n":
            raise AssertionError("the attackers did not start")

    def end(self):
        self.popen.kill()
        self.popen.communicate()


def peak_memory(process):
    """The largest resident memory so far, in bytes."""
    with open(f"/proc/{process.popen.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def assert_nobody_left(cluster):
    for process in cluster.processes():
        if not process.running() or " is out at step" in process.err:
            raise AssertionError(f"{process.label} was dropped or ended\n{process.tail()}")


class HostileTest(unittest.TestCase):
    def test_honest_workers_go_on(self):
        folder = tempfile.mkdtemp(prefix="gradwire-certs-")
        self.addCleanup(shutil.rmtree, folder)
        make_certs(folder, "--workers=2")
        with Cluster(
            JOB, server_flags(folder), client_flags=client_flags(folder, "admin")
        ) as cluster:
            cluster.start(
                2,
                "--step_delay=2ms",
                worker_flags=lambda i: client_flags(folder, f"worker-{i}"),
            )
            cluster.wait_for_step("worker-0", 20)
            for tls in ("", f"{folder}/follower.crt,{folder}/follower.key"):
                with self.subTest(with_certificate=bool(tls)):
                    attack = Attack(cluster.address, CONNECTIONS, tls)
                    try:
                        cluster.wait_for_step("worker-0", cluster.step_of("worker-0") + STEPS)
                    finally:
                        attack.end()
                    assert_nobody_left(cluster)
                    if not SANITIZED:
                        self.assertLess(peak_memory(cluster.server), MAX_MEMORY)


if __name__ == "__main__":
    unittest.main()

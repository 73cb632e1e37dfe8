# SPDX-License-Identifier: Apache-2.0
"""The images, and whole jobs in containers: docker/Dockerfile, docker/compose.yaml."""

import json
import os
import signal
import tempfile
import time
import unittest

from compose import ROOT, Compose, inspect, podman, run, wait_until

BASE = "docker.io/library/debian:bookworm-slim"
MAX_BYTES_OVER_BASE = 150_000_000
ACCURACY = 0.84
GRACE = 30  # seconds; stop_grace_period in compose.yaml

FIXED_JOB = """
name: "fixed"
model { mlp { inputs: 784 hidden: 256 hidden: 128 classes: 10 } }
steps: 1500
seed: 1
codec: "random_k:0.01"
optimizer: "sgd:lr=0.1"
membership { mode: FIXED workers: 8 }
trainer { batch: 32 eval_every: 500 }
snapshot_every: 400
"""


def build(target):
    run(
        "podman", "build", "--format", "docker", "--network", "host",
        "--file", os.path.join(ROOT, "docker", "Dockerfile"),
        "--target", target, "--tag", f"gradwire-{target}", ROOT,
        seconds=3600,
    )


def setUpModule():
    for target in ("server", "worker", "prometheus"):
        build(target)


class ImageTest(unittest.TestCase):
    def test_they_are_small_and_run_as_an_ordinary_user_without_a_shell_before_them(self):
        base = inspect("image", BASE)["Size"]
        for target in ("server", "worker"):
            with self.subTest(target):
                image = inspect("image", f"gradwire-{target}")
                self.assertLess(image["Size"] - base, MAX_BYTES_OVER_BASE)
                config = image["Config"]
                self.assertEqual(config["User"], "10001:10001")
                self.assertEqual(config["Entrypoint"][0], f"gradwire-{target}")
                self.assertEqual(image["Healthcheck"]["Test"][:3], ["CMD", "gradwire", "health"])
                self.assertIn("org.opencontainers.image.licenses", config["Labels"])

    def test_no_compiler_is_in_them(self):
        for target in ("server", "worker", "prometheus"):
            for tool in ("cc", "gcc", "g++", "ld", "make", "cmake", "git"):
                found = run(
                    "podman", "run", "--rm", "--no-healthcheck", "--entrypoint", "sh",
                    f"gradwire-{target}", "-c", f"command -v {tool}", check=False,
                )
                self.assertNotEqual(found.returncode, 0, f"{tool} in {target}: {found.stdout}")


class ComposeTest(unittest.TestCase):
    def test_a_job_trains_is_healthy_ends_by_itself_and_leaves_nothing(self):
        with Compose("gradwire-test") as compose:
            wait_until(lambda: compose.version() >= 100, "version 100")
            server = compose.name("server")
            for name in (server, compose.name("worker", 3)):
                podman("healthcheck", "run", name)
            declared = self.declared_metrics(compose)
            wait_until(
                lambda: declared <= self.scraped_metrics(compose) or not compose.running(server),
                "Prometheus to scrape",
            )
            self.assertEqual(declared - self.scraped_metrics(compose), set())
            self.assertIn("GradwireServerDown", compose.http("prometheus", "/api/v1/rules"))
            summary = compose.finish()
        self.assertEqual(summary["version"], 2000)
        self.assertGreaterEqual(summary["test_accuracy"], ACCURACY)
        self.assertEqual(compose.containers(), [])
        self.assertEqual(compose.volumes(), [])

    def declared_metrics(self, compose):
        lines = compose.http("server", "/metrics").splitlines()
        return {line.split()[2] for line in lines if line.startswith("# TYPE ")}

    def scraped_metrics(self, compose):
        """Those that Prometheus has a sample of; of a histogram by its count."""
        names = json.loads(compose.http("prometheus", "/api/v1/label/__name__/values"))["data"]
        return {name.removesuffix("_count") for name in names} | set(names)

    def test_a_server_that_is_killed_and_started_again_loses_nothing(self):
        with tempfile.NamedTemporaryFile("w", suffix=".textproto") as job:
            job.write(FIXED_JOB)
            job.flush()
            os.chmod(job.name, 0o644)  # the container's user is another one
            with Compose("gradwire-whole", workers=8, job=job.name) as compose:
                whole = compose.finish()
            with Compose("gradwire-killed", workers=8, job=job.name) as compose:
                server = compose.name("server")
                wait_until(lambda: compose.version() >= 500, "version 500")
                podman("kill", "--signal", "KILL", server)
                wait_until(lambda: not compose.running(server), "the server to be gone")
                podman("start", server)
                killed = compose.finish()
                self.assertIn("recovered version", compose.logs(server))
        self.assertEqual(whole["version"], 1500)
        self.assertEqual(killed["version"], 1500)
        self.assertEqual(killed["parameters"], whole["parameters"])

    def test_two_servers_share_a_model(self):
        with Compose("gradwire-shards", "compose.yaml", "compose.shards.yaml") as compose:
            summary = compose.finish("server", "server-1")
            self.assertIn("shard 1/2", compose.logs(compose.name("server-1")))
        self.assertGreaterEqual(summary["test_accuracy"], ACCURACY)

    def test_sigterm_ends_a_worker_with_143_and_a_server_with_0_within_the_grace_period(self):
        with Compose("gradwire-term") as compose:
            wait_until(lambda: compose.version() >= 100, "version 100")
            for name, code in (
                (compose.name("worker", 2), 128 + signal.SIGTERM),
                (compose.name("server"), 0),
            ):
                begin = time.monotonic()
                podman("stop", "--time", str(GRACE), name)
                self.assertLess(time.monotonic() - begin, GRACE)
                self.assertEqual(compose.state(name)["ExitCode"], code, compose.logs(name))


if __name__ == "__main__":
    unittest.main()

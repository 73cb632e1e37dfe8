# SPDX-License-Identifier: Apache-2.0
"""Runs what deploy/kubernetes would run: every command with those very arguments and variables.

Paths and addresses are mapped to this machine: /state and /job to a temporary folder, the servers'
names to loopback addresses with ports of their own.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import unittest
import urllib.request

from manifests import (
    FOLDERS,
    LEAST_KUSTOMIZE,
    command_of,
    container_of,
    environment,
    find,
    kustomize_version,
    probes,
    render,
)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from cluster import FASHION_MNIST, Process, run_program, wait_until  # noqa: E402

POD_INDEX = "metadata.labels['apps.kubernetes.io/pod-index']"
JOB_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
# What a server of the cluster listens on, and what one of this machine does.
LISTEN = {
    "--listen=0.0.0.0:7070": "--listen=127.0.0.1:0",
    "--http_listen=0.0.0.0:9090": "--http_listen=127.0.0.1:0",
}


def setUpModule():
    version = kustomize_version()
    if version is None or version < LEAST_KUSTOMIZE:
        raise unittest.SkipTest("these tests need kubectl 1.25 or later")


class Deployment:
    """A folder's servers and workers as processes of this machine."""

    def __init__(self, objects, folder):
        self.objects = objects
        self.folder = folder
        self.processes = []
        self.stateful_set = find(objects, "StatefulSet", "gradwire-server")
        self.ports = []
        self.http_ports = []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for process in self.processes:
            process.end()

    def write_job(self, steps):
        """The ConfigMap that the server mounts, as its file; a test wants fewer steps."""
        [volume] = [
            volume
            for volume in self.stateful_set["spec"]["template"]["spec"]["volumes"]
            if volume["name"] == "job"
        ]
        files = find(self.objects, "ConfigMap", volume["configMap"]["name"])["data"]
        os.mkdir(os.path.join(self.folder, "job"))
        for name, text in files.items():
            with open(os.path.join(self.folder, "job", name), "w", encoding="utf-8") as file:
                file.write(re.sub(r"(?m)^steps: \d+", f"steps: {steps}", text))

    def write_certificates(self):
        """The secret that the server mounts, and the workers' own, in the folder certs."""
        certs = os.path.join(self.folder, "certs")
        done = run_program("gradwire", "certs", f"--out={certs}", "--workers=4")
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        tls = os.path.join(self.folder, "tls")
        os.mkdir(tls)
        for name, secret in (
            ("ca.crt", "ca.crt"), ("server.crt", "tls.crt"), ("server.key", "tls.key"),
        ):
            shutil.copy(os.path.join(certs, name), os.path.join(tls, secret))

    def mapped(self, label, command):
        """A worker's or server's command, with the container's paths and names on this machine."""
        own = os.path.join(self.folder, label)
        os.makedirs(own, exist_ok=True)
        words = []
        for word in command[1:]:
            word = word.replace("=/state", f"={own}")
            for folder in ("job", "tls"):
                word = word.replace(f"=/{folder}/", f"={self.folder}/{folder}/")
            if word.startswith("--server="):
                word = "--server=" + ",".join(f"127.0.0.1:{port}" for port in self.ports)
            words.append(LISTEN.get(word, word))
        return words

    def start(self, label, command):
        process = Process(self.folder, label, command[0], self.mapped(label, command))
        self.processes.append(process)
        return process

    def start_server(self, index):
        container = container_of(self.stateful_set)
        variables = environment(self.objects, container, {POD_INDEX: str(index)})
        server = self.start(f"server-{index}", command_of(container, variables))
        wait_until(
            lambda: "listening on" in server.out or not server.running(), f"server {index}"
        )
        listening = re.search(r"^listening on 127\.0\.0\.1:(\d+)$", server.out, re.M)
        if listening is None:
            raise AssertionError(server.tail())
        self.ports.append(int(listening[1]))
        self.http_ports.append(int(re.search(r"^http on 127\.0\.0\.1:(\d+)$", server.out, re.M)[1]))
        return server

    def start_worker(self, index):
        container = container_of(find(self.objects, "Job", "gradwire-worker"))
        variables = environment(self.objects, container, {JOB_INDEX: str(index)})
        return self.start(f"worker-{index}", command_of(container, variables))

    def replicas(self):
        return self.stateful_set["spec"]["replicas"]


class CommandTest(unittest.TestCase):
    def check(self, folder, steps):
        objects = render(folder)
        with tempfile.TemporaryDirectory() as temporary, Deployment(objects, temporary) as cluster:
            cluster.write_job(steps)
            servers = [cluster.start_server(index) for index in range(cluster.replicas())]
            self.check_probes(cluster)
            count = find(objects, "Job", "gradwire-worker")["spec"]["completions"]
            workers = [cluster.start_worker(index) for index in range(count)]
            for worker in workers:
                self.assertEqual(worker.wait(), 0, worker.tail())
            self.assertEqual(len({worker.final_hash() for worker in workers}), 1)
            for server in servers:  # --when_done=serve
                self.assertTrue(server.running(), server.tail())
                server.signal(signal.SIGTERM)
                self.assertEqual(server.wait(self.grace(cluster)), 0, server.tail())

    def grace(self, cluster):
        return cluster.stateful_set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    def check_probes(self, cluster):
        found = probes(container_of(cluster.stateful_set))
        self.assertEqual(set(found), {"startupProbe", "readinessProbe", "livenessProbe"})
        for path, container_port in found.values():
            self.assertEqual(container_port, 9090)  # --http_listen
            for port in cluster.http_ports:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    self.assertEqual(answer.status, 200)

    @unittest.skipUnless(os.path.isdir(FASHION_MNIST), "needs Debian's dataset-fashion-mnist")
    def test_the_base_trains(self):
        self.check("base", steps=40)

    @unittest.skipUnless(os.path.isdir(FASHION_MNIST), "needs Debian's dataset-fashion-mnist")
    def test_production_trains_with_all_its_servers(self):
        self.check("overlays/production", steps=10)

    @unittest.skipUnless(os.path.isdir(FASHION_MNIST), "needs Debian's dataset-fashion-mnist")
    def test_workers_from_outside_train_with_their_certificates_and_nobody_else_comes_in(self):
        objects = render("overlays/external-workers")
        with tempfile.TemporaryDirectory() as temporary, Deployment(objects, temporary) as cluster:
            cluster.write_job(steps=10)
            cluster.write_certificates()
            server = cluster.start_server(0)
            self.check_probes(cluster)
            address = f"--server=127.0.0.1:{cluster.ports[0]}"
            authority = f"--tls_ca={temporary}/tls/ca.crt"
            for strange in ([], [authority]):
                done = run_program("gradwire", "health", address, "--timeout=3s", *strange)
                self.assertEqual(done.returncode, 1, done.stderr)
            workers = [
                cluster.start(
                    f"worker-{i}",
                    [
                        "gradwire-worker", address, authority, f"--data={FASHION_MNIST}",
                        f"--tls_cert={temporary}/certs/worker-{i}.crt",
                        f"--tls_key={temporary}/certs/worker-{i}.key",
                        f"--worker_id=worker-{i}",
                    ],
                )
                for i in range(4)
            ]
            for worker in workers:
                self.assertEqual(worker.wait(), 0, worker.tail())
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(self.grace(cluster)), 0, server.tail())

    def test_a_flag_that_does_not_exist_is_caught(self):
        objects = render("base")
        container_of(find(objects, "StatefulSet", "gradwire-server"))["args"].append("--drian=20s")
        with tempfile.TemporaryDirectory() as temporary, Deployment(objects, temporary) as cluster:
            cluster.write_job(steps=1)
            with self.assertRaisesRegex(AssertionError, "drian"):
                cluster.start_server(0)


class AgreementTest(unittest.TestCase):
    """What is said in two places."""

    def test_shards_are_as_many_as_replicas_and_addresses(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                objects = render(folder)
                workload = find(objects, "StatefulSet", "gradwire-server")
                told = environment(objects, container_of(workload), {POD_INDEX: "0"})
                replicas = workload["spec"]["replicas"]
                self.assertEqual(int(told["SHARDS"]), replicas)
                name = f"{workload['metadata']['name']}-{{}}.{workload['spec']['serviceName']}:7070"
                last = "0" if replicas == 1 else f"{{0..{replicas - 1}}}"
                self.assertEqual(told["SERVERS"], name.format(last))

    def test_the_drain_and_the_snapshot_fit_into_the_grace_period(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                pod = find(render(folder), "StatefulSet", "gradwire-server")["spec"]["template"]
                [container] = pod["spec"]["containers"]
                [drain] = [a for a in container["args"] if a.startswith("--drain=")]
                seconds = int(drain.removeprefix("--drain=").removesuffix("s"))
                self.assertLessEqual(2 * seconds, pod["spec"]["terminationGracePeriodSeconds"])

    def test_every_pod_is_as_the_restricted_profile_wants_it(self):
        for folder in FOLDERS:
            for workload in render(folder):
                if workload["kind"] not in ("StatefulSet", "Job"):
                    continue
                with self.subTest(f"{folder} {workload['kind']}"):
                    pod = workload["spec"]["template"]["spec"]
                    self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                    self.assertEqual(
                        pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault"
                    )
                    self.assertFalse(pod["automountServiceAccountToken"])
                    [container] = pod["containers"]
                    own = container["securityContext"]
                    self.assertFalse(own["allowPrivilegeEscalation"])
                    self.assertTrue(own["readOnlyRootFilesystem"])
                    self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                    self.assertIn("memory", container["resources"]["limits"])

    def test_only_what_no_try_mends_fails_the_job(self):
        for folder in ("base", "overlays/production"):
            job = find(render(folder), "Job", "gradwire-worker")["spec"]
            disrupted, failed = job["podFailurePolicy"]["rules"]
            self.assertEqual(disrupted["action"], "Ignore")
            self.assertEqual(failed["action"], "FailJob")
            self.assertEqual(failed["onExitCodes"]["values"], [2])
            # As a worker has it that is given a flag that is none.
            done = run_program("gradwire-worker", "--no_such_flag")
            self.assertIn(done.returncode, failed["onExitCodes"]["values"])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""docker/compose.yaml as a cluster under test, run by podman-compose; ends exactly what it made."""

import json
import os
import subprocess
import time
import urllib.request

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
PATIENCE = float(os.environ.get("GRADWIRE_CONTAINERS_PATIENCE", "300"))
POLL = 0.2


def run(*command, check=True, seconds=PATIENCE, **options):
    """A command to its end (CompletedProcess); AssertionError with its output when it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds,
        check=False, **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def podman(*arguments, **options):
    return run("podman", *arguments, **options).stdout.strip()


def inspect(kind, name):
    return json.loads(podman(kind, "inspect", name))[0]


def wait_until(condition, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(POLL)


class Compose:
    """with Compose(project, files, workers) as compose: its containers run until the end."""

    def __init__(self, project, *files, workers=4, job=None):
        self.project = project
        self.workers = workers
        self.files = [os.path.join(ROOT, "docker", file) for file in files or ["compose.yaml"]]
        # Empty: ports that nobody has.
        self.environment = {
            **os.environ, "GRADWIRE_WORKERS": str(workers), "GRADWIRE_PORT": "",
            "GRADWIRE_HTTP_PORT": "", "PROMETHEUS_PORT": "",
        }
        if job is not None:
            self.environment["GRADWIRE_JOB"] = job

    def __enter__(self):
        self.call("up", "--detach", "--no-build")
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            for name in self.containers():
                print(f"--- {name}\n{self.logs(name)[-2000:]}")
        self.call("down", "--volumes")
        # Debian's podman-compose leaves it.
        podman("network", "rm", f"{self.project}_default", check=False)

    def call(self, *arguments):
        files = [word for file in self.files for word in ("--file", file)]
        return run(
            "podman-compose", "--project-name", self.project, *files, *arguments,
            env=self.environment,
        )

    def name(self, service, number=1):
        return f"{self.project}_{service}_{number}"

    def containers(self):
        return self.labelled("ps", "--all", "--format", "{{.Names}}")

    def volumes(self):
        return self.labelled("volume", "ls", "--format", "{{.Name}}")

    def labelled(self, *command):
        return podman(
            *command, "--filter", f"label=io.podman.compose.project={self.project}"
        ).split()

    def http(self, service, path):
        """What port 9090 of a service answers, by the port that this machine has for it."""
        address = podman("port", self.name(service), "9090/tcp").splitlines()[0]
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def worker_names(self):
        return [self.name("worker", number) for number in range(1, self.workers + 1)]

    def state(self, name):
        return inspect("container", name)["State"]

    def running(self, name):
        return self.state(name)["Running"]

    def logs(self, name):
        done = run("podman", "logs", name, check=False)
        return done.stdout + done.stderr

    def status(self):
        """What the server says of the job; empty while it is not there."""
        return podman("exec", self.name("server"), "gradwire", "status", check=False)

    def version(self):
        for line in self.status().splitlines():
            if line.startswith("version "):
                return int(line.split()[1])
        return 0

    def finish(self, *services):
        """Waits until servers and workers have ended by themselves; the server's summary."""
        names = [self.name(service) for service in services or ["server"]] + self.worker_names()
        for name in names:
            wait_until(lambda name=name: not self.running(name), f"{name} to end")
            code = self.state(name)["ExitCode"]
            if code != 0:
                raise AssertionError(f"{name} ended with {code}\n{self.logs(name)[-2000:]}")
        return self.summary()

    def summary(self):
        volume = inspect("volume", f"{self.project}_state")["Mountpoint"]
        with open(os.path.join(volume, "summary.json"), encoding="utf-8") as file:
            return json.load(file)

# SPDX-License-Identifier: Apache-2.0
"""Starts a server and workers as real processes on this machine, and ends exactly those.

The programs are those of the folder named by the environment variable GRADWIRE_BIN.  Every wait
is bounded by PATIENCE seconds, which is only ever used up by a fault: it is not a delay.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

# A sanitizer keeps freed memory back: what a program holds says nothing then.
SANITIZED = bool(os.environ.get("GRADWIRE_SANITIZE"))
PATIENCE = float(os.environ.get("GRADWIRE_E2E_PATIENCE", "120"))
POLL = 0.02
FASHION_MNIST = "/usr/share/datasets/fashion-mnist"


def program(name):
    return os.path.join(os.environ["GRADWIRE_BIN"], name)


def job_text(model, steps, workers=1, **fields):
    """A job file.  `model` is text for the field `model`; fields are job.proto's, by their names,
    with those of `membership` and `trainer` among them."""
    inner = {"membership": {"workers": workers}, "trainer": {}}
    lines = [f"model {{ {model} }}", f"steps: {steps}"]
    for name, value in fields.items():
        if name in ("min_workers", "lease_seconds", "start_timeout_seconds"):
            inner["membership"][name] = value
        elif name in ("batch", "eval_every"):
            inner["trainer"][name] = value
        else:
            for item in value if isinstance(value, list) else [value]:
                lines.append(f"{name}: {json.dumps(item)}")
    for name, values in inner.items():
        lines.append(f"{name} {{ {' '.join(f'{k}: {v}' for k, v in values.items())} }}")
    return "\n".join(lines) + "\n"


def mlp(*hidden):
    return f"mlp {{ inputs: 784 hidden: {list(hidden)} classes: 10 }}"


def saddle(**fields):
    return f"quadratic_saddle {{ {' '.join(f'{k}: {v}' for k, v in fields.items())} }}"


def wait_until(condition, what, seconds=PATIENCE):
    """The condition's first true value; AssertionError naming `what` when none came in time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(POLL)


def run_program(name, *flags, seconds=PATIENCE, **options):
    """Runs a program to its end: exit code, stdout, stderr (CompletedProcess)."""
    return subprocess.run(
        [program(name), *flags],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        **options,
    )


class Process:
    """A started program, with its output in two files."""

    def __init__(self, folder, label, name, flags):
        self.label = label
        self.out_path = os.path.join(folder, f"{label}.out")
        self.err_path = os.path.join(folder, f"{label}.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                [program(name), *flags], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self):
        return read_text(self.out_path)

    @property
    def err(self):
        return read_text(self.err_path)

    def running(self):
        return self.popen.poll() is None

    def wait(self, seconds=PATIENCE):
        """The exit code."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.label} still runs after {seconds:g} s\n{self.tail()}"
            ) from None

    def signal(self, number):
        self.popen.send_signal(number)

    def end(self):
        if self.running():
            self.popen.kill()
        self.popen.wait()

    def tail(self):
        return "".join(
            f"{self.label}| {line}\n" for line in (self.out + self.err).splitlines()[-12:]
        )

    def final_hash(self):
        """What a worker prints at the end."""
        match = re.search(r"^final version=(\d+) parameters=(xxh3:[0-9a-f]{16})$", self.out, re.M)
        if match is None:
            raise AssertionError(f"no final line\n{self.tail()}")
        return match.group(2)


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


class Cluster:
    """One job's server, or one for each shard, and workers, in a folder of its own:
    with Cluster(job) as cluster: ..."""

    def __init__(
        self, job, server_flags=(), job_name="job.textproto", shards=1, client_flags=()
    ):
        self.folder = tempfile.mkdtemp(prefix="gradwire-e2e-")
        self.job_path = self.path(job_name)
        self.workers = {}
        self.server = None  # of the first shard
        self.followers = []  # of the others, in order
        self.shards = shards
        self.address = None
        self.server_flags = server_flags
        self.client_flags = client_flags  # of `gradwire status`, by which joins are waited for
        with open(self.job_path, "w", encoding="utf-8") as file:
            file.write(job)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            print(self.tails())
        for process in self.processes():
            process.end()
        shutil.rmtree(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def processes(self):
        return self.servers() + list(self.workers.values())

    def servers(self):
        return [server for server in [self.server, *self.followers] if server]

    def start_server(self, *flags):
        """All shards' servers, without waiting; see wait_for_address.  That of the first one."""
        self.server = self._start_shard("server", "state", "summary.json", 0, flags)
        self.followers = [
            self._start_shard(f"server-{k}", f"state-{k}", f"summary-{k}.json", k, flags)
            for k in range(1, self.shards)
        ]
        return self.server

    def _start_shard(self, label, state, summary, shard, flags):
        os.makedirs(self.path(state), exist_ok=True)
        return Process(
            self.folder,
            label,
            "gradwire-server",
            [
                f"--job={self.job_path}",
                "--listen=127.0.0.1:0",
                f"--state_dir={self.path(state)}",
                f"--summary={self.path(summary)}",
                *([f"--shard={shard}/{self.shards}"] if self.shards > 1 else []),
                *self.server_flags,
                *flags,
            ],
        )

    def wait_for_address(self):
        """Of all shards, in order."""

        def address(server):
            match = re.search(r"^listening on (\S+)$", server.out, re.M)
            if match is None and not server.running():
                raise AssertionError(f"{server.label} ended\n{server.tail()}")
            return match and match.group(1)

        self.address = ",".join(
            wait_until(lambda: address(server), "the server to listen")
            for server in self.servers()
        )
        return self.address

    def start_worker(self, name, *flags):
        self.workers[name] = Process(
            self.folder,
            name,
            "gradwire-worker",
            [
                f"--server={self.address}",
                f"--worker_id={name}",
                f"--metrics={self.path(name + '.metrics')}",
                *flags,
            ],
        )
        return self.workers[name]

    def start(self, workers, *flags, worker_flags=None):
        """Server and workers 0..workers-1; worker_flags(i) gives flags for one of them.  Worker 0
        joins first, so that ranks, and with them the order of addition, are those numbers."""
        self.start_server()
        self.wait_for_address()
        for i in range(workers):
            more = worker_flags(i) if worker_flags else []
            worker = self.start_worker(f"worker-{i}", *flags, *more)
            wait_until(
                lambda: self.has_joined(f"worker-{i}") or not worker.running(),
                f"worker-{i} to join",
            )
        return self

    def has_joined(self, name):
        status = run_program(
            "gradwire", "status", f"--server={self.address}", *self.client_flags
        )
        return re.search(rf"\b{re.escape(name)}\b", status.stdout) is not None

    def finish(self):
        """Waits until all have ended by themselves, with exit code 0; the summary."""
        for process in self.processes():
            code = process.wait()
            if code != 0:
                raise AssertionError(f"{process.label} ended with {code}\n{process.tail()}")
        return self.summary()

    def summary(self):
        return json.loads(read_text(self.path("summary.json")))

    def metrics(self, name):
        """The whole lines of a worker's metrics file; empty before there is one."""
        path = self.path(name + ".metrics")
        text = read_text(path) if os.path.exists(path) else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def step_of(self, name):
        lines = self.metrics(name)
        return lines[-1]["step"] if lines else 0

    def wait_for_step(self, name, step):
        """Until the worker has made it; AssertionError with the ends of all outputs when it does
        not come, or when the worker ends before."""

        def there():
            running = self.workers[name].running()  # asked before its last line is read
            if self.step_of(name) >= step:
                return True
            if not running:
                raise AssertionError(f"{name} ended before step {step}\n{self.tails()}")
            return False

        try:
            wait_until(there, f"step {step} of {name}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tails()}") from None

    def tails(self):
        return "".join(process.tail() for process in self.processes())

    def kill(self, name):
        """As kill -9 does."""
        self.workers[name].signal(signal.SIGKILL)
        self.workers[name].wait()
        return self.workers.pop(name)


def run_job(job, workers, *flags, worker_flags=None, server_flags=()):
    """A whole run: summary, workers' hashes, the final snapshot's bytes, worker 0's metrics."""
    with Cluster(job, server_flags) as cluster:
        cluster.start(workers, *flags, worker_flags=worker_flags)
        summary = cluster.finish()
        hashes = [worker.final_hash() for worker in cluster.workers.values()]
        with open(cluster.path("state/final.safetensors"), "rb") as file:
            return summary, hashes, file.read(), cluster.metrics("worker-0")

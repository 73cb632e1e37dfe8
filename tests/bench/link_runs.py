# SPDX-License-Identifier: Apache-2.0
"""The runs of `link`: the same training by gradwire, by PyTorch, and without communication, each as
real processes on the hosts of a NetCluster."""

import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from cluster import Process, job_text, mlp, run_program, wait_until  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WORKERS = 4
BATCH = 64
HIDDEN = [1024, 1024]
ACCURACY = 0.85
EVAL_EVERY = 20  # steps
PORT = 7070
SERVER = "server"
HOSTS = [SERVER] + [f"worker-{i}" for i in range(WORKERS)]
STUCK = 3600.0  # seconds: of a run; only a fault takes so long


class StepTimes(threading.Thread):
    """Reads the lines that a worker writes to --metrics, here a pipe, and when they come: `times`
    is of the steps alone, without the line of the final evaluation."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.lines = []
        self.times = []
        os.mkfifo(path)
        self.start()

    def run(self):
        with open(self.path, encoding="utf-8") as pipe:
            for line in pipe:
                now = time.monotonic()
                self.lines.append(json.loads(line))
                if len(self.lines) < 2 or self.lines[-1]["step"] > self.lines[-2]["step"]:
                    self.times.append(now)


def window_ms(times, window):
    """Of each whole window of so many steps, counted from the end: milliseconds a step."""
    ends = times[::-1][::window]
    return [1000 * (end - begin) / window for end, begin in zip(ends, ends[1:])][::-1]


class Runs:
    """with Runs(cluster, programs, data) as runs: ...  Every process of a run ends with it."""

    def __init__(self, cluster, programs, data):
        self.cluster = cluster
        self.programs = programs
        self.data = data
        self.processes = []
        os.environ["GRADWIRE_BIN"] = programs
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = "1"

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="gradwire-link-")
        return self

    def __exit__(self, kind, error, trace):
        self._end_all()
        shutil.rmtree(self.folder)

    def train(self, steps, window_steps, codec=None, lag=0, hook=None):
        """What one training of so many steps took, and the hash of what it led to."""
        before = sum(self.cluster.bytes_through(SERVER))
        job = self._job(steps, codec, lag) if codec else None
        if codec:
            times, parameters = self._gradwire(job)
        else:
            times, parameters = self._ddp(hook, ["--steps", str(steps)])
        through = sum(self.cluster.bytes_through(SERVER)) - before
        return {
            "steps": steps,
            "window_ms": window_ms(times.times, window_steps),
            "server_bytes": through / steps if codec else None,
            "parameters": parameters,
        }

    def count(self, most, codec=None, lag=0, hook=None):
        """How many steps lead to ACCURACY; None where `most` do not."""
        if codec:
            job = self._job(most, codec, lag, eval_every=EVAL_EVERY)
            times, _ = self._gradwire(job + f'target {{ metric: "accuracy" value: {ACCURACY} }}\n')
            behind = 1 + lag  # a line has the evaluation of the parameters its step began with
        else:
            more = ["--steps", str(most), "--until", str(ACCURACY), "--eval_every", str(EVAL_EVERY)]
            times, _ = self._ddp(hook, more)
            behind = 0
        for line in times.lines:
            if line.get("metrics", {}).get("accuracy", 0) >= ACCURACY:
                return {"steps": line["step"] - behind}
        return {"steps": None}

    def alone(self, trainer, window_steps, windows):
        """Milliseconds that all workers together take for one step each without communication: of
        each window while all of them compute.  Trainer: gradwire or pytorch."""
        job_path = self._new_path("alone.textproto")
        with open(job_path, "w", encoding="utf-8") as file:
            file.write(self._job(1, "identity"))
        steps = window_steps * windows + 20
        all_times = []
        for rank in range(WORKERS):
            times = StepTimes(self._new_path("alone.metrics"))
            all_times.append(times)
            if trainer == "pytorch":
                self._start_pytorch(rank, "alone", times.path, ["--steps", str(2 * steps)])
            else:
                program = os.path.join(os.path.dirname(self.programs), "tests", "train_alone")
                arguments = [job_path, self.data, str(rank), str(2 * steps), times.path]
                self._start(f"worker-{rank}", program, *arguments)
        wait_until(
            lambda: self._ended() or all(len(times.times) >= steps for times in all_times),
            "all to train",
        )
        if self._ended():
            raise AssertionError(f"it ended too early\n{self._ended().tail()}")
        self._end_all()
        begin = max(times.times[0] for times in all_times)
        end = min(times.times[-1] for times in all_times)
        merged = sorted(t for times in all_times for t in times.times if begin <= t <= end)
        return window_ms(merged[::WORKERS], window_steps)

    def _job(self, steps, codec, lag=0, eval_every=0):
        return job_text(
            mlp(*HIDDEN),
            steps,
            WORKERS,
            codec=codec,
            lag=lag,
            optimizer="sgd:lr=0.1",
            batch=BATCH,
            eval_every=eval_every,
            snapshot_every=100,
        )

    def _gradwire(self, job):
        """(worker 0's StepTimes, the final parameters' hash)."""
        job_path = self._new_path("job.textproto")
        with open(job_path, "w", encoding="utf-8") as file:
            file.write(job)
        state = self._new_path("state")
        flags = [
            f"--job={job_path}",
            f"--listen=0.0.0.0:{PORT}",
            "--insecure",
            f"--state_dir={state}",
        ]
        server = self._start(SERVER, self._program("gradwire-server"), *flags)
        wait_until(lambda: "listening on " in server.out or not server.running(), "the server")
        address = f"{self.cluster.address(SERVER)}:{PORT}"
        times = StepTimes(self._new_path("metrics"))
        workers = []
        for rank in range(WORKERS):
            name = f"worker-{rank}"
            flags = [f"--server={address}", f"--worker_id={name}", f"--data={self.data}"]
            if rank == 0:
                flags.append(f"--metrics={times.path}")
            worker = self._start(name, self._program("gradwire-worker"), *flags)
            workers.append(worker)
            wait_until(lambda: self._has_joined(name) or not worker.running(), f"{name} to join")
        self._wait_all()
        parameters = {worker.final_hash() for worker in workers}
        if len(parameters) != 1:
            raise AssertionError(f"the workers ended with different parameters: {parameters}")
        shutil.rmtree(state)
        times.join()
        return times, parameters.pop()

    def _has_joined(self, name):
        """Asked beside the links, so that no byte of it is counted."""
        command = self.cluster.command(SERVER, self._program("gradwire"))
        status = run_program(command[0], *command[1:], "status", f"--server=127.0.0.1:{PORT}")
        return re.search(rf"\b{re.escape(name)}\b", status.stdout) is not None

    def _ddp(self, hook, arguments):
        times = StepTimes(self._new_path("ddp.metrics"))
        for rank in range(WORKERS):
            metrics = times.path if rank == 0 else os.devnull
            self._start_pytorch(rank, hook, metrics, arguments)
        first = self.processes[0]
        self._wait_all()
        times.join()
        return times, re.search(r"^final parameters=(\S+)$", first.out, re.M).group(1)

    def _start_pytorch(self, rank, hook, metrics, arguments):
        self._start(
            f"worker-{rank}",
            sys.executable,
            os.path.join(HERE, "train_ddp.py"),
            f"--rank={rank}",
            f"--workers={WORKERS}",
            f"--master={self.cluster.address('worker-0')}",
            f"--hook={hook}",
            f"--data={self.data}",
            f"--metrics={metrics}",
            "--hidden",
            *map(str, HIDDEN),
            *arguments,
        )

    def _program(self, name):
        return os.path.join(self.programs, name)

    def _start(self, host, *command):
        whole = self.cluster.command(host, *command)
        label = f"{host}-{len(os.listdir(self.folder))}"
        process = Process(self.folder, label, whole[0], whole[1:])
        self.processes.append(process)
        return process

    def _new_path(self, name):
        return os.path.join(self.folder, f"{len(os.listdir(self.folder))}-{name}")

    def _wait_all(self):
        """Until all have ended by themselves, with exit code 0."""
        for process in self.processes:
            code = process.wait(STUCK)
            if code != 0:
                raise AssertionError(f"{process.label} ended with {code}\n{process.tail()}")
        self.processes.clear()

    def _ended(self):
        """One that runs no more; None."""
        return next((process for process in self.processes if not process.running()), None)

    def _end_all(self):
        for process in self.processes:
            process.end()
        self.processes.clear()

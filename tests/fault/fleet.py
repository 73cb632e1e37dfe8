# SPDX-License-Identifier: Apache-2.0
"""One server, or one for each shard, and workers as real processes that may die and are started
again with the same arguments, each life with logs of its own."""

import json
import os
import random
import re
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from cluster import PATIENCE, Process, read_text, wait_until  # noqa: E402
from plans import SERVER, names_of, servers_of  # noqa: E402

TAIL_BYTES = 400  # of a metrics file: more than its longest line


def free_port():
    """A port that no outgoing connection is given by chance, as long as the server is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first_outgoing = int(file.read().split()[0])
    while True:
        port = random.SystemRandom().randrange(min(10000, first_outgoing // 2), first_outgoing)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def free_ports(number):
    ports = set()
    while len(ports) < number:
        ports.add(free_port())
    return sorted(ports)


class Fleet:
    """with Fleet(folder, job, data, workers) as fleet: ...  All that it started has ended after."""

    def __init__(
        self,
        folder,
        job,
        data,
        workers,
        worker_flags=(),
        server_flags=(),
        state_dir=None,
        shards=1,
    ):
        os.makedirs(folder)
        self.folder = folder
        self.state_dir = state_dir or self.path("state")  # of the first shard
        self.servers = servers_of(shards)
        self.ports = free_ports(shards)
        self.port = self.ports[0]
        self.names = names_of(workers)
        self.current = {}  # by name
        self.lives = []  # all processes
        self.seen_version = 0
        with open(self.path("job.textproto"), "w", encoding="utf-8") as file:
            file.write(job)
        self.arguments = {name: self._worker_arguments(name, data) for name in self.names}
        for arguments in self.arguments.values():
            arguments += worker_flags
        for shard, server in enumerate(self.servers):
            self.arguments[server] = [
                f"--job={self.path('job.textproto')}",
                f"--listen=127.0.0.1:{self.ports[shard]}",
                f"--state_dir={self.state_dir_of(server)}",
                f"--summary={self.path('summary.json' if shard == 0 else f'{server}.json')}",
                *([f"--shard={shard}/{shards}"] if shards > 1 else []),
                *server_flags,
            ]

    def state_dir_of(self, server):
        return self.state_dir if server == SERVER else self.path(server + ".state")

    def _worker_arguments(self, name, data):
        return [
            "--server=" + ",".join(f"127.0.0.1:{port}" for port in self.ports),
            f"--worker_id={name}",
            f"--state_dir={self.path(name)}",
            f"--metrics={self.path(name + '.metrics')}",
            f"--data={data}",
            f"--give_up_after={PATIENCE:g}s",
        ]

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for process in self.lives:
            process.end()

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name):
        life = sum(1 for process in self.lives if process.label.startswith(name + "."))
        program = "gradwire-server" if name in self.servers else "gradwire-worker"
        process = Process(self.folder, f"{name}.{life}", program, self.arguments[name])
        self.current[name] = process
        self.lives.append(process)
        return process

    def start_all(self):
        """One worker after the other, so that their ranks are always the same."""
        for server in [self.start(name) for name in self.servers]:
            self.wait_for(lambda: "listening on" in server.out, f"{server.label} to listen")
        server = self.current[SERVER]
        for name in self.names:
            self.start(name)
            self.wait_for(lambda: f'worker "{name}" joined' in server.err, f"{name} to join")

    def kill(self, name):
        """As kill -9 does; AssertionError when it has ended already."""
        self.signal(name, signal.SIGKILL)
        self.current[name].wait()

    def signal(self, name, number):
        if not self.current[name].running():
            raise AssertionError(f"{name} had ended before the fault came")
        self.current[name].signal(number)

    def version(self):
        """The newest step that any worker is known to have sent."""
        for name in self.names:
            self.seen_version = max(self.seen_version, last_step(self.path(name + ".metrics")))
        return self.seen_version

    def wait_for(self, condition, what, seconds=PATIENCE):
        """As wait_until, with everybody supervised meanwhile."""

        def checked():
            self.supervise()
            return condition()

        return wait_until(checked, what, seconds)

    def wait_for_version(self, version):
        self.wait_for(lambda: self.version() >= version, f"version {version}")

    def supervise(self):
        for name in list(self.current):
            self._supervise(name)

    def _supervise(self, name):
        """Nobody may end but well, unless a fault ended it."""
        process = self.current[name]
        code = process.popen.poll()
        if code not in (None, 0):
            last_line = (process.err.splitlines() or [""])[-1]
            raise AssertionError(f"{process.label} ended with {code}: {last_line}")

    def finish(self):
        """Waits until all have ended by themselves, with exit code 0 and one and the same hash (of
        shards' servers none has all parameters): that hash, and the summary."""
        self.wait_for(
            lambda: not any(p.running() for p in self.current.values()),
            "the end of the job",
        )
        hashes = {
            name: process.final_hash()
            for name, process in self.current.items()
            if name in self.names or len(self.servers) == 1
        }
        if len(set(hashes.values())) != 1:
            raise AssertionError(f"their parameters differ: {hashes}")
        return hashes[self.names[0]], json.loads(read_text(self.path("summary.json")))

    def logged(self, name):
        """What all lives of a process have logged."""
        return "".join(p.err for p in self.lives if p.label.startswith(name + "."))

    def resets(self):
        """Lines of workers that have lost their residual."""
        return [
            line
            for name in self.names
            for line in self.logged(name).splitlines()
            if "residual=reset" in line
        ]

    def departures(self):
        return len(re.findall(r"is out at step", self.logged(SERVER)))


def last_step(path):
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            steps = re.findall(rb'\{"step":(\d+)', file.read())
    except FileNotFoundError:
        return 0
    return int(steps[-1]) if steps else 0

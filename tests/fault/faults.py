# SPDX-License-Identifier: Apache-2.0
"""Does what a plan says to a fleet of processes, and checks what has to be seen of each fault."""

import os
import random
import re
import shutil
import signal
import subprocess
import time

from damage import damage_tail, flip_inside, flip_newest
from jobs import LEASE_SECONDS
from plans import SERVER

LEAST_STOP = LEASE_SECONDS + 1.0  # seconds
FULL_SECONDS = 1.0
MOST_FILLS = 5
DISK_BYTES = 32 << 20


class Skipped(Exception):
    """This fault cannot be made here, for the reason given."""


class Injector:
    """Carries a plan out on a fleet."""

    def __init__(self, fleet, say, stop_seconds=LEAST_STOP):
        self.fleet = fleet
        self.say = say
        self.stop_seconds = stop_seconds
        self.kills = 0
        self.skipped = []

    def run(self, plan):
        for fault in plan:
            if fault.version:
                self.fleet.wait_for_version(fault.version)
            time.sleep(fault.wait)
            self.say(f"{fault}; now {self.fleet.version()}")
            try:
                getattr(self, "_" + fault.kind)(fault, random.Random(fault.seed))
            except Skipped as reason:
                self.skipped.append(fault.kind)
                print(f"skipped {fault.kind}: {reason}", flush=True)

    # --- ends of processes

    def _kill(self, fault, _):
        for victim in fault.victims:
            self.fleet.signal(victim, signal.SIGKILL)
            self.kills += 1
        for victim in fault.victims:
            self.fleet.current[victim].wait()
        self._restart_all(fault)

    def _term_worker(self, fault, _):
        self._terminate(fault, 128 + signal.SIGTERM)

    def _term_server(self, fault, _):
        self._terminate(fault, 0)

    def _terminate(self, fault, expected):
        for victim in fault.victims:
            self.fleet.signal(victim, signal.SIGTERM)
        for victim in fault.victims:
            process = self.fleet.current[victim]
            code = process.wait()
            if code != expected:
                raise AssertionError(f"{process.label} ended with {code} after SIGTERM")
        self._restart_all(fault)

    def _restart_all(self, fault):
        """Each after its own time."""
        begin = time.monotonic()
        for downtime, victim in sorted(zip(fault.downtimes, fault.victims)):
            time.sleep(max(0, begin + downtime - time.monotonic()))
            self.fleet.start(victim)

    # --- processes that stand still

    def _stop_worker(self, fault, _):
        [victim] = fault.victims
        self._stop(victim)

    def _stop_server(self, fault, _):
        """Nobody is expired for a silence that was the server's own."""
        departures = self.fleet.departures()
        self._stop(SERVER)
        self.fleet.wait_for_version(self.fleet.version() + 2)
        if self.fleet.departures() != departures:
            raise AssertionError("a worker was given up because the server had stood still")

    def _stop(self, victim):
        self.fleet.signal(victim, signal.SIGSTOP)
        time.sleep(self.stop_seconds)
        self.fleet.signal(victim, signal.SIGCONT)

    # --- connections

    def _cut(self, fault, _):
        """Both ends of every connection to the server are reset."""
        if os.geteuid() != 0 or shutil.which("ss") is None:
            raise Skipped("needs root and the program ss")
        port = self.fleet.port
        for end in ("sport", "dport"):
            done = subprocess.run(
                ["ss", "-K", "-H", "-t", "state", "established", end, "=", f":{port}"],
                capture_output=True,
                text=True,
                check=False,
            )
            if end == "sport" and not done.stdout.strip():
                raise Skipped(f"ss -K cuts nothing: {done.stderr.strip()}")

    # --- files

    def _tail(self, fault, rng):
        """The server goes on from an earlier version, and says what it cut."""
        self.fleet.kill(SERVER)
        self.say("  " + damage_tail(rng, self.fleet.state_dir))
        self._restart_all(fault)
        server = self.fleet.current[SERVER]
        self.fleet.wait_for(
            lambda: re.search(r"damaged at its end: version \d+ .*offset \d+", server.err),
            "the server to say what it cut",
        )

    def _flip(self, fault, rng):
        """The server does not start on a log that is damaged in its middle."""
        self.fleet.kill(SERVER)
        flip = flip_inside(rng, self.fleet.state_dir)
        if flip is not None:
            self.say(f"  a bit is turned over at {flip.offset} of {flip.path}")
            server = self.fleet.start(SERVER)
            code = server.wait()
            said = server.err
            if code == 0 or flip.path not in said or not re.search(r"offset \d+", said):
                raise AssertionError(
                    f"the server ended with {code}, and names not both {flip.path} and an offset"
                )
            flip.undo()
        self._restart_all(fault)

    def _snapshot(self, fault, rng):
        """The snapshot before a damaged one is taken."""
        self.fleet.kill(SERVER)
        folder = os.path.join(self.fleet.state_dir, "snapshots")
        flip = flip_newest(rng, folder, ".safetensors")
        self._restart_all(fault)
        if flip is not None:
            self.say(f"  a bit is turned over at {flip.offset} of {flip.path}")
            server = self.fleet.current[SERVER]
            self.fleet.wait_for(
                lambda: "is passed over" in server.err, "the server to name the damaged snapshot"
            )

    def _worker_state(self, fault, rng):
        """The saved state before a damaged one is taken."""
        [victim] = fault.victims
        self.fleet.kill(victim)
        flip = flip_newest(rng, self.fleet.path(victim + "/worker"), ".state")
        if flip is not None:
            self.say(f"  a bit is turned over at {flip.offset} of {flip.path}")
        self._restart_all(fault)

    def _full(self, fault, rng):
        """Training pauses, says path and bytes, and goes on by itself when there is room; also
        when the server is killed meanwhile."""
        disk = os.path.dirname(self.fleet.state_dir)
        if not os.path.ismount(disk):
            raise Skipped("needs the right to mount a tmpfs")
        ballast = os.path.join(disk, "ballast")
        said = self.fleet.current[SERVER].err.count("the training pauses")
        _fill(ballast)
        self._wait_for_pause(said)
        if rng.random() < 0.5:
            self.say("  the server is killed and started again")
            self.fleet.kill(SERVER)
            self.fleet.start(SERVER)
            self._wait_for_pause(0)
        server = self.fleet.current[SERVER]
        self._wait_for_standstill(ballast)
        goes_on = server.err.count("there is room again")
        os.remove(ballast)
        self.fleet.wait_for(
            lambda: server.err.count("there is room again") > goes_on,
            "the server to find that there is room",
        )

    def _wait_for_standstill(self, ballast):
        """A server that removes files it needs no more makes room, and may go on for a while."""
        for _ in range(MOST_FILLS):
            # Workers may still be sending the payloads of the step that is open.
            paused_at = self.fleet.version() + 1
            time.sleep(FULL_SECONDS)
            if self.fleet.version() <= paused_at:
                return
            _fill(ballast)
        raise AssertionError("steps are made although there is no room for them")

    def _wait_for_pause(self, said):
        """More than the times that it was said before."""
        server = self.fleet.current[SERVER]
        lines = self.fleet.wait_for(
            lambda: re.findall(r"the training pauses: .*", server.err)[said:],
            "the server to say that it pauses",
        )
        self.say("  " + lines[0])
        if self.fleet.state_dir not in lines[0] or not re.search(r"\d+ bytes", lines[0]):
            raise AssertionError(f"neither path nor bytes are named: {lines[0]}")


def _fill(path):
    with open(path, "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return  # full


def mount_disk(folder):
    """A small disk there, which needs own_mounts_command."""
    os.makedirs(folder)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True
    )


def unmount_disk(folder, copy):
    """Its files go on as a copy."""
    shutil.copytree(folder, copy)
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


def own_mounts_command():
    """What to put before a command that mounts: nothing of it is left when it ends.  None when
    that is not allowed."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return None
    command = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    allowed = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if allowed.returncode == 0 else None

# SPDX-License-Identifier: Apache-2.0
"""A cluster of network namespaces on this machine: every host behind a link of its own.

    with NetCluster(["server", "worker-0"]) as cluster:
        cluster.shape("100mbit")
        subprocess.Popen(cluster.command("server", "/bin/program", "--flag"))

Each host has an eth0 with an address of its own, and all hang on one bridge, which has a namespace,
too: nothing of the machine's own network is touched.  A link is as slow in either direction.
Needs root, and iproute2's `ip` and `tc`.
"""

import json
import os
import re
import shutil
import subprocess

PREFIX = "gwbench"
SWITCH = "switch"
BURSTS = {"100mbit": "32k", "1gbit": "128k"}  # small against the bytes of a step: or no limit
QUEUE = "100ms"  # of a link: what waits longer is dropped


class NetClusterError(Exception):
    """What is missing, and what to do about it."""


def run(*command):
    """The command's output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise NetClusterError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout


def require():
    """NetClusterError when this machine cannot make such clusters."""
    if os.geteuid() != 0:
        raise NetClusterError("network namespaces need root: run this program as root")
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise NetClusterError(f"there is no `{program}`: install the package iproute2")


def remove_left_over():
    """What runs that were killed have left behind."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        made_by = re.fullmatch(rf"{PREFIX}-(\d+)-.*", name)
        if made_by and not os.path.exists(f"/proc/{made_by.group(1)}"):
            run("ip", "netns", "del", name)


class NetCluster:
    """All of it is gone after the `with`, whatever ended that."""

    def __init__(self, hosts):
        self.hosts = list(hosts)
        self.spaces = []  # made so far

    def __enter__(self):
        require()
        remove_left_over()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind, error, trace):
        self._remove()

    def space(self, host):
        return f"{PREFIX}-{os.getpid()}-{host}"

    def address(self, host):
        return f"10.77.0.{self.hosts.index(host) + 1}"

    def command(self, host, *command):
        """The same command on that host; the process is the command's own, not one above it."""
        return [shutil.which("ip"), "netns", "exec", self.space(host), *command]

    def shape(self, rate):
        """All links, both ways: one of BURSTS, or "none" for no limit."""
        for index, host in enumerate(self.hosts):
            self._shape(self.space(host), "eth0", rate)
            self._shape(self.space(SWITCH), f"port{index}", rate)

    def bytes_through(self, host):
        """(to the host, from the host), since the cluster was made."""
        shown = run("ip", "-n", self.space(host), "-statistics", "-json", "link", "show", "eth0")
        counts = json.loads(shown)[0]["stats64"]
        return counts["rx"]["bytes"], counts["tx"]["bytes"]

    def _make(self):
        for host in [SWITCH, *self.hosts]:
            run("ip", "netns", "add", self.space(host))
            self.spaces.append(self.space(host))
            run("ip", "-n", self.space(host), "link", "set", "lo", "up")
        switch = self.space(SWITCH)
        run("ip", "-n", switch, "link", "add", "name", "bridge0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "bridge0", "up")
        for index, host in enumerate(self.hosts):
            port, space = f"port{index}", self.space(host)
            ends = ["netns", switch, "type", "veth", "peer", "name", "eth0", "netns", space]
            run("ip", "link", "add", "name", port, *ends)
            run("ip", "-n", switch, "link", "set", port, "master", "bridge0", "up")
            run("ip", "-n", space, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")

    def _shape(self, space, device, rate):
        shown = run("tc", "-n", space, "qdisc", "show", "dev", device)
        if " tbf " in f" {shown} ":
            run("tc", "-n", space, "qdisc", "del", "dev", device, "root")
        if rate == "none":
            return
        limit = ["tbf", "rate", rate, "burst", BURSTS[rate], "latency", QUEUE]
        run("tc", "-n", space, "qdisc", "add", "dev", device, "root", *limit)

    def _remove(self):
        while self.spaces:  # the links go with their namespaces
            subprocess.run(["ip", "netns", "del", self.spaces.pop()], check=False)

# SPDX-License-Identifier: Apache-2.0
"""Plans of faults: what happens to whom and when, a function of the seed alone.

A fault comes when training has reached its version, so that faults are spread evenly over the run
however fast the machine is.  One that follows another comes while that one's victims recover.
"""

import dataclasses
import random

SERVER = "server"
# What is done beside SIGKILL; each stands in faults.py.
STOPS = ("stop_worker", "stop_server")  # SIGSTOP, and SIGCONT after longer than a lease
TERMS = ("term_worker", "term_server")  # SIGTERM, and started again
DAMAGES = ("tail", "flip", "snapshot", "worker_state")  # to files, between kill and restart
KINDS = STOPS + TERMS + DAMAGES + ("cut", "full")

FIRST_VERSION = 3  # from when on the members are known
LAST_STEPS = 15  # a fault within them might come after the end
MOST_WAIT = 0.05  # seconds, after the version is reached
MOST_DOWNTIME = 1.0
MOST_FOLLOW = 0.4  # seconds, after the restart of what was killed before


@dataclasses.dataclass
class Fault:
    kind: str  # "kill", or one of KINDS
    victims: list  # names of processes
    downtimes: list  # seconds, one a victim
    wait: float  # seconds, after the version is reached, or after the fault before this one
    version: int = 0  # 0: follows the one before
    seed: int = 0  # of what else is random

    def __str__(self):
        when = f"version {self.version}" if self.version else "at once"
        who = ", ".join(f"{v} ({d:.2f} s)" for v, d in zip(self.victims, self.downtimes))
        return f"{self.kind} {who}, {when} + {self.wait:.3f} s"


def names_of(workers):
    return [f"worker-{i}" for i in range(workers)]


def servers_of(shards):
    return [SERVER, *(f"{SERVER}-{k}" for k in range(1, shards))]


def default_steps(kills, kinds):
    return 60 + 8 * kills + 15 * len(kinds)


def make_plan(seed, kills, kinds, steps, workers, shards=1):
    """`kills` SIGKILLs and one fault of each of `kinds`, which may be repeated; in the order in
    which they happen."""
    rng = random.Random(seed)
    groups = [[_fault(rng, kind, [_victim(rng, kind, workers)])] for kind in kinds]
    while kills > 0:
        group = _kills(rng, kills, workers, shards)
        kills -= sum(len(fault.victims) for fault in group)
        groups.append(group)
    rng.shuffle(groups)
    span = steps - FIRST_VERSION - LAST_STEPS
    if groups and span < len(groups):
        least = FIRST_VERSION + LAST_STEPS + len(groups)
        raise ValueError(f"--steps={steps} is too few for this plan: it needs at least {least}")
    for i, group in enumerate(groups):
        group[0].version = FIRST_VERSION + int((i + rng.random()) * span / len(groups))
    return [fault for group in groups for fault in group]


def count_kills(plan):
    return sum(len(fault.victims) for fault in plan if fault.kind == "kill")


def _kills(rng, most, workers, shards):
    """A kill of one or of several, and often another while they recover; at most `most`."""
    servers = servers_of(shards)
    everybody = [*servers, *names_of(workers)]
    group = []
    again = True
    while again and most > 0:
        several = rng.random() < 0.2
        number = min(most, rng.randint(2, len(everybody)) if several else 1)
        same = bool(group) and rng.random() < 0.5
        # A server is one of a few processes, and the one with the most to lose.
        victims = (
            group[-1].victims[:number]
            if same
            else [servers[0] if shards == 1 else rng.choice(servers)]
            if number == 1 and rng.random() < 0.25
            else rng.sample(everybody, number)
        )
        group.append(_fault(rng, "kill", victims, follows=bool(group)))
        most -= len(victims)
        again = rng.random() < 0.25
    return group


def _fault(rng, kind, victims, follows=False):
    return Fault(
        kind=kind,
        victims=victims,
        downtimes=[rng.uniform(0, MOST_DOWNTIME) for _ in victims],
        wait=rng.uniform(0, MOST_FOLLOW if follows else MOST_WAIT),
        seed=rng.getrandbits(32),
    )


def _victim(rng, kind, workers):
    if kind in ("stop_worker", "term_worker", "worker_state"):
        return rng.choice(names_of(workers))
    return SERVER

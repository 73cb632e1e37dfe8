# SPDX-License-Identifier: Apache-2.0
"""gradwire log and gradwire snapshot: they tell what a state directory holds, and what is wrong."""

import ctypes
import glob
import json
import math
import os
import re
import shutil
import struct
import tempfile
import unittest

from cluster import Cluster, job_text, run_program, saddle, wait_until
from safetensors_file import read_tensors

STEPS = 60
OLDEST = 20  # the first snapshot, and with it where the log begins
JOB = job_text(
    saddle(dimension=1000, start=0.5, gamma=0.1),
    steps=STEPS,
    workers=2,
    name="kept",
    codec="top_k:0.05",
    optimizer="adam:lr=0.01",
    downlink="compressed",
    snapshot_every=20,
)


def xxh3_128(data):
    """By the library itself."""

    class Hash(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_128bits.restype = Hash
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    found = library.XXH3_128bits(data, len(data))
    return f"{found.high:016x}{found.low:016x}"


def verify(state):
    return run_program("gradwire", "log", "verify", f"--state_dir={state}")


def show(state, *flags):
    return run_program("gradwire", "log", "show", f"--state_dir={state}", *flags)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def contents(state):
    paths = (os.path.join(folder, name) for folder, _, names in os.walk(state) for name in names)
    return {path: read(path) for path in paths}


class StateDirectoryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="gradwire-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        for delay in (10, 50, 250):  # a snapshot is left out while the one before is being written
            with Cluster(JOB, ["--snapshots=10"]) as cluster:
                cluster.start(2, f"--step_delay={delay}ms")
                cls.summary = cluster.finish()
                cls.finished = os.path.join(cls.folder, f"finished-{delay}")
                shutil.copytree(cluster.path("state"), cls.finished)
            if os.path.exists(f"{cls.finished}/snapshots/000000000040.manifest"):
                return
        raise AssertionError("no snapshot of version 40")

    def copy(self):
        state = tempfile.mkdtemp(dir=self.folder)
        return shutil.copytree(self.finished, state, dirs_exist_ok=True)

    def test_show_has_a_line_for_every_record(self):
        with Cluster(JOB.replace("snapshot_every: 20", "snapshot_every: 1000")) as cluster:
            cluster.start(2)
            cluster.finish()
            self.check_show(cluster.path("state"))

    def check_show(self, state):
        shown = show(state)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertRegex(
            shown.stdout, r'\Ajob "kept", schema xxh3:[0-9a-f]{16}, apply revision 1\n'
        )
        segment = r"^segment (\S+): from version (\d+), (\d+) bytes$"
        segments = re.findall(segment, shown.stdout, re.M)
        self.assertEqual(
            {path: int(size) for path, _, size in segments},
            {path: os.path.getsize(path) for path in glob.glob(f"{state}/log/*.log")},
        )
        lines = re.findall(r"^version=.*$", shown.stdout, re.M)
        self.assertEqual(
            [int(line.split()[0].removeprefix("version=")) for line in lines],
            list(range(STEPS + 1)),
        )
        self.assertIn("begins with 2 members", lines[0])
        for line in lines[1:]:
            self.assertRegex(line, r" used=2/2 rate=0\.01 loss=\S+ payload=\d+ server=[1-9]\d*")
        self.assertTrue(lines[-1].endswith(" finished"), lines[-1])
        some = show(state, "--from=17", "--to=23")
        self.assertEqual(re.findall(r"^version=.*$", some.stdout, re.M), lines[17:24])

    def test_verify_replays_to_what_the_run_ended_with(self):
        before = contents(self.finished)
        verified = verify(self.finished)
        self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertEqual(
            verified.stdout,
            f"ok versions {OLDEST}..{STEPS}, snapshots 20 40 60, "
            f"parameters {self.summary['parameters']}\n",
        )
        self.assertEqual(contents(self.finished), before)

    def test_both_work_beside_a_running_server(self):
        job = JOB.replace(f"steps: {STEPS}", "steps: 100000")
        with Cluster(job) as cluster:
            cluster.start(2, "--step_delay=2ms")
            reached = 0
            for _ in range(8):
                cluster.wait_for_step("worker-0", reached + 21)
                for command in (show, verify):
                    ended = command(cluster.path("state"))
                    self.assertEqual(ended.returncode, 0, ended.stderr)
                reached = int(re.search(r"ok versions \d+\.\.(\d+),", ended.stdout)[1])
            self.assertGreater(reached, 160)
            self.assertTrue(cluster.server.running())

    def test_verify_finds_a_flipped_bit_wherever_it_is(self):
        state = self.copy()
        [segment] = glob.glob(f"{state}/log/{OLDEST:012}.log")
        snapshot = f"{state}/snapshots/000000000020"
        size = os.path.getsize(segment)
        places = [(segment, offset) for offset in (3, 30, 56, 56 + 20, size // 2, size - 1)]
        newest = max(glob.glob(f"{state}/log/*.log"))
        places.append((newest, os.path.getsize(newest) - 1))  # in the last record
        for path in (f"{snapshot}.safetensors", f"{snapshot}.server", f"{state}/final.safetensors"):
            places.append((path, os.path.getsize(path) - 5))
        places.append((f"{snapshot}.safetensors", 100))
        places.append((f"{snapshot}.manifest", 2))
        for path, offset in places:
            with self.subTest(path=os.path.basename(path), offset=offset):
                data = read(path)
                write(path, data[:offset] + bytes([data[offset] ^ 4]) + data[offset + 1 :])
                verified = verify(state)
                self.assertEqual(verified.returncode, 2, verified.stdout)
                self.assertIn(path, verified.stderr)
                self.assertNotIn("ok", verified.stdout)
                if path.endswith(".log"):
                    self.assertRegex(verified.stderr, r"at offset \d+, version \d+: ")
                write(path, data)
        self.assertEqual(verify(state).returncode, 0)

    def test_a_snapshot_that_only_the_replay_tells_from_the_right_one_is_found(self):
        state = self.copy()
        path = f"{state}/snapshots/000000000040.safetensors"
        data = bytearray(read(path))
        first = 8 + struct.unpack_from("<Q", data)[0]  # of the parameters
        data[first] ^= 1
        write(path, data)
        with open(f"{state}/snapshots/000000000040.manifest", encoding="utf-8") as file:
            manifest = json.load(file)
        before = manifest["snapshot"]["xxh3_128"]
        self.assertEqual(before, xxh3_128(read(path.replace(state, self.finished))))
        manifest["snapshot"]["xxh3_128"] = xxh3_128(bytes(data))
        with open(f"{state}/snapshots/000000000040.manifest", "w", encoding="utf-8") as file:
            json.dump(manifest, file)
        self.assertIn("agrees", run_program("gradwire", "snapshot", "inspect", path).stdout)
        verified = verify(state)
        self.assertEqual((verified.returncode, verified.stdout), (2, ""))
        self.assertRegex(verified.stderr, rf"{path}: .* but the log replays to xxh3:[0-9a-f]+;")

    def test_a_record_that_is_cut_is_no_damage(self):
        state = self.copy()
        newest = max(glob.glob(f"{state}/log/*.log"))
        data = read(newest)
        for cut in (1, 40):
            write(newest, data[:-cut])
            verified = verify(state)
            self.assertEqual(verified.returncode, 0, verified.stderr)
            self.assertIn("an unfinished record at the end: " + newest, verified.stdout)
            self.assertIn(f"the snapshot of version {STEPS} is whole, but", verified.stdout)
            self.assertIn(f"ok versions {OLDEST}..{STEPS - 1}, ", verified.stdout)
            self.assertIn("an unfinished record at the end: " + newest, show(state).stdout)
            self.assertEqual(read(newest), data[:-cut])  # it only reads

    def test_a_missing_segment_is_named(self):
        state = self.copy()
        segments = sorted(glob.glob(f"{state}/log/*.log"))
        self.assertGreater(len(segments), 2)
        os.remove(segments[1])
        verified = verify(state)
        self.assertEqual(verified.returncode, 2)
        self.assertIn(f"{segments[2]}: at offset 0", verified.stderr)
        self.assertIn("are missing before this segment", verified.stderr)

    def test_a_log_that_begins_later_is_replayed_from_the_snapshot(self):
        state = self.copy()
        os.remove(min(glob.glob(f"{state}/log/*.log")))
        verified = verify(state)
        self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertIn(f"ok versions 40..{STEPS}, ", verified.stdout)
        self.assertIn(self.summary["parameters"], verified.stdout)
        os.remove(f"{state}/snapshots/000000000040.manifest")
        self.assertIn(f"ok versions {STEPS}..{STEPS}, snapshots 20 {STEPS}, ", verify(state).stdout)
        os.remove(f"{state}/snapshots/{STEPS:012}.manifest")
        verified = verify(state)
        self.assertEqual((verified.returncode, verified.stdout), (2, ""))
        self.assertIn("put the missing files back", verified.stderr)

    def test_a_snapshot_of_another_history_is_found(self):
        state = self.copy()
        with Cluster(JOB, ["--snapshots=10"]) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            for name in ("other-0", "other-1"):  # same parameters, but other members in the log
                cluster.start_worker(name, "--step_delay=10ms")
                wait_until(lambda: cluster.has_joined(name), f"{name} to join")
            self.assertEqual(cluster.finish()["parameters"], self.summary["parameters"])
            for path in glob.glob(f"{cluster.path('state')}/snapshots/000000000020.*"):
                shutil.copy(path, f"{state}/snapshots/")
        verified = verify(state)
        self.assertEqual(verified.returncode, 2)
        self.assertRegex(
            verified.stderr,
            rf"{state}/snapshots/000000000020.safetensors: version 20 has the chain hash [0-9a-f]+ "
            "in the snapshot and [0-9a-f]+ on the log",
        )

    def test_inspect_prints_what_the_file_holds(self):
        path = f"{self.finished}/final.safetensors"
        tensors, metadata = read_tensors(read(path))
        shape, values = tensors["x"]
        shown = run_program("gradwire", "snapshot", "inspect", path)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for name, text in (
            ("version", str(STEPS)),
            ("chain hash", metadata["gradwire.chain_hash"]),
            ("schema hash", metadata["gradwire.schema_hash"]),
            ("apply revision", "1"),
            ("job", "kept"),
            ("manifest", "none"),
        ):
            self.assertRegex(shown.stdout, rf"(?m)^{name} +{text}$")
        norm = math.sqrt(sum(value * value for value in values))
        self.assertIn(
            f"x F32 {shape} min={min(values):.6g} max={max(values):.6g} norm={norm:.6g}\n",
            shown.stdout,
        )
        snapshot = run_program(
            "gradwire", "snapshot", "inspect", f"{self.finished}/snapshots/000000000040.safetensors"
        )
        self.assertRegex(snapshot.stdout, r"(?m)^manifest +agrees$")
        self.assertRegex(snapshot.stdout, r"(?m)^optimizer\.\S+/x F32 \[1000\] min=")
        self.assertRegex(snapshot.stdout, r"(?m)^optimizer\.scalars F64 \[2\] min=")

    def test_inspect_refuses_what_is_damaged(self):
        state = self.copy()
        path = f"{state}/snapshots/000000000040.safetensors"
        data = read(path)
        header = struct.unpack_from("<Q", data)[0]
        for bad in (
            data[:-1],
            data + b"x",
            data[:7],
            struct.pack("<Q", 1 << 60) + data[8:],
            data[:8] + b"[" + data[9:],
            data[: 8 + header] + b"\0\0\xc0\x7f" + data[12 + header :],  # a NaN
        ):
            write(path, bad)
            shown = run_program("gradwire", "snapshot", "inspect", path)
            self.assertEqual(shown.returncode, 2, shown.stdout)
            self.assertIn(path, shown.stderr)
        self.assertIn(" not_finite=1\n", shown.stdout)

    def test_wrong_arguments_are_named(self):
        for arguments, text in (
            (["log", "verify"], "--state_dir"),
            (["log", "show", f"--state_dir={self.folder}"], "no state directory"),
            (["log", "shown"], "log shown"),
            (["snapshot", "inspect"], "snapshot inspect"),
            (["snapshot", "inspect", f"{self.folder}/none"], f"{self.folder}/none"),
        ):
            with self.subTest(arguments=arguments):
                ended = run_program("gradwire", *arguments)
                self.assertEqual(ended.returncode, 1)
                self.assertIn(text, ended.stderr)


if __name__ == "__main__":
    unittest.main()

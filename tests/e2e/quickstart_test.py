# SPDX-License-Identifier: Apache-2.0
"""deploy/quickstart from beginning to end, and its model in PyTorch's hands."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from cluster import FASHION_MNIST, PATIENCE, read_text, wait_until
from safetensors_file import read_tensors

try:
    import torch
except ImportError:
    torch = None

QUICKSTART = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "quickstart")
RESULT = re.compile(
    r"result accuracy=(0\.\d{4}) steps=(\d+) up_bytes_per_step=(\d+) down_bytes_per_step=(\d+)"
    r" dense_bytes_per_step=(\d+) saving_up=(\d+\.\d) saving_down=(\d+\.\d)"
    r" parameters=(xxh3:[0-9a-f]{16})"
)


def command(*options):
    return [QUICKSTART, f"--bin={os.environ['GRADWIRE_BIN']}", *options]


def run(*options, cwd="/"):
    return subprocess.run(
        command(*options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        cwd=cwd,
    )


def processes_of_session(session):
    """Their command lines."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = read_text(f"/proc/{pid}/stat")
            if int(stat.rpartition(")")[2].split()[3]) == session:
                found.append(read_text(f"/proc/{pid}/cmdline").replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


def accuracy_in_torch(model_path, test_images, test_labels):
    """Of a 784-H-10 network, loaded by its names, as PyTorch computes it."""
    with open(model_path, "rb") as file:
        tensors, _ = read_tensors(file.read())
    state = {name: torch.tensor(values).reshape(shape) for name, (shape, values) in tensors.items()}
    hidden = state["layer1.weight"].shape[0]
    network = torch.nn.Sequential()
    network.add_module("layer1", torch.nn.Linear(784, hidden))
    network.add_module("relu", torch.nn.ReLU())
    network.add_module("layer2", torch.nn.Linear(hidden, 10))
    network.load_state_dict(state, strict=True)
    with gzip.open(test_images) as images, gzip.open(test_labels) as labels:
        inputs = torch.frombuffer(bytearray(images.read()[16:]), dtype=torch.uint8)
        targets = torch.frombuffer(bytearray(labels.read()[8:]), dtype=torch.uint8)
    with torch.no_grad():
        predicted = network(inputs.reshape(-1, 784).float() / 255).argmax(dim=1)
    return (predicted == targets).float().mean().item()


class QuickstartTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="gradwire-quickstart-")
        self.addCleanup(shutil.rmtree, self.folder)

    def test_it_trains_prints_the_result_and_keeps_what_it_made(self):
        done = run("--steps=50", "--workers=3", "--model=mlp:32", "--out=kept", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        result = RESULT.fullmatch(done.stdout.splitlines()[-1])
        self.assertIsNotNone(result, done.stdout)
        out = os.path.join(self.folder, "kept")
        self.assertEqual(
            sorted(os.listdir(out)),
            sorted(
                [
                    "job.textproto",
                    "server.log",
                    "summary.json",
                    "model.safetensors",
                    "worker-0.log",
                    "worker-1.log",
                    "worker-2.log",
                ]
            ),
        )
        self.check_result_against_summary(
            result, json.loads(read_text(os.path.join(out, "summary.json")))
        )
        if torch is not None:
            accuracy = accuracy_in_torch(
                os.path.join(out, "model.safetensors"),
                f"{FASHION_MNIST}/t10k-images-idx3-ubyte.gz",
                f"{FASHION_MNIST}/t10k-labels-idx1-ubyte.gz",
            )
            # Sums in another order may turn a few of 10,000 near-ties.
            self.assertAlmostEqual(accuracy, float(result[1]), delta=0.001)

    def check_result_against_summary(self, result, summary):
        up, down = (summary[link]["wire_bytes_per_step"] for link in ("uplink", "downlink"))
        dense = 4 * (784 * 32 + 32 + 32 * 10 + 10)
        self.assertEqual(int(result[2]), 50)
        self.assertAlmostEqual(int(result[3]), up, delta=0.51)
        self.assertAlmostEqual(int(result[4]), down, delta=0.51)
        self.assertEqual(int(result[5]), dense)
        self.assertAlmostEqual(float(result[6]), dense / up, delta=0.1)
        self.assertAlmostEqual(float(result[7]), dense / down, delta=0.1)
        self.assertEqual(result[8], summary["parameters"])

    def test_bad_options_end_it_with_1_and_a_reason(self):
        for option, reason in [
            ("--nonsense=1", "--nonsense=1"),
            ("--workers=none", "none"),
            ("--codec=random_k:2", "ratio"),
            ("--model=transformer", "transformer"),
            ("--steps=none", "none"),
            ("--optimizer=sgd:lr=x", "lr"),
        ]:
            done = run(option)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(reason, done.stderr)

    def test_when_no_worker_can_work_it_shows_why(self):
        done = run("--workers=2", "--data=/nowhere")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("/nowhere", done.stderr)

    def test_an_interrupt_ends_all_that_it_started(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            out = os.path.join(self.folder, f"signal-{number}")
            quickstart = subprocess.Popen(
                command("--workers=2", "--steps=1000000", f"--out={out}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                wait_until(
                    lambda: os.path.exists(os.path.join(out, "worker-1.log"))
                    and any("worker-1" in line for line in processes_of_session(quickstart.pid)),
                    "worker-1 to start",
                )
                quickstart.send_signal(number)
                self.assertEqual(quickstart.wait(60), 1)
                self.assertEqual(processes_of_session(quickstart.pid), [])
            finally:
                quickstart.kill()
                quickstart.wait()


if __name__ == "__main__":
    unittest.main()

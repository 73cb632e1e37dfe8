# SPDX-License-Identifier: Apache-2.0
"""Bad job files, bad data, wrong addresses: exit code 2 where another try will not help, else 1,
and a message that names the thing."""

import gzip
import os
import shutil
import socket
import struct
import unittest

from cluster import FASHION_MNIST, Cluster, job_text, mlp, run_program, saddle

SADDLE = saddle(dimension=10)
# name: (job file, its name, what the message must contain)
BAD_JOBS = {
    "unknown field": (job_text(SADDLE, steps=5) + "nonsense: 1\n", "job.textproto", ["nonsense"]),
    "wrong type": (
        job_text(SADDLE, steps=5).replace("steps: 5", 'steps: "many"'),
        "job.textproto",
        ["job.textproto", "2"],
    ),  # file and line
    "json, unknown field": ('{"steps": 5, "nonsense": 1}', "job.json", ["nonsense"]),
    "json, wrong type": ('{"steps": "many"}', "job.json", ["steps"]),
    "neither ending": (job_text(SADDLE, steps=5), "job.yaml", ["job.yaml", ".textproto", ".json"]),
    "no model": ("steps: 5\n", "job.textproto", ["model"]),
    "no steps": (job_text(SADDLE, steps=0), "job.textproto", ["steps"]),
    "ratio 0": (job_text(SADDLE, steps=5, codec="random_k:0"), "job.textproto", ["ratio", "0"]),
    "ratio 2": (job_text(SADDLE, steps=5, codec="top_k:2"), "job.textproto", ["ratio", "2"]),
    "no such codec": (job_text(SADDLE, steps=5, codec="zip"), "job.textproto", ["zip", "random_k"]),
    "dimension beyond the limit": (
        job_text(saddle(dimension=2**32), steps=5),
        "job.textproto",
        ["dimension", str(2**32), str(2**31)],
    ),
}


def idx_images(count, claimed=None):
    return struct.pack(">IIII", 0x803, claimed or count, 28, 28) + bytes(784 * count)


def idx_labels(count):
    return struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count))


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def good_data(folder):
    for part in ("train", "t10k"):
        write(os.path.join(folder, f"{part}-images-idx3-ubyte"), idx_images(20))
        write(os.path.join(folder, f"{part}-labels-idx1-ubyte"), idx_labels(20))


def cut_gzip(folder):
    os.remove(os.path.join(folder, "train-images-idx3-ubyte"))
    noise = os.urandom(784 * 20)  # does not compress: the cut falls into the pixels
    whole = gzip.compress(idx_images(20)[:16] + noise)
    write(os.path.join(folder, "train-images-idx3-ubyte.gz"), whole[:-1000])


def spoil(name, data):
    return lambda folder: write(os.path.join(folder, name), data)


# name: (what is done to a good folder, what the message must contain)
BAD_DATA = {
    "a file is missing": (
        lambda folder: os.remove(os.path.join(folder, "t10k-labels-idx1-ubyte")),
        ["t10k-labels-idx1-ubyte"],
    ),
    "truncated": (
        spoil("train-images-idx3-ubyte", idx_images(10, claimed=20)),
        ["train-images-idx3-ubyte"],
    ),
    "truncated gzip": (cut_gzip, ["train-images-idx3-ubyte.gz", "truncated"]),
    "not IDX": (
        spoil("train-images-idx3-ubyte", b"These are not the images. " * 10),
        ["train-images-idx3-ubyte"],
    ),
    "empty": (spoil("train-labels-idx1-ubyte", b""), ["train-labels-idx1-ubyte"]),
    "fewer labels than images": (spoil("train-labels-idx1-ubyte", idx_labels(19)), ["19", "20"]),
    "absurd size": (
        spoil("train-images-idx3-ubyte", struct.pack(">IIII", 0x803, 2**31, 2**15, 2**15)),
        ["train-images-idx3-ubyte"],
    ),
}


class BadInputTest(unittest.TestCase):
    def expect_refusal(self, run, *texts, wanted=2):
        """`run`: a CompletedProcess or (code, stderr)."""
        code, err = run if isinstance(run, tuple) else (run.returncode, run.stderr)
        self.assertEqual(code, wanted, err)
        for text in texts:
            self.assertIn(text, err)
        self.assertNotIn("terminate called", err)

    def test_server_refuses_bad_job_files(self):
        for name, (text, file_name, expected) in BAD_JOBS.items():
            with self.subTest(name), Cluster(text, job_name=file_name) as cluster:
                server = cluster.start_server()
                self.expect_refusal((server.wait(30), server.err), *expected)
                self.assertNotIn("listening on", server.out)

    def test_server_names_a_job_file_that_is_not_there(self):
        self.expect_refusal(
            run_program("gradwire-server", "--job=/nowhere/job.textproto", "--listen=127.0.0.1:0"),
            "/nowhere/job.textproto",
        )

    def test_server_refuses_a_taken_port(self):
        with Cluster(job_text(SADDLE, steps=5)) as first, Cluster(
            job_text(SADDLE, steps=5)
        ) as second:
            first.start_server()
            address = first.wait_for_address()
            server = second.start_server(f"--listen={address}")
            self.expect_refusal((server.wait(30), server.err), address, wanted=1)
            self.assertTrue(first.server.running())

    def test_programs_refuse_unknown_flags_kernels_and_arguments(self):
        for program in ("gradwire-server", "gradwire-worker"):
            self.expect_refusal(run_program(program, "--nonsense=1"), "nonsense")
            self.expect_refusal(run_program(program, "stray"), "stray")
        with Cluster(job_text(SADDLE, steps=5)) as cluster:
            server = cluster.start_server("--kernel=abacus")
            self.expect_refusal((server.wait(30), server.err), "abacus", "scalar")

    def test_worker_refuses_bad_data(self):
        with Cluster(job_text(mlp(4), steps=1000)) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            folder = cluster.path("data")
            for number, (name, (spoil_folder, expected)) in enumerate(BAD_DATA.items()):
                with self.subTest(name):
                    shutil.rmtree(folder, ignore_errors=True)
                    os.mkdir(folder)
                    good_data(folder)
                    spoil_folder(folder)
                    worker = cluster.start_worker(f"worker-{number}", f"--data={folder}")
                    self.expect_refusal((worker.wait(30), worker.err), *expected)
            worker = cluster.start_worker("nowhere", "--data=/nowhere")
            self.expect_refusal((worker.wait(30), worker.err), "/nowhere")
            self.assertTrue(cluster.server.running())

    def test_worker_refuses_data_that_do_not_fit_the_model(self):
        model = "mlp { inputs: 100 hidden: [4] classes: 10 }"
        with Cluster(job_text(model, steps=5)) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            worker = cluster.start_worker("worker-0", f"--data={FASHION_MNIST}")
            self.expect_refusal((worker.wait(60), worker.err), "100", "784")

    def test_worker_says_which_server_is_not_there_and_how_long_it_tried(self):
        with socket.socket() as taken:  # bound and not listening: connections are refused
            taken.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            self.expect_refusal(
                run_program(
                    "gradwire-worker",
                    f"--server={address}",
                    "--worker_id=w",
                    "--give_up_after=2s",
                    seconds=30,
                ),
                address,
                "2",
                wanted=1,
            )
            for command in (["status"], ["export", "--out=/nowhere/model.safetensors"]):
                self.expect_refusal(
                    run_program("gradwire", *command, f"--server={address}"), address, wanted=1
                )

    def test_worker_of_another_job_is_refused(self):
        with Cluster(job_text(SADDLE, steps=5)) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            other = cluster.path("other.textproto")
            write(other, job_text(saddle(dimension=11), steps=5).encode())
            worker = cluster.start_worker("worker-0", f"--job={other}")
            self.expect_refusal((worker.wait(30), worker.err), "schema")
            same = cluster.start_worker("worker-1", f"--job={cluster.job_path}")
            self.assertEqual(same.wait(), 0, same.err)
            self.assertEqual(cluster.server.wait(), 0)

    def test_a_second_worker_of_the_same_name_is_refused(self):
        with Cluster(job_text(SADDLE, steps=5, workers=2)) as cluster:
            cluster.start(1)
            again = cluster.start_worker("again", f"--worker_id=worker-0")
            self.expect_refusal((again.wait(30), again.err), "worker-0", wanted=1)
            self.assertTrue(cluster.workers["worker-0"].running())


if __name__ == "__main__":
    unittest.main()

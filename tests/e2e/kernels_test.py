# SPDX-License-Identifier: Apache-2.0
"""The choice of kernels, at the server or at any worker, does not change one bit of a run."""

import unittest

from cluster import FASHION_MNIST, job_text, mlp, run_job

JOBS = {
    "random_k": dict(
        codec="random_k:0.05,values=bf16",
        optimizer="sgd:lr=0.1,momentum=0.9",
        perturbation="gaussian:std=0.001",
    ),
    "top_k": dict(
        codec="top_k:0.02,values=fp16", optimizer="sgd:lr=0.1", perturbation="gaussian:std=0.001"
    ),
}


def machine_has(feature):
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return any(line.startswith("flags") and feature in line.split() for line in file)


@unittest.skipUnless(machine_has("avx2"), "this processor has no AVX2")
class KernelsTest(unittest.TestCase):
    def test_all_scalar_all_avx2_and_mixed_end_with_one_hash(self):
        runs = {  # server, then workers 0, 1, 2
            "scalar": ["scalar"] * 4,
            "avx2": ["avx2"] * 4,
            "mixed": ["avx2", "scalar", "avx2", "scalar"],
        }
        for name, fields in JOBS.items():
            job = job_text(mlp(24), steps=40, workers=3, batch=16, **fields)
            hashes = set()
            for kernels in runs.values():
                summary, workers, _, _ = run_job(
                    job,
                    3,
                    f"--data={FASHION_MNIST}",
                    server_flags=[f"--kernel={kernels[0]}"],
                    worker_flags=lambda i: [f"--kernel={kernels[1 + i]}"],
                )
                hashes.update(workers, [summary["parameters"]])
            self.assertEqual(len(hashes), 1, f"{name}: {hashes}")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The quadratic saddle through real processes, against the closed forms of its mean dynamics.

With f = -(gamma/2) x^2, learning rate eta and s = eta * gamma:
  * from exactly 0, with noise of standard deviation sigma on each gradient, the median number of
    steps until |x| = R is  ln(R sqrt((1+s)^2 - 1) / (0.6745 eta sigma)) / ln(1+s);
  * with error feedback and a codec that keeps each coordinate with probability mu, the mean obeys
    x' = x - mu (e - s x), e' = (1 - mu)(e - s x), whose growth factor per step is the larger root
    of lambda^2 - (2 - mu + mu s) lambda + (1 - mu) = 0.
"""

import math
import statistics
import unittest

from cluster import job_text, run_job, saddle
from safetensors_file import read_tensors


def growth_factor(s, mu):
    b = 2 - mu + mu * s
    return (b + math.sqrt(b * b - 4 * (1 - mu))) / 2


def median_escape_steps(radius, eta, gamma, sigma):
    s = eta * gamma
    return math.log(radius * math.sqrt((1 + s) ** 2 - 1) / (0.6745 * eta * sigma)) / math.log(1 + s)


def metric_by_step(metrics, name):
    return {
        line["step"]: line["metrics"][name] for line in metrics if name in line.get("metrics", {})
    }


class ClosedFormTest(unittest.TestCase):
    def test_growth_factor_agrees_with_published_values(self):
        for s, mu, expected in [(0.05, 0.1, 0.03768), (0.05, 0.01, 0.01811), (0.2, 0.01, 0.04090)]:
            self.assertAlmostEqual(growth_factor(s, mu) - 1, expected, delta=6e-6)


class SaddleTest(unittest.TestCase):
    def test_without_noise_the_parameters_stay_exactly_zero(self):
        for codec in ("identity", "random_k:0.05", "top_k:0.05"):
            job = job_text(saddle(dimension=500, negative=3), steps=50, workers=2, codec=codec)
            _, _, snapshot, _ = run_job(job, 2)
            tensors, _ = read_tensors(snapshot)
            shape, values = tensors["x"]
            self.assertEqual(shape, [500])
            self.assertEqual(set(values), {0.0}, codec)

    def test_with_noise_the_median_escape_time_is_the_closed_form(self):
        eta, gamma, sigma, radius, steps = 0.1, 1, 1e-3, 10, 200
        expected = median_escape_steps(radius, eta, gamma, sigma)  # 117 steps
        escapes = []
        for seed in range(1, 21):
            job = job_text(
                saddle(dimension=10, negative=1, gamma=gamma),
                steps=steps,
                seed=seed,
                optimizer=f"sgd:lr={eta}",
                perturbation=f"gaussian:std={sigma}",
                eval_every=1,
            )
            distance = metric_by_step(run_job(job, 1)[3], "distance")
            outside = [step for step, value in distance.items() if value >= radius]
            self.assertTrue(
                outside, f"seed {seed}: still at {max(distance.values())} after {steps} steps"
            )
            escapes.append(min(outside))
        self.assertGreater(len(set(escapes)), 5, "the seeds make no difference")
        self.assertLess(abs(statistics.median(escapes) / expected - 1), 0.15, escapes)

    def test_compressed_growth_is_the_closed_form(self):
        # Windows begin when the other mode, which shrinks by (1-mu)/lambda a step, is below 1 %.
        # They end before the spread over coordinates, which grows with s/mu, matters to a mean
        # of 2^17 of them.
        cases = [
            ("s far below mu", 0.005, 1 / 16, 100, 400),
            ("s far above mu", 0.2, 1 / 128, 60, 140),
        ]
        for name, s, mu, begin, end in cases:
            with self.subTest(name):
                dimension = 2**17
                job = job_text(
                    saddle(dimension=dimension, negative=dimension, gamma=1, wall=0, start=0.001),
                    steps=end + 1,
                    codec=f"random_k:{mu}",
                    optimizer=f"sgd:lr={s}",
                    eval_every=1,
                )
                mean = metric_by_step(run_job(job, 1)[3], "mean")
                rate = (mean[end] / mean[begin]) ** (1 / (end - begin)) - 1
                expected = growth_factor(s, mu) - 1
                self.assertLess(
                    abs(rate / expected - 1), 0.03, f"{rate} measured, {expected} expected"
                )


if __name__ == "__main__":
    unittest.main()

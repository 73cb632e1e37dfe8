# SPDX-License-Identifier: Apache-2.0
"""Everything there is to choose, through real processes: it runs, and all replicas agree."""

import re
import unittest

from cluster import FASHION_MNIST, Cluster, job_text, mlp, run_job, run_program, saddle

# With what must be given, and another than the default where the default would do nothing here.
CODECS = {
    "random_k": "random_k:0.05",
    "top_k": "top_k:0.05",
    "threshold": "threshold:0.005",
    "dgc": "dgc:0.05,warmup=10,clip=1",
    "sign_majority": "sign_majority:momentum=0.9",
    "count_sketch": "count_sketch",
    "powersgd": "powersgd:2",
}
OPTIMIZERS = {"sgd": "sgd:lr=0.1,momentum=0.5", "sgld": "sgld:lr=0.0001"}
SCHEDULES = {
    "step_decay": "step_decay:at=2,epoch=10",
    "exponential": "exponential:gamma=0.99",
    "cosine": "cosine:steps=30",
    "linear_warmup": "linear_warmup:steps=10",
    "inverse_sqrt": "inverse_sqrt:steps=10",
}
PERTURBATIONS = {
    "gaussian": "gaussian:std=0.01",
    "sphere": "sphere:std=0.01",
    "on_demand": "on_demand:radius=0.1,threshold=10,wait=5,escape=1",
}


def names(kind):
    """What the command lists."""
    listed = run_program("gradwire", "list", kind)
    return re.findall(r"^\| `(\w+)` \|", listed.stdout, re.M)


class ChoicesTest(unittest.TestCase):
    def check(self, model, more="", workers=2, steps=30, **fields):
        """Runs a job; server and workers end with the same parameters, nobody left."""
        data = [f"--data={FASHION_MNIST}"] if model.startswith("mlp") else []
        job = job_text(model, steps=steps, workers=workers, hash_every=5, **fields) + more
        summary, hashes, _, metrics = run_job(job, workers, *data)
        server = summary["parameters"]
        self.assertEqual(hashes, [server] * workers, "a worker and the server differ")
        self.assertEqual(summary["version"], steps)
        self.assertEqual(summary["left"], [])
        return summary, metrics

    def check_all(self, kind, specs, field, model, **fields):
        listed = names(kind)
        self.assertGreater(len(listed), 3, f"gradwire list {kind}")
        self.assertEqual(set(specs) - set(listed), set(), f"{kind} that are not listed")
        for name in listed:
            with self.subTest(choice=name):
                self.check(model, **{field: specs.get(name, name)}, **fields)

    def test_every_codec(self):
        self.check_all("codecs", CODECS, "codec", mlp(16), batch=8)

    def test_every_optimizer(self):
        self.check_all("optimizers", OPTIMIZERS, "optimizer", saddle(dimension=500, start=0.1))

    def test_every_schedule(self):
        self.check_all("schedules", SCHEDULES, "schedule", mlp(8), batch=8, eval_every=10)

    def test_every_perturbation(self):
        for codec in ("random_k:0.1", "top_k:0.1"):
            self.check_all(
                "perturbations",
                PERTURBATIONS,
                "perturbation",
                saddle(dimension=500, start=0.1),
                codec=codec,
            )

    def test_every_error_feedback_reset_and_clip(self):
        model = saddle(dimension=500, start=0.1)
        for feedback in ("none", "classic", "ef21", "ef21_sgdm:beta=0.5"):
            for codec in ("random_k:0.1", "top_k:0.1"):
                with self.subTest(error_feedback=feedback, codec=codec):
                    self.check(model, codec=codec, error_feedback=feedback)
        for reset in ("reset:steps=7", "flush:steps=7", "flush:radius=0.5"):
            for codec in ("random_k:0.1", "top_k:0.1"):
                with self.subTest(reset=reset, codec=codec):
                    self.check(model, codec=codec, reset=reset, perturbation="gaussian:std=0.1")
        for clip in ("norm:0.5", "value:0.01"):
            with self.subTest(clip=clip):
                self.check(model, codec="top_k:0.1", clip=clip)

    def test_tensors_with_codecs_of_their_own(self):
        rules = 'tensors { name: "*.bias" codec: "identity" }\n'
        rules += 'tensors { name: "layer1.*" codec: "top_k:0.01" }\n'
        summary, _ = self.check(mlp(16), more=rules, codec="random_k:0.1", batch=8)
        # layer1.weight 125 values and some 9 bits each for their places, layer2.weight 16
        # values, both biases whole.
        self.assertLess(summary["uplink"]["payload_bytes_per_step"], 4 * (125 + 16 + 26) + 200)

    def test_a_compressed_downlink_is_as_small_as_the_uplink(self):
        summary, _ = self.check(mlp(64), codec="top_k:0.01", workers=4, batch=8)
        up, down = summary["uplink"], summary["downlink"]
        self.assertLess(down["payload_bytes_per_step"], 1.2 * up["payload_bytes_per_step"])
        self.assertLess(down["wire_bytes_per_step"], 1.2 * up["wire_bytes_per_step"])

    def test_a_lower_learning_rate_does_not_cost_accuracy_at_once(self):
        _, metrics = self.check(
            mlp(64),
            codec="random_k:0.05",
            steps=600,
            batch=32,
            eval_every=50,
            schedule="step_decay:at=400",
        )
        accuracy = {
            line["step"]: line["metrics"]["accuracy"] for line in metrics if "metrics" in line
        }
        before = max(value for step, value in accuracy.items() if 300 <= step <= 400)
        after = [value for step, value in sorted(accuracy.items()) if step > 400]
        self.assertGreaterEqual(len(after), 3)
        self.assertGreater(min(after), before - 0.01, accuracy)

    def test_momentum_with_few_random_coordinates_is_warned_of(self):
        for optimizer, codec, warned in (
            ("sgd:lr=0.1,momentum=0.9", "random_k:0.01", True),
            ("adam", "random_k:0.05", True),
            ("adam:beta1=0", "random_k:0.01", False),
            ("sgd:lr=0.1", "random_k:0.01", False),
            ("adam", "random_k:0.1", False),
            ("adam", "top_k:0.01", False),
        ):
            with self.subTest(optimizer=optimizer, codec=codec):
                job = job_text(saddle(dimension=10), steps=1, codec=codec, optimizer=optimizer)
                with Cluster(job) as cluster:
                    cluster.start_server()
                    cluster.wait_for_address()
                    said = cluster.server.err
                self.assertEqual("moving average" in said, warned, said)
                if warned:
                    self.assertIn("Use plain sgd", said)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Alert rules, dashboard and runbook belong together and to the metrics that the server declares.

The checks by promtool (Debian: prometheus) are left out where it is not installed: it is in the
section [ci] of deploy/packages, for its package starts a Prometheus.
"""

import json
import os
import re
import shutil
import subprocess
import unittest

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
RULES = "deploy/prometheus/gradwire.rules.yml"
DASHBOARD = "deploy/grafana/gradwire.json"
TESTS = ("tests/prometheus/alerts.test.yml", "tests/prometheus/certificate.test.yml")
METRIC = re.compile(r"\b(?:gradwire|process)_[a-z_]+\b")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def alerts():
    return re.findall(r"^ +- alert: (\w+)$", read(RULES), re.M)


def declared():
    """Of the table in metrics.cc, a histogram with its series."""
    names = set()
    row = r'"((?:gradwire|process)_[a-z_]+)",\s*"(counter|gauge|histogram)"'
    for name, kind in re.findall(row, read("server/admin/metrics.cc")):
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


def expressions_of(node):
    """Every "expr" in a dashboard."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            else:
                yield from expressions_of(value)
    elif isinstance(node, list):
        for one in node:
            yield from expressions_of(one)


class BelongTogetherTest(unittest.TestCase):
    def test_rules_use_declared_metrics_only(self):
        expressions = re.findall(r"^ +expr: (.*)$", read(RULES), re.M)
        self.assertEqual(len(expressions), len(alerts()))
        used = {name for text in expressions for name in METRIC.findall(text)}
        self.assertGreater(len(used), 10)
        self.assertEqual(used - declared(), set())

    def test_the_dashboard_uses_declared_metrics_only_and_each_panel_has_its_place(self):
        dashboard = json.loads(read(DASHBOARD))
        expressions = list(expressions_of(dashboard))
        self.assertGreater(len(expressions), 10)
        used = {name for text in expressions for name in METRIC.findall(text)}
        self.assertEqual(used - declared(), set())
        for text in expressions:
            self.assertIn('instance=~"$instance"', text)
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(cells & taken, f"{panel['title']} lies over another panel")
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            taken |= cells

    def test_every_alert_is_tested_and_in_the_runbook(self):
        tests = "".join(read(path) for path in TESTS)
        runbook = read("deploy/README.md")
        for alert in alerts():
            fires = rf"alertname: {alert}\n +exp_alerts:"
            self.assertRegex(tests, fires, f"no test sees {alert} fire")
            rests = rf"\{{eval_time: \w+, alertname: {alert}\}}"
            self.assertRegex(tests, rests, f"no test sees {alert} not fire")
            self.assertRegex(runbook, rf"(?m)^#+ {alert}$")
            self.assertIn(f"runbook: deploy/README.md#{alert.lower()}\n", read(RULES))
        headings = re.findall(r"(?m)^#+ (Gradwire\w+)$", runbook)
        self.assertEqual(sorted(headings), sorted(alerts()))


@unittest.skipUnless(
    shutil.which("promtool"), "no promtool here: deploy/install_packages ci installs it"
)
class PromtoolTest(unittest.TestCase):
    def promtool(self, *arguments):
        done = subprocess.run(
            ["promtool", *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_the_rules_are_well_formed(self):
        self.assertIn(f"{len(alerts())} rules found", self.promtool("check", "rules", RULES))

    def test_the_configuration_is_well_formed(self):
        self.promtool("check", "config", "deploy/prometheus/prometheus.yml")

    def test_every_alert_comes_when_it_should_and_not_before(self):
        self.assertEqual(self.promtool("test", "rules", *TESTS).count("SUCCESS"), len(TESTS))


if __name__ == "__main__":
    unittest.main()

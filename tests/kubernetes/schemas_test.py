# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes against Kubernetes' published schemas; a typo in a field is caught."""

import copy
import json
import os
import shutil
import subprocess
import unittest

from manifests import FOLDERS, ROOT, container_of, find, render

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(ROOT, "build", "kubernetes")


def setUpModule():
    os.makedirs(FOLDER, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(os.path.join(HERE, name), FOLDER)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FOLDER, check=True,
        stdout=subprocess.DEVNULL,
    )


def faults(objects):
    done = subprocess.run(
        ["node", os.path.join(HERE, "schemas.cjs"), FOLDER], input=json.dumps(objects),
        capture_output=True, text=True, check=False,
    )
    if done.returncode not in (0, 1) or done.stderr:
        raise AssertionError(done.stderr)
    return done.stdout.splitlines()


class SchemasTest(unittest.TestCase):
    def test_every_object_is_valid(self):
        for folder in FOLDERS:
            with self.subTest(folder):
                objects = render(folder)
                self.assertGreater(len(objects), 5)
                self.assertEqual(faults(objects), [])

    def caught(self, kind, name, damage, text):
        objects = copy.deepcopy(self.base)
        damage(find(objects, kind, name))
        found = faults(objects)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_a_planted_fault_is_caught(self):
        self.base = render("base")
        server, worker = ("StatefulSet", "gradwire-server"), ("Job", "gradwire-worker")

        def rename(fields, old, new):
            fields[new] = fields.pop(old)

        self.caught(
            *server, lambda o: rename(o["spec"], "podManagementPolicy", "podManagmentPolicy"),
            "/spec/podManagmentPolicy: unknown field",
        )
        self.caught(
            *server,
            lambda o: rename(container_of(o)["securityContext"], "readOnlyRootFilesystem",
                             "readOnlyRootFileSystem"),
            "/securityContext/readOnlyRootFileSystem: unknown field",
        )
        self.caught(
            *server, lambda o: container_of(o)["ports"][0].update(containerPort="7070"),
            "/containers/0/ports/0/containerPort",
        )
        self.caught(
            *worker, lambda o: o["spec"]["podFailurePolicy"]["rules"][0].pop("action"),
            "/spec/podFailurePolicy/rules/0",
        )
        self.caught(*worker, lambda o: o.update(kind="Jobs"), "no schema")


if __name__ == "__main__":
    unittest.main()

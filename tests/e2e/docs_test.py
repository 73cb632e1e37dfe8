# SPDX-License-Identifier: Apache-2.0
"""What README lists is what the programs have."""

import os
import re
import unittest

from cluster import run_program

README = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")
KINDS = ("codecs", "optimizers", "aggregators", "schedules", "perturbations")


class DocsTest(unittest.TestCase):
    def test_readme_has_the_tables_of_the_registries(self):
        with open(README, encoding="utf-8") as file:
            readme = file.read()
        for kind in KINDS:
            with self.subTest(kind=kind):
                block = re.search(
                    rf"<!-- gradwire list {kind} -->\n(.*?)<!-- end -->", readme, re.S
                )
                self.assertIsNotNone(block, f"README has no table of {kind}")
                listed = run_program("gradwire", "list", kind)
                self.assertEqual(listed.returncode, 0, listed.stderr)
                self.assertEqual(block[1], listed.stdout, "put there what the command prints")

    def test_list_says_what_there_is_to_list(self):
        for arguments in ([], ["codes"]):
            listed = run_program("gradwire", "list", *arguments)
            self.assertEqual(listed.returncode, 1)
            for kind in KINDS:
                self.assertIn(kind, listed.stderr)


if __name__ == "__main__":
    unittest.main()

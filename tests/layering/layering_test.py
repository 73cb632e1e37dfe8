# SPDX-License-Identifier: Apache-2.0
"""Plants faults in a copy of the tree and expects layering.py to name each of them."""

import os
import shutil
import tempfile
import unittest

import layering

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
HEAD = "// SPDX-License-Identifier: Apache-2.0\n// A file for a test.\n"

# name: (file, its text or None to append a line to what is there, what the one fault must say)
PLANTED = {
    "server includes worker": (
        "server/planted.cc",
        HEAD + '#include "worker/data/dataset.h"\n',
        "server/planted.cc:3: server may not include worker/data/dataset.h",
    ),
    "worker includes server": (
        "worker/data/planted.h",
        HEAD + '#include "server/round.h"\n',
        "worker/data/planted.h:3: worker may not include server/round.h",
    ),
    "base includes codec": (
        "common/base/planted.cc",
        HEAD + '#include "common/codec/codec.h"\n',
        "common/base/planted.cc:3: common/base may not include",
    ),
    "codec includes optimizer": (
        "common/codec/planted.cc",
        HEAD + '#include "common/optimizer/optimizer.h"\n',
        "common/codec/planted.cc:3: common/codec may not include",
    ),
    "optimizer includes replica": (
        "common/optimizer/planted.cc",
        HEAD + '#include "common/replica/layout.h"\n',
        "common/optimizer/planted.cc:3: common/optimizer may not include",
    ),
    "common includes server": (
        "common/replica/planted.cc",
        HEAD + "#include <server/round.h>\n",
        "common/replica/planted.cc:3: common/replica may not include server/round.h",
    ),
    "common includes rpc": (
        "common/replica/planted.h",
        HEAD + '#include "common/rpc/planted.h"\n',
        "common/replica/planted.h:3: common/replica may not include common/rpc/planted.h",
    ),
    "common includes tests": (
        "common/kernels/planted.cc",
        HEAD + '# include "tests/planted.h"\n',
        None,
    ),
    "common includes gRPC": (
        "common/base/planted.h",
        HEAD + "#include <grpcpp/grpcpp.h>\n",
        "common/base/planted.h:3: includes grpcpp/grpcpp.h",
    ),
    "common includes a stub": (
        "common/replica/planted.cc",
        HEAD + '#include "gradwire/v1/service.grpc.pb.h"\n',
        "common/replica/planted.cc:3: includes gradwire/v1/service.grpc.pb.h",
    ),
    "by its neighbour's name": (
        "common/base/planted.cc",
        HEAD + '#include "clock.h"\n',
        'common/base/planted.cc:3: includes "clock.h": write its path',
    ),
    "a file that is not there": (
        "common/base/planted.cc",
        HEAD + '#include "common/base/absent.h"\n',
        "common/base/planted.cc:3: common/base/absent.h is not there",
    ),
    "no SPDX line": (
        "common/base/planted.h",
        "// A file.\n#pragma once\n",
        "common/base/planted.h:1: must begin",
    ),
    "no purpose": (
        "server/planted.cc",
        HEAD.splitlines()[0] + "\n\nint x;\n",
        "server/planted.cc:2: must say",
    ),
    "script without SPDX": (
        "deploy/planted",
        "#!/bin/sh\n# Does it.\n",
        "deploy/planted:1: must begin",
    ),
    "401 lines": (
        "server/planted.cc",
        HEAD + "//\n" * 399,
        "server/planted.cc:401: 401 lines, at most 400",
    ),
}


class LayeringTest(unittest.TestCase):
    def setUp(self):
        self.root = os.path.join(tempfile.mkdtemp(), "tree")
        self.addCleanup(shutil.rmtree, os.path.dirname(self.root))
        shutil.copytree(ROOT, self.root, ignore=shutil.ignore_patterns("build", ".git", "corpus"))
        self.before = set(layering.faults(self.root))

    def plant(self, path, text):
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as file:
            file.write(text)
        self.addCleanup(lambda: os.path.exists(full) and os.remove(full))
        return full

    def new_faults(self):
        return sorted(set(layering.faults(self.root)) - self.before)

    def test_every_planted_fault_is_named(self):
        self.plant("common/rpc/planted.h", HEAD + "#include <grpcpp/grpcpp.h>\n")
        self.plant("tests/planted.h", HEAD)
        self.assertEqual(self.new_faults(), [])
        for name, (path, text, expected) in PLANTED.items():
            with self.subTest(name):
                full = self.plant(path, text)
                found = self.new_faults()
                os.remove(full)
                self.assertTrue(found)
                if expected is not None:
                    self.assertIn(expected, found[0])

    def test_grpc_behind_a_header_of_a_target_without_grpc_is_found(self):
        self.plant("server/deep.h", HEAD + "#include <grpcpp/server.h>\n")
        self.plant("server/shallow.h", HEAD + '#include "server/deep.h"\n')
        self.plant("server/planted.cc", HEAD + '#include "server/shallow.h"\n')
        self.assertEqual(self.new_faults(), [], "the gRPC edge of the server may do that")
        self.plant(
            "server/extra/CMakeLists.txt",
            "target_sources(gradwire_server_core PRIVATE\n  ../planted.cc)\n",
        )
        [fault] = self.new_faults()
        self.assertIn(
            "server/deep.h:3: includes grpcpp/server.h (reached from server/planted.cc)", fault
        )

    def test_a_listed_source_that_is_not_there_is_found(self):
        self.plant(
            "worker/extra/CMakeLists.txt",
            "target_sources(gradwire_worker_core PRIVATE absent.cc)\n",
        )
        [fault] = self.new_faults()
        self.assertIn("worker/extra/absent.cc:1: listed in a CMakeLists.txt, but not there", fault)

    def test_the_sources_of_the_targets_without_grpc_are_found(self):
        sources = layering.Tree(self.root).grpc_free_sources()
        self.assertIn("common/base/thread_pool.cc", sources)
        self.assertTrue(any(source.startswith("worker/") for source in sources))


if __name__ == "__main__":
    unittest.main()

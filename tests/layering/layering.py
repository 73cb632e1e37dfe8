# SPDX-License-Identifier: Apache-2.0
"""Checks the tree: who may include whom, where gRPC may be, how files begin, how long they are.

    layering.py ROOT

Prints one line per fault, `file:line: what is wrong`, and ends with 1 if there was one.
"""

import os
import re
import sys

MAX_LINES = 400
MAX_COLUMNS = 100

# Which folders a folder may include from.  Longest prefix counts; `proto` is generated code
# without gRPC, which everything may use.
MAY_INCLUDE = {
    "common/base": ["common/base"],
    "common/kernels": ["common/base", "common/kernels", "common/random"],
    "common/random": ["common/base", "common/kernels", "common/random"],
    "common/codec": ["common/base", "common/kernels", "common/random", "common/codec"],
    "common/aggregate": [
        "common/base",
        "common/kernels",
        "common/random",
        "common/codec",
        "common/aggregate",
    ],
    "common/optimizer": [
        "common/base",
        "common/kernels",
        "common/random",
        "common/codec",
        "common/optimizer",
    ],
    "common/replica": [
        "common/base",
        "common/kernels",
        "common/random",
        "common/codec",
        "common/aggregate",
        "common/optimizer",
        "common/replica",
    ],
    "common/rpc": ["common/base", "common/rpc"],
    "server": ["common", "server"],
    "worker": ["common", "worker"],
    "tests": ["common", "server", "worker", "tests"],
}
GRPC_FREE_TARGETS = [
    "gradwire_common",
    "gradwire_security",
    "gradwire_server_core",
    "gradwire_worker_core",
]
GRPC_INCLUDE = re.compile(r"^(grpc|grpcpp|grpc\+\+)/|\.grpc\.pb\.h$")
CPP = (".h", ".cc")
COMMENTED_BY = {".h": "//", ".cc": "//", ".py": "#"}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
CMAKE_SOURCES = re.compile(r"\b(?:add_library|target_sources)\s*\(\s*(\w+)([^)]*)\)")


def source_files(root):
    """Our own files, by path from the root; no builds, nothing hidden but .ci, no test data."""
    for folder, folders, names in os.walk(root):
        here = os.path.relpath(folder, root)
        folders[:] = sorted(
            f
            for f in folders
            if (not f.startswith(".") or f == ".ci")
            and f not in ("build", "__pycache__", "corpus", "golden")
        )
        for name in sorted(names):
            yield os.path.normpath(os.path.join(here, name))


def is_script(lines):
    return bool(lines) and lines[0].startswith("#!")


def folder_rule(path):
    """The entry of MAY_INCLUDE that holds for a file, or None."""
    fitting = [prefix for prefix in MAY_INCLUDE if path.startswith(prefix + "/")]
    return max(fitting, key=len) if fitting else None


def includes_of(lines):
    """(line number, bracket, name) of every #include."""
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


class Tree:
    """The files under a root, read once."""

    def __init__(self, root):
        self.root = root
        self.lines = {}
        for path in source_files(root):
            extension = os.path.splitext(path)[1]
            if extension in (".h", ".cc", ".py", ".proto", ".cmake", ".txt", ""):
                with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                    self.lines[path] = file.read().splitlines()

    def grpc_free_sources(self):
        """Sources of the targets that must not know gRPC, as the CMake files list them."""
        sources = set()
        for path, lines in self.lines.items():
            if os.path.basename(path) != "CMakeLists.txt":
                continue
            text = "\n".join(line.split("#")[0] for line in lines)
            for target, arguments in CMAKE_SOURCES.findall(text):
                if target in GRPC_FREE_TARGETS:
                    sources.update(
                        os.path.normpath(os.path.join(os.path.dirname(path), word.strip('"')))
                        for word in arguments.split()
                        if word.strip('"').endswith(".cc")
                    )
        return sources


def check_directions(tree):
    """Arrows point down only."""
    for path, lines in tree.lines.items():
        rule = folder_rule(path)
        if not path.endswith(CPP) or rule is None:
            continue
        for number, bracket, name in includes_of(lines):
            where = f"{path}:{number}"
            target = folder_rule(name)
            if target is None:
                if bracket == '"' and os.path.join(os.path.dirname(path), name) in tree.lines:
                    yield f'{where}: includes "{name}": write its path from the root'
            elif not any(name.startswith(allowed + "/") for allowed in MAY_INCLUDE[rule]):
                allowed = ", ".join(MAY_INCLUDE[rule])
                yield f"{where}: {rule} may not include {name}; it may include from {allowed}"
            elif name not in tree.lines:
                yield f"{where}: {name} is not there"


def check_grpc(tree):
    """No gRPC in, or included by, a file that must not know it."""
    free = {
        path
        for path in tree.lines
        if path.endswith(CPP) and path.startswith("common/") and not path.startswith("common/rpc/")
    }
    free |= tree.grpc_free_sources()
    reached_from = {path: path for path in free}
    queue = sorted(free)
    while queue:
        path = queue.pop()
        for number, _, name in includes_of(tree.lines.get(path, [])):
            if GRPC_INCLUDE.search(name):
                via = "" if reached_from[path] == path else f" (reached from {reached_from[path]})"
                yield f"{path}:{number}: includes {name}{via}: gRPC where it must not be known"
            elif name in tree.lines and name not in reached_from:
                reached_from[name] = reached_from[path]
                queue.append(name)


def check_listed(tree):
    """What the CMake files list for the targets without gRPC is there."""
    for path in sorted(tree.grpc_free_sources()):
        if path not in tree.lines:
            yield f"{path}:1: listed in a CMakeLists.txt, but not there"


def check_beginnings(tree):
    """An SPDX line, then a sentence on what the file is for."""
    for path, lines in tree.lines.items():
        mark = COMMENTED_BY.get(os.path.splitext(path)[1])
        if is_script(lines):
            mark, lines = "#", lines[1:]
        if mark is None:
            continue
        if not lines or lines[0].strip() != f"{mark} SPDX-License-Identifier: Apache-2.0":
            yield f'{path}:1: must begin with "{mark} SPDX-License-Identifier: Apache-2.0"'
        elif len(lines) < 2 or not re.match(r'(//|#|""")\s*\w', lines[1]):
            yield f"{path}:2: must say in one sentence what the file is for"


def check_lengths(tree):
    for path, lines in tree.lines.items():
        if len(lines) > MAX_LINES and path != "LICENSE":
            yield f"{path}:{MAX_LINES + 1}: {len(lines)} lines, at most {MAX_LINES}: split it"
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS and path.endswith(CPP + (".py",)):
                yield f"{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"


CHECKS = [check_directions, check_grpc, check_listed, check_beginnings, check_lengths]


def faults(root):
    tree = Tree(root)
    return [fault for check in CHECKS for fault in check(tree)]


def main(arguments):
    if len(arguments) != 1 or not os.path.isfile(os.path.join(arguments[0], "CMakeLists.txt")):
        print("usage: layering.py ROOT, the folder with the top CMakeLists.txt", file=sys.stderr)
        return 1
    found = faults(arguments[0])
    for fault in found:
        print(fault)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes as a cluster would have it: rendered, with variables filled in."""

import json
import os
import re
import shutil
import subprocess

import yaml

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
KUBERNETES = os.path.join(ROOT, "deploy", "kubernetes")
FOLDERS = ("base", "overlays/production", "overlays/external-workers")
LEAST_KUSTOMIZE = (4, 5)  # what our kustomizations say needs `labels` and `patches`


def kustomize_version():
    """Of the kubectl at hand; None without one."""
    if shutil.which("kubectl") is None:
        return None
    told = subprocess.run(
        ["kubectl", "version", "--client", "--output=json"], capture_output=True, text=True,
        check=False,
    )
    match = re.match(r"v(\d+)\.(\d+)", json.loads(told.stdout or "{}").get("kustomizeVersion", ""))
    return match and tuple(int(number) for number in match.groups())


def render(folder):
    """The objects of a folder; AssertionError with kubectl's words when it cannot be rendered."""
    done = subprocess.run(
        ["kubectl", "kustomize", os.path.join(KUBERNETES, folder)], capture_output=True, text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"kubectl kustomize {folder}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def find(objects, kind, name):
    """AssertionError unless there is exactly one."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects {kind}/{name}")
    return found[0]


def container_of(workload):
    [container] = workload["spec"]["template"]["spec"]["containers"]
    return container


def environment(objects, container, pod_fields):
    """The container's variables; `pod_fields` is what fieldRef reads."""
    variables = {}
    for source in container.get("envFrom", []):
        variables.update(find(objects, "ConfigMap", source["configMapRef"]["name"])["data"])
    for variable in container.get("env", []):
        if "value" in variable:
            variables[variable["name"]] = variable["value"]
        else:
            variables[variable["name"]] = pod_fields[
                variable["valueFrom"]["fieldRef"]["fieldPath"]
            ]
    return variables


def command_of(container, variables):
    """Command and arguments as the kubelet runs them: $(NAME) where a variable has that name."""

    def fill(text):
        return re.sub(
            r"\$\(([A-Za-z_]\w*)\)", lambda match: variables.get(match[1], match[0]), text
        )

    return [fill(word) for word in container["command"] + container.get("args", [])]


def probes(container):
    """The paths of its HTTP probes, by name, each with the number of its port."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return {
        name: (container[name]["httpGet"]["path"], ports[container[name]["httpGet"]["port"]])
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
        if name in container
    }

# SPDX-License-Identifier: Apache-2.0
"""The server's HTTP port, as probes, Prometheus, browsers and hostile peers use it."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from cluster import (
    FASHION_MNIST,
    SANITIZED,
    Cluster,
    job_text,
    mlp,
    run_program,
    saddle,
    wait_until,
)

README = os.path.join(os.path.dirname(__file__), "..", "..", "deploy", "README.md")
SADDLE = saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001)
PAGES = ("/", "/page.css", "/page.js", "/healthz", "/readyz", "/metrics", "/api/status")


def http_address(server):
    found = re.search(r"^http on (\S+):(\d+)$", server.out, re.M)
    return found and (found.group(1), int(found.group(2)))


def get(address, path, method="GET", headers=None):
    """Status, headers, body."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def raw(address, data, seconds=20):
    """What comes back for these bytes, until the server closes."""
    with socket.create_connection(address, timeout=seconds) as peer:
        peer.sendall(data)
        answer = b""
        while True:
            try:
                part = peer.recv(65536)
            except ConnectionResetError:
                return answer
            if not part:
                return answer
            answer += part


class EventReader:
    """Reads /api/events in a thread: events, in order, as (name, data)."""

    def __init__(self, address):
        self.events = []
        self.connection = http.client.HTTPConnection(*address, timeout=60)
        self.connection.request("GET", "/api/events")
        self.answer = self.connection.getresponse()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        name = None
        for line in self.answer:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text[7:]
            elif text.startswith("data: "):
                self.events.append((name, json.loads(text[6:])))

    def named(self, name):
        return [data for kind, data in list(self.events) if kind == name]

    def close(self):
        self.thread.join(20)
        self.connection.close()


def metrics_of(text):
    """{name with labels: value} of a scrape."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def declared(text):
    return set(re.findall(r"^# TYPE (\S+) ", text, re.M))


class HttpTest(unittest.TestCase):
    def cluster(self, job, *flags, workers=2, worker_flags=("--step_delay=5ms",)):
        cluster = Cluster(job, ["--http_listen=0", *flags])
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.start(workers, *worker_flags)
        return cluster, http_address(cluster.server)

    def test_every_path_answers_and_nothing_else_does(self):
        job = job_text(SADDLE, steps=100000, workers=2, name="watched")
        cluster, address = self.cluster(job)
        cluster.wait_for_step("worker-0", 20)
        self.assertEqual(address[0], "127.0.0.1")
        for path in PAGES:
            code, headers, body = get(address, path)
            self.assertEqual(code, 200, path)
            self.assertTrue(body, path)
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            code, headers, body = get(address, path, "HEAD")
            self.assertEqual((code, body), (200, ""), path)
        self.assertNotRegex(get(address, "/")[2], r"https?://", "loads from outside")
        for path in ("/no", "/api", "/api/status/", "/../etc/passwd", "/page.js/../x"):
            self.assertEqual(get(address, path)[0], 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            code, headers, _ = get(address, "/api/status", method)
            self.assertEqual((code, headers.get("Allow")), (405, "GET, HEAD"), method)

    def test_status_is_that_of_the_grpc_call(self):
        job = job_text(SADDLE, steps=40, workers=2, name="watched")
        cluster, address = self.cluster(job, "--when_done=serve")
        for worker in cluster.workers.values():
            self.assertEqual(worker.wait(), 0)

        def finished():
            status = json.loads(get(address, "/api/status")[2])
            return status if status["phase"] == "finished" else None

        status = wait_until(finished, "the job to finish")
        self.assertEqual(status["job"]["name"], "watched")
        self.assertEqual((status["point"]["version"], status["dimension"]), ("40", "1000"))
        self.assertEqual(status["round_times"]["rounds"], "40")
        self.assertEqual(status["traffic"]["worker_steps"], "80")
        self.assertEqual({w["id"] for w in status["workers"]}, {"worker-0", "worker-1"})
        shown = run_program("gradwire", "status", f"--server={cluster.address}").stdout
        self.assertRegex(shown, r"version +40 of 40")
        metrics = metrics_of(get(address, "/metrics")[2])
        self.assertEqual(metrics["gradwire_rounds_total"], 40)
        self.assertEqual(metrics["gradwire_payloads_used_total"], 80)
        self.assertEqual(metrics["gradwire_version"], 40)
        self.assertEqual(metrics['gradwire_phase{phase="finished"}'], 1)
        self.assertEqual(
            metrics['gradwire_wire_bytes_total{direction="up"}'],
            float(status["traffic"]["up_wire_bytes"]),
        )
        for name in ("round", "round_waiting", "encode", "apply", "log_append"):
            self.assertEqual(metrics[f"gradwire_{name}_seconds_count"], 40, name)
            self.assertEqual(metrics[f'gradwire_{name}_seconds_bucket{{le="+Inf"}}'], 40, name)

    def test_every_metric_is_documented_and_in_a_scrape_after_a_short_job(self):
        job = job_text(
            mlp(8), steps=12, workers=2, codec="top_k:0.1", eval_every=4, batch=8, hash_every=4
        )
        cluster, address = self.cluster(
            job,
            "--when_done=serve",
            "--fsync=always",
            worker_flags=(f"--data={FASHION_MNIST}",),
        )
        for worker in cluster.workers.values():
            self.assertEqual(worker.wait(), 0)
        text = get(address, "/metrics")[2]
        metrics = metrics_of(text)
        with open(README, encoding="utf-8") as file:
            documented = set(re.findall(r"`((?:gradwire|process)_[a-z_]+)[`{]", file.read()))
        names = declared(text)
        self.assertGreater(len(names), 35)
        self.assertEqual(names - documented, set(), "in a scrape, not in deploy/README.md")
        self.assertEqual(documented - names, set(), "in deploy/README.md, not in a scrape")
        for name in names:
            values = [key for key in metrics if re.match(rf"{name}(_count)?({{|$)", key)]
            self.assertTrue(values, f"{name} has no value")
        self.assertGreater(metrics["gradwire_log_fsync_seconds_count"], 11)
        self.assertGreater(metrics["gradwire_downlink_residual_norm"], 0)
        self.assertGreater(metrics["gradwire_accuracy"], 0)
        self.assertGreater(metrics["gradwire_state_disk_free_bytes"], 0)
        self.assertGreater(metrics["process_resident_memory_bytes"], 1e6)
        if shutil.which("promtool") is None:
            self.skipTest("no promtool here: deploy/install_packages ci installs it")
        checked = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_events_show_a_run_from_its_start_to_its_end(self):
        job = job_text(SADDLE, steps=60, workers=2)
        cluster, address = self.cluster(job, worker_flags=("--step_delay=30ms",))
        cluster.wait_for_step("worker-0", 20)
        reader = EventReader(address)  # late
        cluster.finish()
        reader.close()
        versions = [p[0] for run in reader.named("run") for p in run["points"]]
        self.assertEqual(versions, list(range(1, 61)))
        self.assertEqual(reader.named("status")[-1]["phase"], "finished")
        self.assertEqual(reader.events[-1], ("end", {}))

    def test_readiness_ends_with_sigterm_and_health_goes_on(self):
        job = job_text(SADDLE, steps=100000, workers=1)
        cluster, address = self.cluster(
            job, "--drain=20s", workers=1, worker_flags=("--step_delay=3s",)
        )
        cluster.server.signal(signal.SIGTERM)  # the open step is waited for
        wait_until(lambda: get(address, "/readyz")[0] == 503, "/readyz to say 503")
        self.assertEqual(get(address, "/healthz")[0], 200)
        self.assertEqual(cluster.server.wait(), 0)

    def test_a_bad_address_and_a_taken_one_are_named(self):
        job = job_text(SADDLE, steps=10)
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        for listen, code in (
            ("nowhere", 2),
            ("127.0.0.1:99999", 2),
            ("1.2.3.4:80s", 2),
            ("127.0.0.1:1,127.0.0.1:2", 2),
            (f"127.0.0.1:{port}", 1),
        ):
            with Cluster(job, [f"--http_listen={listen}"]) as cluster:
                server = cluster.start_server()
                self.assertEqual(server.wait(20), code, listen)
                self.assertIn("--http_listen", server.err)

    def test_without_the_flag_there_is_no_port(self):
        with Cluster(job_text(SADDLE, steps=10)) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            self.assertIsNone(http_address(cluster.server))


class HostileTest(unittest.TestCase):
    def test_hostile_peers_are_bounded_and_disturb_no_training(self):
        job = job_text(SADDLE, steps=100000, workers=2)
        with Cluster(job, ["--http_listen=0"]) as cluster:
            cluster.start(2, "--step_delay=2ms")
            address = http_address(cluster.server)
            cluster.wait_for_step("worker-0", 100)
            pid = cluster.server.popen.pid
            before = resident(pid)
            huge = b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n"
            self.assertNotIn(b"200 OK", raw(address, huge))
            self.assertNotIn(b"200 OK", raw(address, b"\x16\x03\x01\x02\x00" * 100 + b"\r\n\r\n"))
            self.assertNotIn(b" 200 ", raw(address, b"GET\r\n\r\n"))
            long_body = b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx"
            self.assertIn(b"405", raw(address, long_body))
            idle = [socket.create_connection(address, timeout=20) for _ in range(80)]
            for peer in idle[:40]:
                peer.sendall(b"GET /metrics HTT")  # and never the rest
            first = cluster.step_of("worker-0")
            cluster.wait_for_step("worker-0", first + 200)  # the training goes on meanwhile
            for peer in idle[30:]:
                peer.close()
            # The slow ones are cut off after the time-out: then the others are heard again.
            wait_until(lambda: answers(address), "/healthz while 30 are silent")
            if not SANITIZED:
                self.assertLess(resident(pid) - before, 64 << 20)
            for peer in idle[:30]:
                peer.close()
            self.assertEqual(get(address, "/healthz")[0], 200)
            self.assertTrue(cluster.server.running())

    def test_readers_of_events_are_bounded_and_the_end_waits_for_none_that_does_not_read(self):
        job = job_text(SADDLE, steps=100000, workers=1)
        with Cluster(job, ["--http_listen=0"]) as cluster:
            cluster.start(1, "--step_delay=2ms")
            address = http_address(cluster.server)
            readers = [socket.create_connection(address, timeout=20) for _ in range(8)]
            for peer in readers:
                peer.sendall(b"GET /api/events HTTP/1.1\r\n\r\n")
                self.assertIn(b"200 OK", peer.recv(4096))
            code, headers, _ = get(address, "/api/events")
            self.assertEqual((code, headers["Retry-After"]), (503, "5"))
            self.assertEqual(get(address, "/metrics")[0], 200)
            readers[0].close()
            wait_until(lambda: begins(address), "room for a reader when another has gone")
            cluster.server.signal(signal.SIGTERM)
            begun = time.monotonic()
            self.assertEqual(cluster.server.wait(30), 0)
            self.assertLess(time.monotonic() - begun, 15)
            for peer in readers[1:]:
                peer.close()


class LogFormatTest(unittest.TestCase):
    def test_json_lines_are_objects_with_time_level_program_and_message(self):
        job = job_text(SADDLE, steps=10)
        with Cluster(job, ["--log_format=json"]) as cluster:
            cluster.start(1, "--log_format=json")
            cluster.finish()
            for process, program in (
                (cluster.server, "gradwire-server"),
                (cluster.workers["worker-0"], "gradwire-worker"),
            ):
                lines = [json.loads(line) for line in process.err.splitlines()]
                self.assertGreaterEqual(len(lines), 2)
                for line in lines:
                    self.assertEqual(list(line), ["time", "level", "program", "message"])
                    self.assertEqual(line["program"], program)
                    self.assertIn(line["level"], ("info", "warning", "error"))
                    self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_the_reason_of_an_end_is_a_json_line_too(self):
        done = run_program("gradwire-server", "--job=/no/such\udcff", "--log_format=json")
        self.assertEqual(done.returncode, 2)
        last = json.loads(done.stderr.splitlines()[-1])
        self.assertEqual(last["level"], "error")
        self.assertIn("/no/such", last["message"])
        done = run_program("gradwire-server", "--log_format=xml")
        self.assertEqual(done.returncode, 2)
        self.assertIn("text or json", done.stderr)


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def answers(address):
    try:
        return get(address, "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def begins(address):
    with socket.create_connection(address, timeout=20) as peer:
        peer.sendall(b"GET /api/events HTTP/1.1\r\n\r\n")
        return b"200 OK" in peer.recv(4096)


if __name__ == "__main__":
    unittest.main()

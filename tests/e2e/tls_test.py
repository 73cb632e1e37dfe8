# SPDX-License-Identifier: Apache-2.0
"""TLS: who is refused and told why, and certificates that change while a job runs."""

import os
import shutil
import tempfile
import time
import unittest

from certs import (
    certificate_in,
    client_flags,
    is_accepted,
    make_certs,
    own_flags,
    point_link,
    served_certificate,
    server_flags,
)
from cluster import Cluster, job_text, run_program, saddle, wait_until

SADDLE = saddle(dimension=1000, start=0.5, gamma=0.1, wall=0.001)
LONG = job_text(SADDLE, steps=1000000, workers=2, lease_seconds=5)


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="gradwire-certs-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.certs = make_certs(f"{cls.folder}/certs", "--workers=2")
        cls.others = make_certs(f"{cls.folder}/others", "--workers=2")

    def served(self, *flags, job=LONG, admin=None):
        """A server that listens, with these flags."""
        cluster = Cluster(job, flags, client_flags=admin or client_flags(self.certs, "admin"))
        self.addCleanup(cluster.__exit__, None, None, None)
        cluster.start_server()
        cluster.wait_for_address()
        return cluster

    def short_lived(self, name, *names):
        """A folder with certificates of the same authority that have expired when it returns,
        and a function that waits for that."""
        folder = f"{self.folder}/{name}"
        os.mkdir(folder)
        for file in ("ca.crt", "ca.key"):
            shutil.copy(f"{self.certs}/{file}", folder)
        begin = time.time()
        make_certs(folder, "--valid=3s", f"--worker_ids={','.join(names) or 'worker-0'}")
        return folder, lambda: wait_until(lambda: time.time() > begin + 4, "the end of 3 s")

    def test_a_job_with_mutual_tls_ends_as_without(self):
        job = job_text(SADDLE, steps=50, workers=2)
        cluster = Cluster(
            job, server_flags(self.certs), client_flags=client_flags(self.certs, "admin")
        )
        with cluster:
            cluster.start(2, worker_flags=lambda i: client_flags(self.certs, f"worker-{i}"))
            cluster.finish()
            hashes = {worker.final_hash() for worker in cluster.workers.values()}
        with Cluster(job) as plain:
            plain.start(2)
            plain.finish()
            hashes |= {worker.final_hash() for worker in plain.workers.values()}
        self.assertEqual(len(hashes), 1)

    def test_clients_are_refused_with_the_reason(self):
        cluster = self.served(*server_flags(self.certs))
        good_ca = f"--tls_ca={self.certs}/ca.crt"
        cases = {
            "no TLS": ([], "speaks TLS"),
            "no certificate": ([good_ca], "wants to see a certificate of this client"),
            "certificate of another authority": (
                client_flags(self.others, "worker-0", ca=self.certs),
                'that is signed by "gradwire test CA',
            ),
            "self-signed certificate": (
                [good_ca, *own_flags(self.others, "ca")],
                "that is self-signed",
            ),
            "server of another authority": (
                client_flags(self.others, "worker-0"),
                "is signed by another authority",
            ),
            "another's name": (
                client_flags(self.certs, "worker-1"),
                'certificate is for "worker-1"',
            ),
            "a server's certificate": (client_flags(self.certs, "server"), "for clients"),
            "no such role": (client_flags(self.certs, "follower"), "this caller is a follower"),
        }
        for name, (flags, reason) in cases.items():
            with self.subTest(name):
                worker = cluster.start_worker("worker-0", *flags)
                self.assertEqual(worker.wait(30), 2, worker.err)
                self.assertIn(reason, worker.err)
                self.assertIn(cluster.address, worker.err)
        status = run_program("gradwire", "status", f"--server={cluster.address}", good_ca)
        self.assertEqual(status.returncode, 1)
        self.assertIn("wants to see a certificate of this client", status.stderr)

    def test_servers_are_refused_with_the_reason(self):
        short, wait_for_end = self.short_lived("short-server")
        elsewhere = make_certs(f"{self.folder}/elsewhere", "--hosts=ps.example,10.1.2.3")
        cases = {
            "expired": (server_flags(short), self.certs, "has expired"),
            "self-signed": (server_flags(self.others, "ca"), self.certs, "is self-signed"),
            "another name": (
                server_flags(elsewhere),
                elsewhere,
                'is for another name than "127.0.0.1"; it names: ps.example, 10.1.2.3',
            ),
            "no TLS": ((), self.certs, "does it speak TLS? If not, leave out --tls_ca"),
        }
        clusters = {name: self.served(*flags) for name, (flags, _, _) in cases.items()}
        wait_for_end()
        for name, (_, folder, reason) in cases.items():
            with self.subTest(name):
                worker = clusters[name].start_worker("worker-0", *client_flags(folder, "worker-0"))
                self.assertEqual(worker.wait(30), 2, worker.err)
                self.assertIn(reason, worker.err)

    def test_an_expired_client_is_refused_by_itself_and_by_the_server(self):
        short, wait_for_end = self.short_lived("short-client")
        cluster = self.served(*server_flags(self.certs))
        self.assertTrue(is_accepted(cluster.address, self.certs, "worker-0"))
        self.assertTrue(is_accepted(cluster.address, short, "worker-0"))
        wait_for_end()
        self.assertFalse(is_accepted(cluster.address, short, "worker-0"))
        self.assertFalse(is_accepted(cluster.address, self.certs, None))
        worker = cluster.start_worker("worker-0", *client_flags(short, "worker-0"))
        self.assertEqual(worker.wait(30), 2)
        self.assertIn(
            f'--tls_cert={short}/worker-0.crt: the certificate of "worker-0" expired', worker.err
        )

    def test_files_that_cannot_be_used_are_named_at_the_start(self):
        short, wait_for_end = self.short_lived("short-start")
        cut = f"{self.folder}/cut.crt"
        with open(cut, "w", encoding="ascii") as file:
            file.write(certificate_in(f"{self.certs}/server.crt")[:-60])
        cases = {
            "no key": ([f"--tls_cert={self.certs}/server.crt"], "give --tls_key"),
            "no certificate": ([f"--tls_ca={self.certs}/ca.crt"], "give --tls_cert"),
            "not there": (
                [f"--tls_cert={self.folder}/none.crt", f"--tls_key={self.certs}/server.key"],
                "none.crt",
            ),
            "no match": (
                [f"--tls_cert={self.certs}/server.crt", f"--tls_key={self.certs}/admin.key"],
                "is not the key of the certificate",
            ),
            "not PEM": (
                [f"--tls_cert={self.certs}/server.key", f"--tls_key={self.certs}/server.key"],
                "no PEM certificate",
            ),
            "cut off": (
                [f"--tls_cert={cut}", f"--tls_key={self.certs}/server.key"],
                "cut off or damaged",
            ),
            "expired": (own_flags(short, "server"), '"server" expired at'),
            "others reach it": (["--listen=0.0.0.0:0"], "--insecure"),
        }
        wait_for_end()
        for name, (flags, reason) in cases.items():
            with self.subTest(name), Cluster(LONG) as cluster:
                server = cluster.start_server(*flags)
                self.assertEqual(server.wait(30), 2, server.err)
                self.assertIn(reason, server.err)
        with Cluster(LONG, ["--listen=0.0.0.0:0", "--insecure"]) as cluster:
            cluster.start_server()
            cluster.wait_for_address()
            self.assertIn("whoever reaches", cluster.server.err)

    def test_rotation_under_load_fails_no_step(self):
        link = f"{self.folder}/current"
        os.symlink(self.certs, link)
        cluster = self.served(*server_flags(link))
        for i in range(2):
            cluster.start_worker(f"worker-{i}", *client_flags(link, f"worker-{i}"))
        cluster.wait_for_step("worker-0", 50)

        def shown():
            return served_certificate(cluster.address, link, "worker-0")

        self.assertEqual(shown(), certificate_in(f"{self.certs}/server.crt"))
        for round_number in range(3):
            folder = f"{self.folder}/rotated-{round_number}"
            os.mkdir(folder)
            for file in ("ca.crt", "ca.key"):
                shutil.copy(f"{self.certs}/{file}", folder)
            make_certs(folder, "--workers=2")
            point_link(link, folder)
            wanted = certificate_in(f"{folder}/server.crt")
            wait_until(lambda: shown() == wanted, "the new certificate")
            cluster.wait_for_step("worker-0", cluster.step_of("worker-0") + 50)
        self.assert_mismatch_is_not_taken(cluster, link, shown)
        steps = [line["step"] for line in cluster.metrics("worker-1")]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        for process in cluster.processes():
            for word in ("trying again", "lost", "reconnect"):
                self.assertNotIn(word, process.err)

    def assert_mismatch_is_not_taken(self, cluster, link, shown):
        good = shown()
        for file in ("crt", "key"):  # a half of a pair, then the other one
            shutil.copy(f"{self.certs}/server.{file}", f"{link}/server.{file}")
            if file == "crt":
                wait_until(
                    lambda: "is not the key of the certificate" in cluster.server.err, "the word"
                )
                self.assertIn("the old ones stay in use", cluster.server.err)
                self.assertEqual(shown(), good)
                cluster.wait_for_step("worker-0", cluster.step_of("worker-0") + 20)
        wanted = certificate_in(f"{self.certs}/server.crt")
        wait_until(lambda: shown() == wanted, "the repaired pair")

    def test_a_worker_takes_its_changed_files_when_it_connects_again(self):
        server_link = f"{self.folder}/server-now"
        worker_link = f"{self.folder}/worker-now"
        os.symlink(self.certs, server_link)
        os.symlink(self.certs, worker_link)
        job = job_text(SADDLE, steps=1000000, workers=1)
        cluster = self.served(*server_flags(server_link), job=job)
        cluster.start_worker("worker-0", *client_flags(worker_link, "worker-0"))
        cluster.wait_for_step("worker-0", 20)
        cluster.server.end()
        point_link(server_link, self.others)  # another authority altogether
        cluster.start_server(f"--listen={cluster.address}")
        cluster.wait_for_address()
        worker = cluster.workers["worker-0"]
        wait_until(lambda: "Handshake failed" in cluster.server.err, "a refused connection")
        point_link(worker_link, self.others)
        cluster.wait_for_step("worker-0", cluster.step_of("worker-0") + 20)
        self.assertTrue(worker.running())


if __name__ == "__main__":
    unittest.main()

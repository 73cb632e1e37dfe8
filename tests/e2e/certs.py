# SPDX-License-Identifier: Apache-2.0
"""Certificates of `gradwire certs`, and what a server shows of its own."""

import os
import socket
import ssl

from cluster import run_program


def make_certs(folder, *flags):
    made = run_program("gradwire", "certs", f"--out={folder}", *flags)
    if made.returncode != 0:
        raise AssertionError(made.stderr)
    return folder


def client_flags(folder, name, ca=None):
    """The flags of a client that shows NAME's certificate."""
    return [f"--tls_ca={ca or folder}/ca.crt", *own_flags(folder, name)]


def own_flags(folder, name):
    return [f"--tls_cert={folder}/{name}.crt", f"--tls_key={folder}/{name}.key"]


def server_flags(folder, name="server"):
    return [*own_flags(folder, name), f"--tls_ca={folder}/ca.crt"]


def connect(address, folder, name):
    """A TLS connection as gRPC would make it, with no look at the server's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if name is not None:
        context.load_cert_chain(f"{folder}/{name}.crt", f"{folder}/{name}.key")
    host, port = address.rsplit(":", 1)
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=10))


def served_certificate(address, folder, name):
    """What the server shows now, in PEM."""
    with connect(address, folder, name) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def certificate_in(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def is_accepted(address, folder, name):
    """Whether the server lets a client with this certificate (None: with none) say something."""
    try:
        with connect(address, folder, name) as connection:
            return connection.recv(1) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def point_link(link, folder):
    """Makes the symbolic link point to the folder at once, as an orchestrator changes secrets."""
    os.symlink(folder, link + ".new")
    os.replace(link + ".new", link)

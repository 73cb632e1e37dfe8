# SPDX-License-Identifier: Apache-2.0
"""Peers that mean harm: many connections to one address, each of a kind, opened again when closed.

    attackers.py HOST:PORT [--connections=N] [--kinds=a,b,...] [--tls=CERT,KEY]

Prints `attacking` when all have been tried once, and goes on until it is ended.
"""

import argparse
import asyncio
import os
import ssl
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
AGAIN_SECONDS = 0.2
CHUNK = b"\x00" * 16384
HEADERS, SETTINGS, CONTINUATION, DATA = 1, 4, 9, 0
END_HEADERS = 4


def frame(kind, payload=b"", flags=0, stream=0):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def header(name, value):
    """HPACK: a literal, with neither index nor Huffman code."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(path):
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    return b"".join(header(*field) for field in fields)


TRAIN = call(b"/gradwire.v1.ParameterServer/Train")
OPENING = PREFACE + frame(SETTINGS)
STREAM = OPENING + frame(HEADERS, TRAIN, END_HEADERS, 1)


def message(announced, content):
    return frame(DATA, b"\x00" + announced.to_bytes(4, "big") + content, 0, 1)


async def stay(reader):
    """Until the other side hangs up, reading what it says."""
    while await reader.read(65536):
        pass


async def garbage(reader, writer):
    writer.write(os.urandom(4096))
    await writer.drain()
    await stay(reader)


async def half_preface(reader, writer):
    writer.write(PREFACE[:10])
    await writer.drain()
    await stay(reader)


async def half_message(reader, writer):
    writer.write(STREAM + message(1000, b"\x0a" * 10))
    await writer.drain()
    await stay(reader)


async def two_gigabytes(reader, writer):
    writer.write(STREAM + message(0x7FFFFFFF, CHUNK[:16000]))
    await writer.drain()
    await stay(reader)


async def endless_metadata(reader, writer):
    field = header(b"x-more", b"a" * 100) * 100
    writer.write(OPENING + frame(HEADERS, TRAIN, 0, 1))
    while not reader.at_eof():
        writer.write(frame(CONTINUATION, field, 0, 1))
        await writer.drain()
        await asyncio.sleep(0.01)


async def never_reads(_, writer):
    # As a follower without a name: hello { follower: true }.
    writer.write(STREAM + message(4, b"\x0a\x02\x28\x01"))
    await writer.drain()
    await asyncio.sleep(3600)


async def many_streams(reader, writer):
    writer.write(OPENING)
    for stream in range(1, 2001, 2):
        writer.write(frame(HEADERS, TRAIN, END_HEADERS, stream))
    await writer.drain()
    await stay(reader)


KINDS = {
    function.__name__: function
    for function in (
        garbage,
        half_preface,
        half_message,
        two_gigabytes,
        endless_metadata,
        never_reads,
        many_streams,
    )
}


def tls_context(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(*files.split(","))
    return context


async def attack(kind, address, context, tried):
    host, port = address.rsplit(":", 1)
    while True:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            tried.release()
            await kind(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            tried.release()
        finally:
            if writer is not None:
                writer.transport.abort()
        await asyncio.sleep(AGAIN_SECONDS)


async def attack_all(options):
    kinds = [KINDS[name] for name in options.kinds.split(",")]
    context = tls_context(options.tls) if options.tls else None
    tried = asyncio.Semaphore(0)
    tasks = [
        asyncio.ensure_future(attack(kinds[i % len(kinds)], options.address, context, tried))
        for i in range(options.connections)
    ]
    for _ in tasks:
        await tried.acquire()
    print("attacking", flush=True)
    await asyncio.gather(*tasks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--tls", default="")
    asyncio.run(attack_all(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

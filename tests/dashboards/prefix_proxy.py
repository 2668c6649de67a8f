"""A reverse proxy that serves a server below a path: it removes the path from each request, as nginx and load balancers do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

_END = b"\r\n\r\n"


@contextmanager
def prefix_proxy(port: int, target_port: int, prefix: str) -> Iterator[str]:
    """Serves `127.0.0.1:target_port` as `127.0.0.1:port/prefix`, which it yields. Other paths get the status 404."""
    loop, ready = asyncio.new_event_loop(), Event()
    server = loop.create_task(_serve(port, target_port, f"/{prefix}".encode(), ready))
    thread = Thread(target=_run, args=(loop, server), daemon=True)
    thread.start()
    try:
        assert ready.wait(10), f"The proxy does not listen on port {port}"
        yield f"http://127.0.0.1:{port}/{prefix}"
    finally:
        loop.call_soon_threadsafe(server.cancel)
        thread.join(10)


def _run(loop: asyncio.AbstractEventLoop, server: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(server)
    requests = asyncio.all_tasks(loop)
    for request in requests:
        request.cancel()
    loop.run_until_complete(asyncio.gather(*requests, return_exceptions=True))
    loop.close()


async def _serve(port: int, target_port: int, prefix: bytes, ready: Event) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await _forward(reader, writer, target_port, prefix)
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", port):
        ready.set()
        await asyncio.get_running_loop().create_future()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target_port: int, prefix: bytes
) -> None:
    """Forwards one request of a connection, or a WebSocket until its end."""
    first, _, headers = (await reader.readuntil(_END)).partition(b"\r\n")
    method, path, version = first.split(b" ")
    if not (path + b"/").startswith(prefix + b"/"):
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close" + _END)
        return
    from_target, to_target = await asyncio.open_connection("127.0.0.1", target_port)
    if b"upgrade: websocket" not in headers.lower():
        headers = headers.replace(b"keep-alive", b"close")
    path = b"/" + path.removeprefix(prefix).lstrip(b"/")
    to_target.write(b" ".join((method, path, version)) + b"\r\n" + headers)
    await asyncio.gather(_copy(reader, to_target), _copy(from_target, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(65_536):
        writer.write(block)
        await writer.drain()
    writer.close()

"""HTTP servers that behave badly: what an RPC endpoint can do to us."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from rowen.chain.rpc import Rpc, RpcError

Answer = Callable[[str, list[Any]], Awaitable[Any]]


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        chunk = await stream.receive_some()
        if not chunk:
            return None
        buffer += chunk
    head, _, body = buffer.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += await stream.receive_some()
    return body


@asynccontextmanager
async def serve(respond: Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serves ``respond(body) -> whole HTTP response`` on loopback; gives the URL."""

    async def connection(stream: trio.SocketStream) -> None:
        try:
            while (body := await _read_request(stream)) is not None:
                await stream.send_all(await respond(body))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, connection, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@asynccontextmanager
async def serve_rpc(answer: Answer) -> AsyncIterator[str]:
    """Serves JSON-RPC; ``answer`` returns a result, or raises ``RpcError``."""

    async def one(request: Any) -> Any:
        try:
            result = await answer(request["method"], request.get("params") or [])
        except RpcError as error:
            detail = {"code": 3, "message": error.reason, "data": "0x" + error.data.hex()}
            return {"jsonrpc": "2.0", "id": request["id"], "error": detail}
        return {"jsonrpc": "2.0", "id": request["id"], "result": result}

    async def respond(body: bytes) -> bytes:
        request = json.loads(body)
        if isinstance(request, list):
            return http(json.dumps([await one(item) for item in request]).encode())
        return http(json.dumps(await one(request)).encode())

    async with serve(respond) as url:
        yield url


def passing_through(rpc: Rpc) -> Answer:
    """Answers as ``rpc`` does."""

    async def answer(method: str, params: list[Any]) -> Any:
        return await rpc.call(method, *params)

    return answer

"""A Ray cluster of two nodes on loopback: ``python ray_cluster.py MODEL PORT TEMPORARY``.

Runs in Ray's own environment. The first node has Serve's proxy and the ingress, the second the
model: llama.cpp's real server, in the replica's process. Ray Serve LLM itself would have vLLM in
its place, which wants a GPU; the ingress passes the engine's protocol on as that one does.

Says ``ready`` when it serves. Then each line on stdin is an order, answered with a line: ``hold``
lets no answer grow beyond eight chunks; ``made`` asks how many tokens llama.cpp has made, and how
many jobs it has now; ``kill`` ends the second node as a power cut would; ``add`` brings another.
The end of stdin ends it all.
"""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator

# Before Ray is imported: it stays on loopback, and tells nobody that it runs.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}

import httpx
import ray
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from llama_process import serve as serve_llama
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.handle import DeploymentHandle

CONTEXT_UNITS = 2048
HELD_CHUNKS = 8
MEMORY_BYTES = 100_000_000
api = FastAPI()


@serve.deployment(
    ray_actor_options={"num_cpus": 0, "resources": {"engine": 1}},
    max_ongoing_requests=16,
    graceful_shutdown_timeout_s=1,
)
class Model:
    """llama.cpp on whichever node has room for an engine."""

    def __init__(self, model_file: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._server = serve_llama(model_file, "127.0.0.1", port, CONTEXT_UNITS)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=None, trust_env=False
        )
        self._is_held = False

    async def answer(self, method: str, path: str, body: bytes) -> AsyncIterator[bytes]:
        """The status and content type in JSON, then the body, chunk by chunk."""
        async with self._client.stream(method, path, content=body) as answer:
            head = {"status": answer.status_code, "type": answer.headers["content-type"]}
            yield json.dumps(head).encode()
            count = 0
            async for chunk in answer.aiter_raw():
                yield chunk
                count += 1
                while self._is_held and count >= HELD_CHUNKS:
                    await asyncio.sleep(0.01)

    async def hold(self) -> None:
        """Lets answers stall from now on."""
        self._is_held = True

    async def made(self) -> tuple[int, int]:
        """Tokens of all answers that have ended, and the answers that have not."""
        text = (await self._client.get("/metrics")).text

        def metric(name: str) -> int:
            found = re.search(rf"^llamacpp:{name} (\d+)", text, re.MULTILINE)
            assert found, text
            return int(found[1])

        busy = metric("requests_processing") + metric("requests_deferred")
        return metric("tokens_predicted_total"), busy


@serve.deployment(ray_actor_options={"num_cpus": 0, "resources": {"front": 1}})
@serve.ingress(api)
class Ingress:
    """OpenAI's paths, as Ray Serve LLM's ingress has them."""

    def __init__(self, model: DeploymentHandle) -> None:
        self._model = model.options(stream=True)

    @api.get("/v1/models")
    async def models(self) -> StreamingResponse:
        """What is served."""
        return await self._pass_on("GET", "/v1/models", b"")

    @api.post("/v1/{path:path}")
    async def post(self, path: str, request: Request) -> StreamingResponse:
        """A chat, or the completion of a text."""
        return await self._pass_on("POST", f"/v1/{path}", await request.body())

    async def _pass_on(self, method: str, path: str, body: bytes) -> StreamingResponse:
        answer = self._model.answer.remote(method, path, body)
        head = json.loads(await anext(answer))
        return StreamingResponse(answer, head["status"], media_type=head["type"])


def add_node(cluster: Cluster, **more: object) -> object:
    """A node of this machine's loopback."""
    return cluster.add_node(
        node_ip_address="127.0.0.1",
        object_store_memory=MEMORY_BYTES,
        include_dashboard=False,
        **more,
    )


def main() -> None:
    model_file, port, temporary = sys.argv[1:]
    # Ray tells its news where answers are expected.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    cluster = Cluster()
    try:
        add_node(cluster, num_cpus=2, resources={"front": 1}, temp_dir=temporary)
        engine = add_node(cluster, num_cpus=1, resources={"engine": 1})
        ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
        options = {"host": "127.0.0.1", "port": int(port)}
        serve.start(proxy_location="HeadOnly", http_options=options)
        serve.run(Ingress.bind(Model.bind(model_file)), name="llm", route_prefix="/")
        model = serve.get_deployment_handle("Model", "llm")
        print("ready", file=answers)
        for line in sys.stdin:
            match line.strip():
                case "hold":
                    model.hold.remote().result()
                    print("held", file=answers)
                case "made":
                    print(*model.made.remote().result(), file=answers)
                case "kill":
                    cluster.remove_node(engine, allow_graceful=False)
                    print("killed", file=answers)
                case "add":
                    engine = add_node(cluster, num_cpus=1, resources={"engine": 1})
                    print("added", file=answers)
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()

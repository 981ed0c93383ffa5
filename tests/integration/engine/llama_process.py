"""llama.cpp's own server: ``python llama_process.py MODEL HOST PORT [CONTEXT [embed]]``.

It is the server that owners run, out of the same wheel that the embedded engine uses.
"""

import os
import signal
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import xllamacpp


def serve(
    model_file: str, host: str, port: int, context_units: int, *, embeds: bool = False
) -> xllamacpp.Server:
    """Starts a server with two places of this context each, in threads of this process."""
    params = xllamacpp.CommonParams()
    params.model.path = model_file
    params.hostnames = [host]
    params.port = port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_parallel = 2
    params.n_ctx = 2 * context_units
    params.n_batch = params.n_ubatch = 32
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = context_units
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.fit_params = False
    params.prefill_assistant = False
    params.offline = True
    params.verbosity = -1
    params.endpoint_metrics = True
    return xllamacpp.Server(params)


def main() -> None:
    model_file, host, port, *rest = sys.argv[1:]
    context_units = int(rest[0] if rest else 512)
    server = serve(model_file, host, int(port), context_units, embeds="embed" in rest)
    sys.stdout.write(f"listening at {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    main()

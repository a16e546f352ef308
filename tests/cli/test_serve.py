"""`reasoner serve`: what it refuses before anything starts, what it shows, and how signals end it."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cli.command import GatedServer, Run, finish, read_until, start
from tests.waiting import PATIENCE, all_end

KEY = "alice-0123456789"
SERVE = ("serve", "-e", "simulated", "--port", "0")


@contextmanager
def served(
    *arguments: str, **options: Any
) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A server as a process: it, its ready line and the request to copy."""
    process = start(*arguments, **options)
    try:
        ready = read_until(process, lambda line: line.startswith("ready "))
        yield process, ready, read_until(process, lambda line: line.startswith("try "))
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def address(ready: str) -> str:
    found = re.search(r"http://\S+", ready)
    assert found
    return found[0]


def test_it_shows_its_address_and_a_request_that_works() -> None:
    with served(*SERVE) as (process, ready, example):
        assert re.fullmatch(
            r"ready    http://127\.0\.0\.1:\d+ serves simulated and 13 aliases of it; Ctrl-C stops it\n",
            ready,
        )
        line = example.removeprefix("try").strip()
        assert line.startswith("curl ")
        reply = subprocess.run(line, shell=True, capture_output=True, check=True).stdout
        assert json.loads(reply)["choices"][0]["message"]["content"].startswith(
            "The answer is"
        )
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    assert (ended.code, ended.out) == (0, "")
    assert (
        ended.err
        == "stopping: requests in flight have 30 s to end; another signal ends them at once\n"
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_lets_what_is_in_flight_end(signum: signal.Signals) -> None:
    with (
        GatedServer() as upstream,
        served("serve", "--port", "0", "--base-url", upstream.url) as (
            process,
            ready,
            _,
        ),
    ):
        asking = subprocess.Popen(
            curl(ready, upstream), stdout=subprocess.PIPE, text=True
        )
        assert upstream.asked.wait(PATIENCE)
        process.send_signal(signum)
        read_until(process, lambda line: line.startswith("stopping: "))
        upstream.let(8)
        reply, _ = asking.communicate(timeout=PATIENCE)
        assert json.loads(reply)["choices"][0]["message"]["content"]
        assert finish(process).code == 0


@pytest.mark.parametrize("drain", [30, 0], ids=["second signal", "no time"])
def test_what_does_not_end_is_cut_off_with_an_answer(
    drain: int, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text(f"[limits]\ndrain_seconds = {drain}\n")
    with (
        GatedServer() as upstream,
        served(
            "serve",
            *("--port", "0", "--base-url", upstream.url, "--settings", str(limits)),
        ) as (process, ready, _),
    ):
        children = psutil.Process(process.pid).children(recursive=True)
        asking = subprocess.Popen(
            curl(ready, upstream), stdout=subprocess.PIPE, text=True
        )
        assert upstream.asked.wait(PATIENCE)
        process.send_signal(signal.SIGTERM)
        if drain:
            read_until(process, lambda line: line.startswith("stopping: "))
            process.send_signal(signal.SIGTERM)
        reply, _ = asking.communicate(timeout=PATIENCE)
        assert (
            json.loads(reply)["error"]["message"]
            == "the server is stopping: try again later"
        )
        ended = finish(process)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    all_end(children)


def curl(ready: str, upstream: GatedServer) -> list[str]:
    model = re.search(r"serves (\S+) and", ready)
    assert model
    body = json.dumps(
        {"model": model[1], "messages": [{"role": "user", "content": "How many?"}]}
    )
    url = f"{address(ready)}/v1/chat/completions"
    return [
        "curl",
        "-s",
        "--noproxy",
        "*",
        url,
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
    ]


def test_keys_of_the_settings_and_a_variable_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(f'[keys]\nalice = "{KEY}"\n')
    file.chmod(0o600)
    environment = {
        **os.environ,
        "REASONER_API_KEYS": "bob-0123456789, carol-0123456789",
    }
    with served(*SERVE, "--settings", str(file), env=environment) as (
        process,
        ready,
        example,
    ):
        assert '-H "Authorization: Bearer $KEY"' in example
        models = f"{address(ready)}/v1/models"
        assert httpx.get(models).status_code == 401
        for key in (KEY, "bob-0123456789", "carol-0123456789"):
            assert (
                httpx.get(
                    models, headers={"Authorization": f"Bearer {key}"}
                ).status_code
                == 200
            )
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    assert "0123456789" not in ended.err + ready + example


def test_settings_and_options(tmp_path: Path) -> None:
    settings = tmp_path / "serve.toml"
    settings.write_text(
        '[aliases.mine]\nstrategy = "self_consistency:n=3"\nanswer = "number"\ndescription = "a vote of three"\n'
        '[verifiers]\nsure = "certainty:measure=self_certainty"\n[default]\nstrategy = "best_of_n:n=2"\nverifier = "sure"\n'
    )
    with served(*SERVE, "--settings", str(settings), "--budget", "samples=2") as (
        process,
        ready,
        _,
    ):
        models = httpx.get(f"{address(ready)}/v1/models").json()["data"]
        assert {"simulated@mine": "a vote of three"}.items() <= {
            m["id"]: m["description"] for m in models
        }.items()
        for model, strategy in (
            ("simulated", "best_of_n:n=2"),
            ("simulated@mine", "self_consistency:n=3"),
        ):
            asked = {
                "model": model,
                "messages": [{"role": "user", "content": "What is 3 + 4?"}],
            }
            report = httpx.post(
                f"{address(ready)}/v1/chat/completions", json=asked
            ).json()["reasoner"]
            assert report["strategy"].startswith(strategy)
            assert report["cost"]["samples"] == 2
        process.send_signal(signal.SIGTERM)
        assert finish(process).code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ("--host", "0.0.0.0"),
            "--host 0.0.0.0 is reached by other machines, and no key is set",
        ),
        (("--budget", "tokes=4"), "no budget unit named 'tokes'"),
        (("--settings", "none.toml"), "cannot read --settings none.toml: No such file"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    arguments: tuple[str, ...], why: str, run: Run
) -> None:
    port = () if "--port" in arguments else ("--port", "0")
    ended = run("serve", "-e", "simulated", *port, *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.error


def test_a_port_that_is_taken_is_named_before_the_engine_starts(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "-e", "simulated", "--port", str(port))
    assert ended.code == 2
    assert ended.err.startswith(f"error: cannot listen at 127.0.0.1:{port}: ")

"""The layers: found by trying, recorded, and no run without the least of them."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.sandbox import check
from reasoner.sandbox.check import Call, Program
from reasoner.sandbox.layers import NOBODY, Interpreter, Layers, SandboxLimits, detect
from tests.sandbox.attacking import CONFINED, checked

CODE = "import os\ndef attack(): return os.getuid()"


def bare(because: str = "namespaces: unshare is not installed") -> Layers:
    """What detection finds where nothing wraps processes."""
    return Layers(
        namespaces=False, private_proc=False, python=detect().python, missing=because
    )


def test_detection_names_what_it_found_and_looks_once() -> None:
    layers = detect()
    assert {"session", "rlimits"} <= set(layers.names)
    assert (f"user-{NOBODY}" in layers.names) == (os.geteuid() == 0)
    assert detect() is layers


@CONFINED
def test_the_minimum_is_namespaces_with_landlock() -> None:
    layers = detect()
    assert layers.namespaces
    assert {"namespaces", "landlock"} <= {
        name.partition("-")[0] for name in layers.names
    }


@CONFINED
def test_code_runs_as_nobody_where_the_caller_is_root() -> None:
    assert (
        checked(CODE, Call((), NOBODY if os.geteuid() == 0 else os.geteuid())).status
        == "pass"
    )


def test_without_the_tool_the_minimum_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    layers = detect.__wrapped__()
    assert not layers.namespaces
    assert layers.missing == "namespaces: unshare is not installed"
    assert {"session", "rlimits"} <= set(layers.names)
    assert not {"namespaces", "memory-watch"} & set(layers.names)


def test_a_tool_that_fails_is_not_taken_for_a_layer(
    monkeypatch: pytest.MonkeyPatch, away: Path
) -> None:
    monkeypatch.setattr(
        "reasoner.sandbox.layers.environment",
        lambda work: {"PATH": f"{away}:/usr/bin:/bin"},
    )
    monkeypatch.setenv("PATH", str(away), prepend=":")
    for script, why in (
        (
            "echo no permissions to create a namespace >&2; exit 1",
            "no permissions to create a namespace",
        ),
        ("exit 0", "it printed nothing"),
    ):
        (away / "unshare").write_text(f"#!/bin/sh\n{script}\n")
        (away / "unshare").chmod(0o755)
        layers = detect.__wrapped__()
        assert (layers.namespaces, layers.missing) == (False, f"namespaces: {why}")


def test_without_the_minimum_nothing_runs_and_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, outside: Path
) -> None:
    monkeypatch.setattr(check, "detect", bare)
    verdict = checked(
        f"open({str(outside / 'new')!r}, 'w')\n{CODE}", Call((), 0), Call((), 0)
    )
    assert (verdict.status, verdict.passed, verdict.total, verdict.judged) == (
        "sandbox_unavailable",
        0,
        2,
        False,
    )
    for part in (
        "allow user namespaces",
        "--allow-unsandboxed-code",
        "allow_unsandboxed=True",
        "unshare is not installed",
    ):
        assert part in verdict.detail


def test_without_the_minimum_code_runs_where_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "detect", bare)
    for code, status in (
        ("def attack(): return 1", "pass"),
        ("def attack(): return 2", "fail"),
        ("import os; os._exit(0)", "crash"),
    ):
        verdict = checked(code, Call((), 1), unsafe=True)
        assert verdict.status == status


def test_layers_that_fail_after_they_were_found_are_no_verdict_on_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for broken in (
        dataclasses.replace(
            detect(), python=Interpreter("/nowhere/python", "/nowhere")
        ),
        dataclasses.replace(detect(), python=Interpreter("/bin/false", "/usr")),
    ):
        monkeypatch.setattr(check, "detect", lambda broken=broken: broken)
        verdict = checked(CODE, Call((), 0))
        assert (verdict.status, verdict.judged) == ("sandbox_unavailable", False)
        assert "failed to start" in verdict.detail


def test_a_sandbox_that_is_not_ready_in_time_is_no_verdict_on_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check, "START_SECONDS", 0)
    for test in (Call((), 0), Program("", "")):
        verdict = checked(CODE, test)
        assert (verdict.status, verdict.judged) == ("sandbox_unavailable", False)
        assert "not ready within 0 s" in verdict.detail


def test_limits_are_above_zero() -> None:
    for field in dataclasses.fields(SandboxLimits):
        with pytest.raises(UsageError, match=f"{field.name} must be above 0"):
            SandboxLimits(**{field.name: 0})

"""The layers: found by trying, recorded, and no run without the least of them."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.sandbox import check
from reasoner.sandbox.check import Call
from reasoner.sandbox.layers import NOBODY, Interpreter, Layers, SandboxLimits, detect
from tests.sandbox.attacking import CONFINED, checked

CODE = "import os\ndef attack(): return os.getuid()"


def bare(because: str = "bubblewrap: bwrap is not installed") -> Layers:
    """What detection finds where nothing wraps processes."""
    return Layers("none", private_proc=False, python=detect().python, missing=because)


def test_detection_names_what_it_found_and_looks_once() -> None:
    layers = detect()
    assert {"session", "rlimits"} <= set(layers.names)
    assert (f"user-{NOBODY}" in layers.names) == (os.geteuid() == 0)
    assert detect() is layers


@CONFINED
def test_the_minimum_is_namespaces_with_landlock_or_bubblewrap() -> None:
    layers = detect()
    if layers.wrapper == "namespaces":
        assert any(name.startswith("landlock-") for name in layers.names)
    assert layers.wrapper in layers.names
    assert layers.wrapper != "none"


@CONFINED
def test_code_runs_as_nobody_where_the_caller_is_root() -> None:
    assert checked(CODE, Call((), NOBODY if os.geteuid() == 0 else os.geteuid())).status == "pass"


def without(monkeypatch: pytest.MonkeyPatch, *tools: str) -> Layers:
    """What a fresh detection finds where some tools aren't installed."""
    found = {tool: shutil.which(tool) for tool in ("bwrap", "unshare")}
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool in tools else found[tool])
    return detect.__wrapped__()


def test_without_the_tools_the_minimum_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = without(monkeypatch, "bwrap", "unshare")
    assert layers.wrapper == "none"
    assert layers.missing == "namespaces: unshare is not installed; bubblewrap: bwrap is not installed"
    assert {"session", "rlimits"} <= set(layers.names)
    assert not {"namespaces", "bubblewrap", "memory-watch"} & set(layers.names)


def test_a_tool_that_fails_is_not_taken_for_a_layer(monkeypatch: pytest.MonkeyPatch, away: Path) -> None:
    for tool, script in (("bwrap", "echo no permissions to create a namespace >&2; exit 1"), ("unshare", "exit 0")):
        (away / tool).write_text(f"#!/bin/sh\n{script}\n")
        (away / tool).chmod(0o755)
    monkeypatch.setattr("reasoner.sandbox.layers.environment", lambda work: {"PATH": f"{away}:/usr/bin:/bin"})
    monkeypatch.setenv("PATH", str(away), prepend=":")
    layers = detect.__wrapped__()
    assert layers.wrapper == "none"
    assert layers.missing == "namespaces: it printed nothing; bubblewrap: no permissions to create a namespace"


def test_without_the_minimum_nothing_runs_and_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, outside: Path
) -> None:
    monkeypatch.setattr(check, "detect", bare)
    verdict = checked(f"open({str(outside / 'new')!r}, 'w')\n{CODE}", Call((), 0), Call((), 0))
    assert (verdict.status, verdict.passed, verdict.total, verdict.judged) == ("sandbox_unavailable", 0, 2, False)
    for part in ("install bubblewrap", "--allow-unsandboxed-code", "allow_unsandboxed=True", "bwrap is not installed"):
        assert part in verdict.detail


def test_without_the_minimum_code_runs_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "detect", bare)
    for code, status in (
        ("def attack(): return 1", "pass"),
        ("def attack(): return 2", "fail"),
        ("import os; os._exit(0)", "crash"),
    ):
        verdict = checked(code, Call((), 1), unsafe=True)
        assert verdict.status == status


def test_layers_that_fail_after_they_were_found_are_no_verdict_on_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (
        dataclasses.replace(detect(), python=Interpreter("/nowhere/python", "/nowhere")),
        dataclasses.replace(detect(), python=Interpreter("/bin/false", "/usr")),
    ):
        monkeypatch.setattr(check, "detect", lambda broken=broken: broken)
        verdict = checked(CODE, Call((), 0))
        assert (verdict.status, verdict.judged) == ("sandbox_unavailable", False)
        assert "failed to start" in verdict.detail


def test_limits_are_above_zero() -> None:
    for field in dataclasses.fields(SandboxLimits):
        with pytest.raises(UsageError, match=f"{field.name} must be above 0"):
            SandboxLimits(**{field.name: 0})

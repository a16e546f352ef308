"""What holds for the whole suite: marks, how workers share the tests, how wide properties are searched."""

import gc
import os
import re
import signal
from collections.abc import Generator
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pytest
from hypothesis import settings

from reasoner.models.embedded import embedded_path
from reasoner.system.machine import MACHINE

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("sweep", deadline=None, max_examples=1000)
settings.load_profile("default")

WORKER_GIB = 6
"""Memory that one worker may need: vLLM, its cache, and a reward model beside it."""

GIVEN_MACHINE = os.environ.get(MACHINE)
FIXED_MACHINE = GIVEN_MACHINE or "flags=avx2,avx512f,avx512_bf16 cores=2 gib=16"
"""What every test and what it starts sees, but tests of real engines: those see the real one unless one is given."""

MARKS = {
    "engine": (
        "tests/engine/",
        "tests/engines/test_gpu_memory.py",
        "tests/engines/test_vllm_arguments.py",
    ),
    "process": (
        "tests/system/test_process_pool.py",
        "tests/cli/test_batch_process.py",
        "tests/engines/test_fleet_router.py",
        "tests/cli/test_interrupt.py",
        "tests/cli/test_output.py",
        "tests/cli/test_own_code.py",
        "tests/cli/test_process.py",
        "tests/cli/test_serve.py",
        "tests/cli/test_terminal.py",
        "tests/engines/test_ray.py",
        "tests/cli/test_ray.py",
        "tests/evals/cli/",
        "tests/evals/report/",
        "tests/evals/tasks/test_graders.py",
        "tests/models/",
        "tests/serving/test_clients.py",
        "tests/serving/test_hostile.py",
        "tests/serving/test_leaving.py",
        "tests/sandbox/",
        "tests/answers/test_equivalence.py",
        "tests/system/test_orphans.py",
        "tests/verifiers/test_code.py",
    ),
    "slow": ("tests/verifiers/test_checkpoint.py",),
}
"""Files and folders whose tests all carry a mark. Single tests elsewhere are marked where they are."""

OWN_ENGINES = {
    "test_command.py",
    "test_examples.py",
    "test_thinking.py",
    "test_vllm_options.py",
}
"""Files of tests/engine that start engines of their own. The others share one engine, so they run in one worker."""


LONGEST_FIRST = (
    "tests/engine/",
    "tests/engines/test_ray.py",
    "tests/cli/test_ray.py",
    "tests/models/",
    "tests/answers/test_equivalence.py",
    "tests/contracts/",
    "tests/test_",
)
"""The groups of more than half a minute, with those that wait for other processes; all others come after them."""


def pytest_configure(config: pytest.Config) -> None:
    """Let no test ask a hub, and restore signals that xdist or `nohup` ignore, as every command would inherit that."""
    # Without a network each question waits for minutes.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The threads of several engines would wait for each other at every step.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    for signum, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import files whose mark is deselected, as by `-m "not engine and not slow"`."""
    expression = config.getoption("markexpr")
    if not re.fullmatch(
        r"not \w+( and not \w+)*", expression
    ) or not collection_path.is_relative_to(config.rootpath):
        return None
    nodeid = (
        collection_path.relative_to(config.rootpath).as_posix()
        + "/" * collection_path.is_dir()
    )
    return (
        any(
            f"not {name}" in expression and nodeid.startswith(paths)
            for name, paths in MARKS.items()
        )
        or None
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by path, and put the longest groups first, so that no worker is left with one at the end."""
    for item in items:
        for name, paths in MARKS.items():
            if item.nodeid.startswith(paths):
                item.add_marker(name)
    items.sort(
        key=lambda item: next(
            (
                rank
                for rank, path in enumerate(LONGEST_FIRST)
                if item.nodeid.startswith(path)
            ),
            99,
        )
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item,
) -> Generator[None, bool | None, bool | None]:
    """Describe the machine that this test sees, also to the fixtures that it is the first to use."""
    os.environ[MACHINE] = FIXED_MACHINE
    if GIVEN_MACHINE is None and item.get_closest_marker("engine"):
        del os.environ[MACHINE]
    return (yield)


def pytest_collection_finish() -> None:
    """Take what was imported and collected out of garbage collection: some tests collect, and would walk all of it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the interpreter free what was frozen: triton would print pages about it."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker per core, as far as there is memory for an engine in each."""
    cores = len(psutil.Process().cpu_affinity() or ()) or psutil.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().total // (WORKER_GIB * 2**30)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope`: a file is a scope, and files that share an engine or a converted model are one."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    scheduling = LoadScopeScheduling(config, log)
    scheduling._split_scope = _scope
    return scheduling


def _scope(nodeid: str) -> str:
    file = PurePosixPath(nodeid.partition("::")[0])
    return str(
        file.parent
        if file.parent.name in {"engine", "models"} and file.name not in OWN_ENGINES
        else file
    )


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The folder of the embedded model in the user's own cache; converted first where it is missing."""
    return embedded_path(lambda line: None)

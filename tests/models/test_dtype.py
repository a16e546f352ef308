"""The number type of a model on a CPU: by the instructions that the processor has."""

from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.models.geometry import default_dtype
from reasoner.system.machine import (
    MACHINE,
    cpu_flags,
    cpu_name,
    memory_gib,
    usable_cores,
)
from tests.models.test_geometry import write_safetensors


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        ("fma,avx2,avx512f,avx512_vnni", "float32"),
        ("avx2,avx512f,avx512_bf16", "bfloat16"),
        ("avx2,amx_bf16", "bfloat16"),
        ("fp,asimd", "float32"),
        ("fp,bf16", "bfloat16"),
        ("", "float32"),
    ],
)
def test_bfloat16_only_where_the_processor_computes_it(
    flags: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MACHINE, f"flags={flags} gib=8")
    assert default_dtype(None).dtype == chosen


def test_the_flags_of_this_machine_are_those_that_torch_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delenv(MACHINE)
    assert cpu_name()
    assert ("avx512_bf16" in cpu_flags()) == torch.cpu._is_avx512_bf16_supported()
    assert ("amx_tile" in cpu_flags()) == torch.cpu._is_amx_tile_supported()


@pytest.mark.parametrize(
    "text", ["avx2", "flags=avx2 cores=0", "gib=8 flags=avx2", "cores=two"]
)
def test_a_machine_that_is_badly_described_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MACHINE, text)
    for read in (cpu_flags, usable_cores, memory_gib):
        with pytest.raises(
            UsageError, match=f"{MACHINE}='{text}' describes no machine: write it as in"
        ):
            read()


def test_a_model_stays_in_16_bits_where_32_cannot_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(MACHINE, "flags=avx2 gib=24")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    write_safetensors(tmp_path / "model.safetensors", {"w": [7, 10**9]})
    assert default_dtype(tmp_path) == (
        "bfloat16",
        "slow on this processor, but float32 needs 26.1 GiB of 24.0",
    )
    monkeypatch.setenv(MACHINE, "flags=avx2 gib=64")
    assert default_dtype(tmp_path).dtype == "float32"
    (tmp_path / "config.json").write_text(
        '{"quantization_config": {"quant_method": "awq"}}', encoding="utf-8"
    )
    assert default_dtype(tmp_path).dtype == "bfloat16"

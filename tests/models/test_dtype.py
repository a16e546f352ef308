"""The number type of a model on a CPU: by what the processor computes natively."""

import json
from pathlib import Path

import pytest

from reasoner.errors import UsageError
from reasoner.models.dtype import choose_dtype, default_dtype
from reasoner.system.machine import MACHINE, cpu_flags, cpu_name, memory_gib, usable_cores
from tests.models.test_geometry import write_safetensors

AVX2 = frozenset({"fma", "avx", "avx2", "f16c"})


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        (AVX2, "float32"),
        (AVX2 | {"avx512f", "avx512bw", "avx512_vnni"}, "float32"),
        (AVX2 | {"avx512f", "avx512_bf16"}, "bfloat16"),
        (AVX2 | {"amx_tile", "amx_bf16"}, "bfloat16"),
        (frozenset({"fp", "asimd", "fphp"}), "float32"),
        (frozenset({"fp", "asimd", "bf16"}), "bfloat16"),
        (frozenset(), "float32"),
    ],
)
def test_bfloat16_only_where_the_processor_computes_it(flags: frozenset[str], chosen: str) -> None:
    assert choose_dtype(flags, gib=8).dtype == chosen


def test_a_model_stays_in_16_bits_where_32_cannot_be() -> None:
    seven_billion = choose_dtype(AVX2, parameters=7 * 10**9, gib=24)
    assert seven_billion == ("bfloat16", "slow on this processor, but float32 needs 26.1 GiB of 24.0")
    assert choose_dtype(AVX2, parameters=7 * 10**9, gib=64).dtype == "float32"
    assert choose_dtype(AVX2, quantized=True, gib=64).dtype == "bfloat16"


def test_the_flags_of_this_machine_are_those_that_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.delenv(MACHINE)
    assert cpu_name()
    assert ("avx512_bf16" in cpu_flags()) == torch.cpu._is_avx512_bf16_supported()
    assert ("amx_tile" in cpu_flags()) == torch.cpu._is_amx_tile_supported()


@pytest.mark.parametrize("text", ["avx2", "flags=avx2 cores=0", "gib=8 flags=avx2", "cores=two"])
def test_a_machine_that_is_badly_described_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MACHINE, text)
    for read in (cpu_flags, usable_cores, memory_gib):
        with pytest.raises(UsageError, match=f"{MACHINE}='{text}' describes no machine: write it as in"):
            read()


def test_a_described_machine_is_seen_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MACHINE, "flags=avx2,fma cores=3 gib=5")
    assert (cpu_flags(), usable_cores(), memory_gib()) == (frozenset({"avx2", "fma"}), 3, 5.0)


def test_a_folder_decides_by_what_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MACHINE, "flags=avx2 gib=8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    write_safetensors(tmp_path / "model.safetensors", {"w": [1000, 1000]})
    assert default_dtype(tmp_path).dtype == default_dtype(None).dtype == "float32"
    write_safetensors(tmp_path / "model.safetensors", {"w": [10**6, 10**6]})
    assert default_dtype(tmp_path).dtype == "bfloat16"
    write_safetensors(tmp_path / "model.safetensors", {"w": [1000, 1000]})
    about = {"quantization_config": {"quant_method": "awq"}}
    (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
    assert default_dtype(tmp_path).dtype == "bfloat16"

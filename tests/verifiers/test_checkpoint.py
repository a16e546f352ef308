"""The head's file, and the folder in which vLLM serves it: what they hold, and what they refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner.errors import EngineUnavailable, UsageError
from reasoner_verifiers.reward.checkpoint import (
    Head,
    HeadInfo,
    backbone_digest,
    load_head,
    save_head,
    serving_folder,
    write_checkpoint,
)

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

WIDTH, LAYERS = 8, 3
INFO = HeadInfo("org/model", "abc")
SOURCE = np.random.default_rng(0)
HEAD = Head(2, SOURCE.normal(size=WIDTH), 0.5, INFO)
STATES = SOURCE.normal(size=(5, 7, WIDTH))


def write_backbone(folder: Path, **changes: Any) -> Path:
    """A llama of three layers in two shards, with random weights."""
    folder.mkdir()
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (11, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    shapes["lm_head.weight"] = (11, WIDTH)
    for layer in range(LAYERS):
        for part, rows in (("q", WIDTH), ("k", 4), ("v", 4), ("o", WIDTH)):
            shapes[f"model.layers.{layer}.self_attn.{part}_proj.weight"] = (rows, WIDTH)
        shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (16, WIDTH)
    tensors = {
        name: torch.randn(shape, dtype=torch.bfloat16) for name, shape in shapes.items()
    }
    names = sorted(tensors)
    for number, half in enumerate((names[::2], names[1::2]), 1):
        safetensors.save_file(
            {name: tensors[name] for name in half},
            folder / f"model-0000{number}-of-00002.safetensors",
        )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_theta": 1e5},
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    return write_backbone(tmp_path / "backbone")


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_head(HEAD, tmp_path / "head.safetensors")
    read = load_head(tmp_path / "head.safetensors")
    assert (read.layer, read.info) == (HEAD.layer, INFO)
    assert read.logit(STATES) == pytest.approx(HEAD.logit(STATES), abs=1e-5)
    for change in ({"layer": 0}, {"weight": np.ones((2, 2))}):
        with pytest.raises(UsageError):
            replace(HEAD, **change)


W2, B2 = {"w2": torch.ones(3)}, {"b2": torch.ones(1)}
DEEP = '{"backbone": ' * 10**5 + "1" + "}" * 10**5


@pytest.mark.parametrize(
    ("tensors", "about"),
    [
        (None, ""),
        (W2 | B2, '{"layer": 1, "info": {"backbone": 5}}'),
        (W2, '{"layer": 1, "info": {"backbone": "m", "backbone_sha256": ""}}'),
    ],
)
def test_a_file_that_holds_no_head_is_refused(
    tensors: dict[str, Any] | None, about: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "head.safetensors"
    if tensors is None:
        file.write_bytes(b"nothing of the kind")
    else:
        safetensors.save_file(
            tensors, file, metadata={"head": about} if about else None
        )
    with pytest.raises(UsageError, match="is not the file of a head"):
        load_head(file)
    with pytest.raises(UsageError, match="there is no file"):
        load_head(tmp_path / "missing.safetensors")


def test_the_folder_holds_the_kept_layers_zero_biases_and_the_head(
    backbone: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    write_checkpoint(backbone, HEAD, tmp_path / "out")
    written = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    before: dict[str, Any] = {}
    for shard in backbone.glob("*.safetensors"):
        before |= safetensors.load_file(shard)
    layers = {int(name.split(".")[2]) for name in written if ".layers." in name}
    assert layers == {0, 1}
    assert "lm_head.weight" not in written
    for name, tensor in written.items():
        if name.endswith("_proj.bias"):
            assert not tensor.any()
            assert tensor.shape[0] == written[name.replace("bias", "weight")].shape[0]
        elif not name.startswith("score."):
            assert torch.equal(tensor, before[name])
    assert {
        name.split(".")[-2][0] for name in written if name.endswith("_proj.bias")
    } == {"q", "k", "v"}
    assert written["score.0.weight"].dtype == torch.float32
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForRewardModel"]
    assert (
        config["num_hidden_layers"],
        config["model_type"],
        config["rope_parameters"],
    ) == (
        2,
        "llama",
        {"rope_theta": 1e5},
    )
    assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model_type": "gpt2"}, "a head on a gpt2 model cannot be served"),
        ({"mlp_bias": True}, "does not support this model.s biases or head size"),
        (
            {"hidden_size": 16},
            "the head reads layer 2, width 8; the backbone has 3 layers of width 16",
        ),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    backbone = write_backbone(tmp_path / "other", **changes)
    with pytest.raises(UsageError, match=complaint):
        write_checkpoint(backbone, HEAD, tmp_path)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REASONER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_the_folder_is_built_once_in_the_cache(
    backbone: Path, tmp_path: Path, cached: Path
) -> None:
    head = replace(HEAD, info=HeadInfo(str(backbone), backbone_digest(backbone)))
    save_head(head, tmp_path / "mine.safetensors")
    lines: list[str] = []
    folder = serving_folder(tmp_path / "mine.safetensors", lines.append)
    assert folder.parent == cached
    assert folder.name.startswith("mine-reward-")
    assert serving_folder(tmp_path / "mine.safetensors", lines.append) == folder
    [line] = lines
    assert line.startswith("building the reward model, once")
    save_head(replace(head, bias=9.0), tmp_path / "mine.safetensors")
    assert serving_folder(tmp_path / "mine.safetensors", lines.append) != folder


def test_a_head_of_another_model_is_refused(
    backbone: Path, tmp_path: Path, cached: Path
) -> None:
    save_head(
        replace(HEAD, info=HeadInfo(str(backbone), "f" * 64)),
        tmp_path / "mine.safetensors",
    )
    with pytest.raises(
        UsageError,
        match=r"fitted on .* f{12}, but this machine has .*: fit the head again",
    ):
        serving_folder(tmp_path / "mine.safetensors", print)
    save_head(
        replace(HEAD, info=HeadInfo("no/such-model-here", "f" * 64)),
        tmp_path / "mine.safetensors",
    )
    with pytest.raises(
        EngineUnavailable, match=r"no/such-model-here.* is not on this machine"
    ):
        serving_folder(tmp_path / "mine.safetensors", print)

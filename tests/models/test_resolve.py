"""What the name given as a model stands for."""

from pathlib import Path

import pytest

from reasoner.errors import UnknownName, UsageError, shown
from reasoner.models.resolve import ResolvedModel, resolve


def quiet(line: str) -> None:
    raise AssertionError(line)


def test_the_embedded_one(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REASONER_CACHE", str(converted.parents[1]))
    expected = ResolvedModel("SmolLM2-135M-Instruct", str(converted), converted)
    assert resolve("embedded", quiet) == expected


def test_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "org" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert resolve(str(folder), quiet) == ResolvedModel(
        str(folder), str(folder), folder
    )
    # A relative path that looks like a hub id is the folder, too.
    monkeypatch.chdir(tmp_path)
    assert resolve("org/mine", quiet).folder == Path("org/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/org/mine", quiet) == ResolvedModel(
        "~/org/mine", str(folder), folder
    )


def test_a_path_without_a_config(tmp_path: Path) -> None:
    (tmp_path / "weights.gguf").touch()
    for path in (tmp_path, tmp_path / "weights.gguf"):
        with pytest.raises(UsageError, match=r"holds no config\.json"):
            resolve(str(path), quiet)


def test_a_hub_id_is_left_to_the_engine() -> None:
    assert resolve("gpt2", quiet) == ResolvedModel("gpt2", "gpt2", None)
    assert resolve("some-org/No-Such.Model_1", quiet) == ResolvedModel(
        "some-org/No-Such.Model_1", "some-org/No-Such.Model_1", None
    )


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def cached(home: Path, monkeypatch: pytest.MonkeyPatch, *files: str) -> Path:
    """A snapshot of org/tiny in a hub's cache at `home`."""
    constants = pytest.importorskip("huggingface_hub.constants")
    repository = home / "models--org--tiny"
    snapshot = repository / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_text("{}", encoding="utf-8")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0a1b", encoding="utf-8")
    (repository / "blobs").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    return snapshot


@pytest.mark.parametrize(
    ("complete", "files"),
    [
        (True, ("config.json", "tokenizer.json", "model.safetensors")),
        (True, ("config.json", "tokenizer.model", *SHARDS)),
        (True, ("params.json", "tekken.json", "consolidated.safetensors")),
        (False, ("config.json",)),
        (False, ("config.json", "tokenizer.json", "training_args.bin")),
        (False, ("config.json", "tokenizer.json", SHARDS[0])),
    ],
)
def test_a_hub_id_whose_files_are_all_in_the_cache_has_a_folder(
    complete: bool,
    files: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = cached(tmp_path, monkeypatch, *files)
    # Another download is left to the engine.
    source, folder = (str(snapshot), snapshot) if complete else ("org/tiny", None)
    assert resolve("org/tiny", quiet) == ResolvedModel("org/tiny", source, folder)


def test_a_download_under_way_or_a_lost_blob_makes_it_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(
        tmp_path, monkeypatch, "config.json", "tokenizer.json", "model.safetensors"
    )
    assert resolve("org/tiny", quiet).folder == snapshot
    blobs = snapshot.parents[1] / "blobs"
    (blobs / "ab12.incomplete").touch()
    assert resolve("org/tiny", quiet).folder is None
    (blobs / "ab12.incomplete").unlink()
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to(blobs / "gone")
    assert resolve("org/tiny", quiet).folder is None


@pytest.mark.parametrize(
    "model",
    [
        "",
        300 * "m",
        "./mine/model",
        "a/b/c",
        "org/..",
        "org /x",
    ],
)
def test_anything_else_is_refused_with_what_would_do(model: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(model, quiet)
    assert str(caught.value) == (
        f"no model named {shown(model)}: it is not a local folder and not a Hugging Face id (org/name); `embedded` is "
        "built in"
    )


@pytest.mark.parametrize("model", ["embeded", "Embedded", "embed"])
def test_a_near_miss_is_pointed_at_the_embedded_one(model: str) -> None:
    with pytest.raises(UnknownName, match="did you mean 'embedded'"):
        resolve(model, quiet)

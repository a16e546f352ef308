"""Fitting a head on a small model made here, from a labelled run to a file: what it learns, and what it must not see."""

import asyncio
import json
import random
import shutil
from pathlib import Path

import pytest

from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question
from reasoner.trace.replies import GRADES
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_strategies import SelfConsistency
from reasoner_verifiers.fitting import FittedHead, fit
from reasoner_verifiers.reward.checkpoint import load_head
from tests.cli.command import finish, start
from tests.helpers import without_checksums
from tests.labelling import label

torch = pytest.importorskip(
    "torch", reason="fitting needs torch, which the extras `vllm` and `cpu` bring"
)
QUESTIONS = 40


@pytest.fixture(scope="module")
def backbone(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of three layers, with the tokenizer of the embedded model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (embedded_model / name).exists():
            shutil.copy(embedded_model / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def run_folder(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled run in which the tokens of right and wrong answers differ, in two steps each."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("run")
    tokenizer = AutoTokenizer.from_pretrained(backbone)

    class Tokenised(ScriptedEngine):
        """Speaks in the tokens of the model that is fitted on."""

        def _encode(self, text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False))

    def script(request: SampleRequest) -> str:
        source = random.Random(request.seed)
        first = source.choice(["3 + 4 = 7", "3 + 4 = 8"])
        return f"{first}.\n\nSo it is {source.choice(['7', '8', '9'])}"

    items = [
        GradedQuestion(number_question(f"q{place}"), "7") for place in range(QUESTIONS)
    ]
    asyncio.run(label(items, SelfConsistency(6), Tokenised(script), folder, seed=3))
    return folder


def fitted(folder: Path, backbone: Path) -> FittedHead:
    return fit([folder], str(backbone), lambda line: None)


def test_the_questions_held_out_decide_nothing(
    backbone: Path, run_folder: Path, tmp_path: Path
) -> None:
    plain = fitted(run_folder, backbone)
    assert plain.auroc is not None
    assert plain.auroc.value > 0.99
    assert (plain.questions, plain.head.info.statistics["questions"]) == (
        QUESTIONS // 4,
        QUESTIONS * 3 // 4,
    )
    names = sorted(f"q{place}" for place in range(QUESTIONS))
    random.Random(0).shuffle(names)
    held = set(names[: QUESTIONS // 4])
    shutil.copytree(run_folder, tmp_path / "turned")
    copied = without_checksums(tmp_path / "turned" / GRADES)
    grades = [json.loads(line) for line in copied.read_text().splitlines()]
    for grade in grades:
        if grade["question_id"] in held and grade["status"] in ("right", "wrong"):
            grade["status"] = {"right": "wrong", "wrong": "right"}[grade["status"]]
    (tmp_path / "turned" / GRADES).write_text(
        "".join(json.dumps(grade) + "\n" for grade in grades)
    )
    turned = fitted(tmp_path / "turned", backbone)
    assert (turned.head.weight == plain.head.weight).all()
    assert turned.head.bias == plain.head.bias
    assert turned.auroc is not None
    assert turned.auroc.value < 0.01


def test_the_command_writes_the_head_and_tells_what_it_is_worth(
    backbone: Path, run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "head.safetensors"
    options = ("--out", str(out), "--backbone", str(backbone))
    ended = finish(start("verifier", "fit", str(run_folder), *options))
    assert ended.code == 0, ended.err
    assert "held out: 10 questions" in ended.out
    assert "AUROC within a question" in ended.out
    head = load_head(out)
    assert (1 <= head.layer <= 3, head.width) == (True, 64)
    assert out.stat().st_size < 5000


def test_too_few_questions_are_refused(backbone: Path, tmp_path: Path) -> None:
    items = [GradedQuestion(number_question(f"q{place}"), "7") for place in range(5)]
    asyncio.run(
        label(items, SelfConsistency(2), ScriptedEngine(lambda _: "It is 7"), tmp_path)
    )
    with pytest.raises(
        UsageError, match=r"give at least 20 questions with graded answers \(got 5\)"
    ):
        fitted(tmp_path, backbone)

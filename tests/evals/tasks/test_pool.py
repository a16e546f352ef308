"""Recordings: the task and the engine that read them, alone and together."""

import asyncio
import json
import math
import runpy
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from reasoner import Answer, Solution, solve_many
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.engines.pool import PoolEngine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import EngineError, UsageError
from reasoner.models.geometry import read_model_info
from reasoner.registry import build
from reasoner.strategy import Plan, sample
from reasoner.testing.support import Planned, write_trace
from reasoner.trace.events import Event
from reasoner.types import Completion, Prompt, SamplingParams, Usage
from reasoner_evals.cli import evaluate
from reasoner_evals.report.build import make_report
from reasoner_strategies import SelfConsistency, Single
from reasoner_strategies.code_interpreter import trial_answer
from tests.evals.tasks.samples import POOL, jsonl
from tests.execution.one_question import QUESTION
from tests.models.test_geometry import SMOLLM, write_config, write_safetensors


def questions(file: Path) -> list[Question]:
    return [item.question for item in build("task", f"pool:{file}").load().items]


def draw(
    engine: PoolEngine,
    question: Question,
    index: int,
    *,
    prompt: Prompt | None = None,
    **params: Any,
) -> Completion:
    async def drawn() -> Completion:
        await engine.start()
        asked = prompt or question.prompt
        rendered = await engine.render(asked)
        request = SampleRequest(
            question.id,
            asked,
            rendered,
            SamplingParams(**params),
            index,
            1,
            original=question.asked_by(asked),
        )
        reply = await engine.sample(request)
        assert request.meter.usage == reply.usage
        return reply

    return asyncio.run(drawn())


def test_a_sample_is_the_recorded_answer_at_its_index_with_its_tokens(
    tmp_path: Path,
) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    first, second = questions(file)
    engine = build("engine", f"pool:{file}")
    for question, lines in ((first, POOL[:4]), (second, POOL[4:])):
        for line in lines:
            reply = draw(engine, question, line["index"])
            read, answer = question.read(reply), line["answer"]
            known = question.space.read(rf"\boxed{{{answer}}}") if answer else None
            assert (read and read.key) == (known and known.key)
            assert (reply.usage, reply.token_ids) == (Usage(1, 1, line["tokens"]), ())
            assert reply.finish_reason == "stop"


def test_a_limit_below_the_recorded_length_cuts_the_reply_and_its_answer(
    tmp_path: Path,
) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    [question, _] = questions(file)
    reply = draw(PoolEngine(str(file)), question, 3, max_tokens=11)
    assert (reply.text, reply.finish_reason, reply.usage.generated_tokens) == (
        "",
        "length",
        11,
    )
    assert (
        draw(PoolEngine(str(file)), question, 3, max_tokens=12).finish_reason == "stop"
    )


def test_what_a_pool_cannot_give_is_reported(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    [question, _] = questions(file)
    engine = PoolEngine(str(file))
    with pytest.raises(
        EngineError,
        match=r"holds 4 samples of 'own/0', and sample 5 was requested: draw at most 4",
    ):
        draw(engine, question, 4)
    with pytest.raises(EngineError, match="no such log-probabilities"):
        draw(engine, question, 0, logprobs=0)
    with pytest.raises(EngineError, match="complete replies"):
        draw(engine, question, 0, prompt=question.prompt.extended("So", (1,)))
    with pytest.raises(EngineError, match="complete replies"):
        draw(engine, question, 0, prompt=Prompt.chat("Judge this."))
    with pytest.raises(EngineError, match="holds no question 'other'"):
        draw(
            engine, Question("other", "other", Prompt.chat("other"), question.space), 0
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no reply"),
        ("{", r"p\.jsonl:1 is not JSON"),
        ("[1]", r"p\.jsonl:1 is not a row"),
        (
            '\n{"question_id": "q"}',
            r"p\.jsonl:2 is not a recorded reply: answer: field required",
        ),
        (
            '{"question_id": "q", "answer": ["1"], "tokens": 1}',
            r"answer: it must be text",
        ),
        (
            '{"question_id": "q", "answer": "1", "tokens": 0}',
            r"tokens: it must be greater than or equal to 1",
        ),
        (
            '{"question_id": "q", "answer": "1", "tokens": 1, "finish": "cut"}',
            r"finish: it must be 'stop', 'length' or 'abort'",
        ),
    ],
)
def test_a_file_that_is_no_recording_is_reported_with_its_line(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UsageError, match=told):
        asyncio.run(PoolEngine(str(tmp_path / "p.jsonl")).start())


def records(
    *chains: tuple[int, str | None, list[str | None]], name: str = "own/0"
) -> list[dict[str, Any]]:
    return [
        {
            "question_id": name,
            "gold": 7,
            "tokens": tokens,
            "answer": answer,
            "probes": probes,
            "every": 5,
        }
        for tokens, answer, probes in chains
    ]


CHAINS = records((23, "7", ["1", None, "7"]), (9, None, ["8"]), (2300, "8", ["9"]))


def pool_of(folder: Path, rows: list[dict[str, Any]] = CHAINS) -> Path:
    return jsonl(folder / "p.jsonl", rows)


@pytest.mark.parametrize(
    ("tokens", "answer"), [(4, None), (8, "1"), (12, None), (16, "7"), (20, "7")]
)
def test_a_probe_of_a_chain_that_was_cut_gives_the_answer_recorded_there(
    tokens: int, answer: str | None, tmp_path: Path
) -> None:
    # A probe was recorded at 5, 10 and 15 tokens.
    [question] = questions(pool_of(tmp_path))
    params = SamplingParams(max_tokens=tokens)

    def plan(question: Question) -> Plan[Answer | None]:
        [chain] = yield from sample(question.prompt, params=params)
        assert chain.thinking == f"[chain 0: {tokens} of 23 tokens]"
        assert chain.unclosed
        ended = chain.prompt.then(chain)
        return (yield from trial_answer(question, ended, params))

    engine = PoolEngine(str(tmp_path / "p.jsonl"))
    [solution] = asyncio.run(solve_many([question], Planned(plan), engine))
    assert solution.error is None
    assert (solution.answer and solution.answer.key) == answer
    # Where no reply has an answer, the runner asks once more.
    probes = 1 if answer else 2
    assert solution.cost.generated_tokens == tokens + probes * 20
    assert solution.cost.thinking_tokens == tokens
    assert draw(engine, question, 0).usage == Usage(1, 1, 23, 22)


def test_replies_without_an_answer_are_probed_and_thinking_ends_where_it_is_limited(
    tmp_path: Path,
) -> None:
    engine = PoolEngine(str(pool_of(tmp_path)))
    [question] = questions(tmp_path / "p.jsonl")
    [vote] = asyncio.run(solve_many([question], SelfConsistency(3), engine))
    # By default no chain is cut; the second one has no answer and is asked for it.
    assert (vote.answer and vote.answer.key, vote.cost.generated_tokens) == (
        "8",
        23 + 9 + 2300 + 20,
    )
    early = SelfConsistency(3, params=SamplingParams(thinking=10))
    [early_vote] = asyncio.run(solve_many([question], early, engine))
    assert (
        early_vote.answer and early_vote.answer.key,
        early_vote.vote_state.cast,
    ) == ("8", 2)
    assert early_vote.cost.generated_tokens == 10 + 20 + 20 + 9 + 20 + 10 + 20


def test_what_no_chain_has_is_reported(tmp_path: Path) -> None:
    engine = PoolEngine(str(pool_of(tmp_path)))
    [question] = questions(tmp_path / "p.jsonl")
    begun = question.prompt.then(draw(engine, question, 0, max_tokens=5))
    for prompt in (begun, begun.extended("", (), thinking="Wait")):
        with pytest.raises(EngineError, match="holds whole chains"):
            draw(engine, question, 0, prompt=prompt)
    for thinking in (
        "Hm",
        "[chain 3: 5 of 9 tokens]",
        "[chain 0: 500 of 900 tokens]",
        "[chain 0: ,, of 9 tokens]",
    ):
        with pytest.raises(EngineError, match="complete replies"):
            draw(
                engine,
                question,
                0,
                prompt=question.prompt.extended("", (), thinking=thinking),
            )
    with pytest.raises(EngineError, match="no replies at thinking=low"):
        draw(engine, question, 0, prompt=question.prompt.at_level("low"))
    [solution] = asyncio.run(
        solve_many(
            [question], Single(SamplingParams(max_tokens=9)), engine, budget="tokens=9"
        )
    )
    assert solution.cost.tokens <= 9


def test_the_recordings_of_the_benches_are_made_of_what_their_authors_publish(
    tmp_path: Path,
) -> None:
    bench = runpy.run_path(str(Path(__file__).parents[3] / "bench/published.py"))
    folder = tmp_path / "gpt-gsm"
    folder.mkdir()
    (folder / "1.csv").write_text(
        ",answer,token_usage\n0,33.0,594\n1,2.5,722\n2,,530\n"
    )
    golds = jsonl(
        tmp_path / "gsm.jsonl",
        [{"input": "How many?", "target": 7}, {"input": "And now?", "target": 33}],
    )
    asked = {"question_id": "gpt-gsm/1", "gold": "33"}
    assert list(bench["answers"](folder, golds)) == [
        {**asked, "answer": answer, "tokens": tokens}
        for answer, tokens in (("33", 594), ("2.5", 722), (None, 530))
    ]
    branches = [[["150", "150", "204"], 3856, "204"], [["ERR"], 900, "150"]]
    published = tmp_path / "aime24.json"
    published.write_text(
        json.dumps([{"each_branch": branches, "gold_answer": "204", "probe_freq": 500}])
    )
    assert list(bench["chains"](published)) == [
        {
            "question_id": "aime24/0",
            "gold": "204",
            "answer": answer,
            "tokens": tokens,
            "probes": probes,
            "every": 500,
        }
        for answer, tokens, probes in (
            ("204", 3856, ["150", "150", "204"]),
            ("150", 900, [None]),
        )
    ]


def test_the_questions_of_a_recording_have_one_reference_answer_each(
    tmp_path: Path,
) -> None:
    rows = [POOL[0], POOL[4], POOL[1] | {"gold": "34"}]
    with pytest.raises(
        UsageError, match=r"p\.jsonl:3, column 'gold': p\.jsonl:1 has '33'"
    ):
        questions(pool_of(tmp_path, rows))
    assert [each.id for each in questions(pool_of(tmp_path, rows[:2]))] == [
        "own/0",
        "own/1",
    ]


CUT = [
    {
        "question_id": "own/0",
        "gold": 7,
        "index": index,
        "answer": answer,
        "tokens": 30,
        "prompt_tokens": 20,
        "finish": finish,
        "text": text,
    }
    for index, answer, finish, text in (
        (-1, "7", "length", "So far we have"),
        (0, None, "length", "First, let us"),
        (1, "8", "stop", r"It is \boxed{8}"),
        (2, "9", "length", ""),
    )
]


def test_a_reply_that_was_cut_is_cut_here_too_and_gives_its_answer_when_it_is_asked(
    tmp_path: Path,
) -> None:
    file = pool_of(tmp_path, CUT)
    [question], engine = questions(file), PoolEngine(str(file))
    drawn = [draw(engine, question, index, temperature=0.7) for index in range(3)]
    greedy = draw(engine, question, 0, temperature=0)
    assert [
        (each.finish_reason, each.text, each.usage.generated_tokens)
        for each in (greedy, *drawn)
    ] == [
        ("length", "So far we have", 30),
        ("length", "First, let us", 30),
        ("stop", "It is \\boxed{8}\n\nThe answer is \\boxed{8}", 30),
        ("length", "[reply 2, cut after 30 tokens]", 30),
    ]
    assert [question.read(each) is None for each in (greedy, *drawn)] == [
        True,
        True,
        False,
        True,
    ]

    def asked(spec: str) -> Solution:
        solved = solve_many([question], build("strategy", spec), engine)
        return asyncio.run(solved)[0]

    alone, vote = asked("single:temperature=0"), asked("self_consistency:n=3")
    assert (alone.answer and alone.answer.key, alone.cost.tokens) == ("7", 20 + 30 + 20)
    # One sample ended by itself, so no other one is asked.
    assert (vote.answer and vote.answer.key, vote.cost.tokens) == ("8", 20 + 3 * 30)
    assert (alone.cut.cut, vote.cut.cut) == (1, 2)
    begun = question.prompt.then(drawn[1])
    with pytest.raises(EngineError, match="complete replies"):
        draw(engine, question, 0, prompt=begun)


def test_the_report_of_a_recording_says_how_many_of_its_replies_were_cut(
    tmp_path: Path,
) -> None:
    file, run = pool_of(tmp_path, CUT), tmp_path / "run"
    asked = [f"pool:{file}", "-e", f"pool:{file}", "--out", str(run), "-q"]
    arms = ["-s", "single:temperature=0", "-s", "self_consistency:n=3"]
    assert evaluate.command.main([*asked, *arms], standalone_mode=False) == 0
    [task] = make_report([run]).tasks
    greedy, whole = (
        next(row for row in task.rows if row.label == label)
        for label in ("greedy", "vote of 3")
    )
    assert (greedy.samples_cut, whole.samples_cut) == (1.0, pytest.approx(2 / 3))
    assert (greedy.acc, whole.acc) == (1.0, 0.0)


def test_a_recording_keeps_its_order_its_greedy_reply_its_likelihoods_and_its_texts(
    tmp_path: Path,
) -> None:
    rows = [
        {
            "question_id": "own/0",
            "gold": 7,
            "index": index,
            "tokens": 10 + index,
            "answer": answer,
            "score": score,
            "text": rf"Text {index}, not \boxed{{1}}",
        }
        for index, answer, score in ((1, "8", 0.5), (-1, "7", 0.9), (0, "9", 0.25))
    ]
    silent = {**rows[0], "question_id": "own/1", "answer": None, "score": None}
    file = pool_of(tmp_path, [*rows, silent])
    (question, unanswered), engine = questions(file), PoolEngine(str(file))

    def drawn(index: int, temperature: float) -> tuple[str, str, int, float]:
        reply = draw(engine, question, index, temperature=temperature, logprobs=0)
        answer = question.read(reply)
        assert answer
        assert reply.logprobs
        likelihood = math.exp(fmean(reply.logprobs.sampled))
        text = reply.text.partition(",")[0]
        return text, answer.text, reply.usage.generated_tokens, round(likelihood, 9)

    assert [drawn(0, 0.7), drawn(1, 0.7), drawn(1, 0)] == [
        ("Text 0", "9", 10, 0.25),
        ("Text 1", "8", 11, 0.5),
        ("Text -1", "7", 9, 0.9),
    ]
    assert not draw(engine, unanswered, 0, logprobs=0).text
    with pytest.raises(EngineError, match="no such log-probabilities"):
        draw(engine, question, 0, logprobs=2)


def test_recorded_replies_answer_the_benchmarks_own_question_and_have_the_flops_of_their_model(
    tmp_path: Path,
) -> None:
    folder = write_config(tmp_path / "model", SMOLLM)
    write_safetensors(folder / "model.safetensors", {"w": [2, 1000]})
    replies = [
        {
            "question_id": "own/0",
            "index": index,
            "tokens": 10 + index,
            "answer": gold,
            "text": rf"\boxed{{{gold}}}",
            "prompt_tokens": 20,
        }
        for index, gold in ((0, "7"), (1, "8"), (-1, "9"))
    ]
    engine = build(
        "engine", f"pool:path={pool_of(tmp_path, replies)},model_id={folder}"
    )
    question = replace(QUESTION, id="own/0")
    strategy = build("strategy", "escalate:n=2,then=single(temperature=0)")
    events = list[Event]()
    solved = solve_many([question], strategy, engine, trace=events.append)
    [solution] = asyncio.run(solved)
    model = read_model_info(folder, name="model")
    expected = [
        model.flops(prompt=20, cached=0, generated=10),
        model.flops(prompt=20, cached=20, generated=11),
        model.flops(prompt=20, cached=0, generated=9),
    ]
    assert (solution.answer and solution.answer.key) == "9"
    assert solution.cost.flops == sum(flops or 0 for flops in expected)
    trace = write_trace(tmp_path / "t.jsonl", events)
    again = solve_many([question], strategy, ReplayEngine(str(trace)))
    assert [each.cost.flops for each in asyncio.run(again)] == [solution.cost.flops]


def test_chains_with_probes_are_never_replaced_by_a_greedy_reply(
    tmp_path: Path,
) -> None:
    greedy = records((7, "3", ["3"]))[0] | {"index": -1}
    file = pool_of(tmp_path, [*CHAINS, greedy])
    # A probe has temperature 0, and so has this reply.
    [question] = questions(file)
    reply = draw(PoolEngine(str(file)), question, 0, temperature=0)
    assert reply.usage.generated_tokens == 23
    with pytest.raises(EngineError, match="holds 3 samples"):
        draw(PoolEngine(str(file)), question, 3, temperature=0)

"""Recorded answers: the task and the engine of a pool file, alone and together."""

import asyncio
import json
import math
import runpy
import struct
import zipfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Answer, solve_many
from reasoner.answers.questions import Question
from reasoner.engine import SampleRequest
from reasoner.engines.pool import PoolEngine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import EngineError, UsageError
from reasoner.models.geometry import read_model_info
from reasoner.registry import build
from reasoner.strategy import Plan, probe, sample
from reasoner.testing.support import Planned, course, write_trace
from reasoner.trace.events import Event
from reasoner.types import Completion, Extraction, Prompt, SamplingParams, Usage
from reasoner_evals.tasks.recordings import write_pool
from reasoner_strategies import SelfConsistency, Single
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
    for question, line in ((first, POOL[0]), (second, POOL[1])):
        for index, (answer, tokens) in enumerate(
            zip(line["answers"], line["tokens"], strict=True)
        ):
            reply = draw(engine, question, index)
            read = question.read(reply)
            known = question.space.read(rf"\boxed{{{answer}}}") if answer else None
            assert (read and read.key) == (known and known.key)
            assert (reply.usage, reply.token_ids) == (Usage(1, 1, tokens), ())
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
        match=r"holds 4 answers to 'own/0', and sample 5 was requested: draw at most 4",
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
        ("", "holds no question"),
        ("{", r"p\.jsonl:1 is not a recorded question: invalid json"),
        (
            '{"question_id": "q", "answers": ["1"], "tokens": []}',
            "has 1 answers and 0 token counts: give one count per answer",
        ),
        (
            '{"question_id": "q", "answers": ["1", "2"], "tokens": [3, 4], "texts": ["So 1."]}',
            "has 2 answers and 1 texts: give one text per answer, or none",
        ),
        (
            '{"question_id": "q", "answers": [1], "tokens": [1]}',
            r"answers\.0: input should be a valid string",
        ),
        (
            '{"question_id": "q", "answers": ["1"], "tokens": [0]}',
            r"tokens\.0: input should be greater than or equal to 1",
        ),
        (
            '{"question_id": "q", "answers": ["1"], "tokens": [1]}\n' * 2,
            "p.jsonl:2 repeats the question 'q'",
        ),
        (
            '{"question_id": "q", "chains": [{"tokens": 1, "answer": "1"}]}',
            "p.jsonl:1 has chains: give `every`",
        ),
        (
            '{"question_id": "q", "every": 5, "chains": [{"tokens": 1, "answer": "1", "probes": [["1", 0]]}]}',
            r"chains\.0\.probes\.0\.1: input should be greater than or equal to 1",
        ),
        (
            "".join(
                f'{{"question_id": "{name}", {reply}}}\n'
                for name, reply in (
                    ("q", '"answers": ["1"], "tokens": [1]'),
                    ("r", '"every": 5, "chains": [{"tokens": 1, "answer": "1"}]'),
                )
            ),
            "p.jsonl:2 mixes answers and chains",
        ),
    ],
)
def test_a_file_that_is_no_pool_is_reported_with_its_line(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(UsageError, match=told):
        asyncio.run(PoolEngine(str(tmp_path / "p.jsonl")).start())


def test_a_vote_over_a_pool_costs_its_tokens_and_finds_its_majority(
    tmp_path: Path,
) -> None:
    file = jsonl(tmp_path / "p.jsonl", POOL)
    solutions = asyncio.run(
        solve_many(questions(file), SelfConsistency(4), PoolEngine(str(file)))
    )
    assert [solution.answer and solution.answer.key for solution in solutions] == [
        "33",
        "5/2",
    ]
    assert [solution.cost.tokens for solution in solutions] == [30, 10]
    assert [solution.cost.samples for solution in solutions] == [4, 4]
    assert [solution.proposals[-1].cost.tokens for solution in solutions] == [30, 10]


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


CHAINS = records((23, "7", ["1", "ERR", "7"]), (9, None, ["8"]), (2300, "8", ["9"]))


def pool_of(folder: Path, rows: list[dict[str, Any]] = CHAINS) -> Path:
    write_pool(jsonl(folder / "records.jsonl", rows), folder / "p.jsonl")
    return folder / "p.jsonl"


def test_a_chain_in_parts_is_the_chain_and_a_probe_of_a_part_gives_the_answer_recorded_there(
    tmp_path: Path,
) -> None:
    engine = PoolEngine(str(pool_of(tmp_path)))
    [question] = questions(tmp_path / "p.jsonl")
    parts, probed, params = (
        list[Completion](),
        list[Extraction | None](),
        SamplingParams(max_tokens=4),
    )

    def plan(question: Question) -> Plan[Answer | None]:
        prompt = question.prompt
        while not parts or parts[-1].truncated:
            [part] = yield from sample(prompt, params=params)
            if part.truncated:
                probed.append((yield from probe(part, params=params)))
            prompt = prompt.then(part)
            parts.append(part)
        return question.read(parts[-1])

    [solution] = asyncio.run(solve_many([question], Planned(plan), engine))
    assert solution.error is None
    assert [part.usage.generated_tokens for part in parts] == [4, 4, 4, 4, 4, 3]
    assert [part.usage.cached_tokens for part in parts] == [1, 5, 9, 13, 17, 21]
    assert [part.unclosed for part in parts] == [True] * 5 + [False]
    assert parts[1].thinking == "[chain 0: 8 of 23 tokens]"
    # At 4, 8, 12, 16 and 20 tokens, with a probe at 5, 10 and 15.
    assert [found and found.answer and found.answer.key for found in probed] == [
        None,
        "1",
        None,
        "7",
        "7",
    ]
    assert (solution.cost.generated_tokens, solution.cost.thinking_tokens) == (
        23 + 5 * 20,
        22,
    )
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
    events: list[Event] = []
    [early_vote] = asyncio.run(
        solve_many([question], early, engine, trace=events.append)
    )
    replay = ReplayEngine(str(write_trace(tmp_path / "trace.jsonl", events)))
    [again] = asyncio.run(solve_many([question], early, replay))
    assert course(again) == course(early_vote)
    assert (
        early_vote.answer and early_vote.answer.key,
        early_vote.vote_state.cast,
    ) == ("8", 2)
    assert early_vote.cost.generated_tokens == 10 + 20 + 20 + 9 + 20 + 10 + 20


def test_what_no_chain_has_is_reported(tmp_path: Path) -> None:
    engine = PoolEngine(str(pool_of(tmp_path)))
    [question] = questions(tmp_path / "p.jsonl")
    begun = question.prompt.then(draw(engine, question, 0, max_tokens=5))
    with pytest.raises(EngineError, match="continues a chain once"):
        draw(engine, question, 1, prompt=begun)
    with pytest.raises(EngineError, match="insert nothing"):
        draw(engine, question, 0, prompt=begun.extended("", (), thinking="Wait"))
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


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3), st.lists(st.sampled_from(["1", "2", None]), max_size=6)
        ),
        min_size=1,
    )
)
def test_a_pool_has_every_record_in_its_order(
    rows: list[tuple[int, list[str | None]]], tmp_path_factory: Any
) -> None:
    written = [
        records((place + 1, str(place), probes), name=f"q{number}")[0]
        for place, (number, probes) in enumerate(rows)
    ]
    lines = pool_of(tmp_path_factory.mktemp("pool"), written).read_text().splitlines()
    kept: list[tuple[Any, ...]]
    expected: list[tuple[Any, ...]]
    if any(probes for _, probes in rows):
        kept = [
            (
                line["question_id"],
                chain["tokens"],
                [answer for answer, times in chain["probes"] for _ in range(times)],
            )
            for line in map(json.loads, lines)
            for chain in line["chains"]
        ]
        expected = [
            (row["question_id"], row["tokens"], row["probes"]) for row in written
        ]
    else:
        kept = [
            (line["question_id"], count)
            for line in map(json.loads, lines)
            for count in line["tokens"]
        ]
        expected = [(row["question_id"], row["tokens"]) for row in written]
    assert sorted(kept) == sorted(expected)
    assert [name for name, _ in groupby(row[0] for row in kept)] == list(
        dict.fromkeys(row[0] for row in expected)
    )


SEARCHED: dict[str, Any] = {
    "problem": "Halve $\\sqrt{12}$.",
    "solution": "",
    "answer": "\\sqrt{3}",
    "unique_id": "test/own/1.json",
    "completions": ["It is $\\boxed{\\sqrt3}$.", "Hm.", "So $\\boxed{2}$."],
    "scores": [[0.5], [0.1], [0.2]],
    "completion_tokens": [12, 2, 9],
    "pred": "It is $\\boxed{\\sqrt3}$.",
}
TRACED: dict[str, Any] = {
    "question_id": 3,
    "run_id": "0",
    "ground_truth": "70",
    "all_traces": [
        {
            "stop_reason": "stop",
            "text": "...",
            "num_tokens": 900,
            "confs": [3.1],
            "extracted_answer": "70",
            "is_correct": True,
        },
        {
            "stop_reason": "length",
            "text": "...",
            "num_tokens": 1000,
            "confs": [],
            "extracted_answer": None,
            "is_correct": False,
        },
    ],
}
INSPECT_LOG = Path(__file__).with_name("inspect.eval")
LOGGED: list[dict[str, Any]] = [
    {
        "doc_id": 5,
        "doc": {},
        "target": "3 + 4 = 7\n#### 7",
        "resps": [["The answer is 7", "Hm."]],
        "filtered_resps": ["[invalid]"],
        "filter": name,
        "exact_match": 0.0,
        "arguments": {
            "gen_args_0": {"arg_0": ["..."], "arg_1": {"until": [], "temperature": 0.7}}
        },
    }
    for name in ("strict-match", "flexible-extract")
]


def test_published_completions_are_pools(tmp_path: Path) -> None:
    """The forms of search-and-learn's data sets, of what deepconf-offline.py saves, as JSON, and of lm-eval's logs."""
    rows = [SEARCHED, TRACED, *LOGGED, *records((7, "70", []), name="q9")]
    written = write_pool(jsonl(tmp_path / "records.jsonl", rows), tmp_path / "p.jsonl")
    assert written == (4, 8, 1, False)
    first, second, logged, third = map(
        json.loads, (tmp_path / "p.jsonl").read_text().splitlines()
    )
    assert logged == {
        "question_id": "5",
        "gold": "7",
        "answers": ["7", None],
        "tokens": [1, 1],
    }
    assert first == {
        "question_id": "test/own/1.json",
        "gold": "\\sqrt{3}",
        "answers": ["\\sqrt3", None, "2"],
        "tokens": [12, 2, 9],
    }
    assert second == {
        "question_id": "3",
        "gold": "70",
        "answers": ["70", None],
        "tokens": [900, 1000],
    }
    assert third["tokens"] == [7]


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
    write_pool(
        jsonl(tmp_path / "records.jsonl", bench["answers"](folder, golds)),
        tmp_path / "p.jsonl",
    )
    assert json.loads((tmp_path / "p.jsonl").read_text()) == {
        "question_id": "gpt-gsm/1",
        "gold": "33",
        "answers": ["33", "2.5", None],
        "tokens": [594, 722, 530],
    }
    branches = [[["150", "150", "204"], 3856, "204"], [["ERR"], 900, "150"]]
    published = tmp_path / "aime24.json"
    published.write_text(
        json.dumps([{"each_branch": branches, "gold_answer": "204", "probe_freq": 500}])
    )
    write_pool(
        jsonl(tmp_path / "records.jsonl", bench["chains"](published)),
        tmp_path / "p.jsonl",
    )
    assert json.loads((tmp_path / "p.jsonl").read_text()) == {
        "question_id": "aime24/0",
        "gold": "204",
        "every": 500,
        "chains": [
            {"probes": [["150", 2], ["204", 1]], "tokens": 3856, "answer": "204"},
            {"probes": [["ERR", 1]], "tokens": 900, "answer": "150"},
        ],
    }


def test_a_log_of_inspect_ai_has_the_verdicts_of_its_scorer(tmp_path: Path) -> None:
    """As inspect_ai 0.3.285 wrote it, with three of six right by its scorer, and the same log as JSON."""
    log = tmp_path / "log.json"
    written = write_pool(INSPECT_LOG, tmp_path / "p.jsonl")
    assert written == (3, 6, 2, False)
    lines = [
        json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()
    ]
    assert [(line["gold"], line["answers"]) for line in lines] == [
        ("7", ["7", "8"]),
        ("Paris", ["Paris", "Rome"]),
        ("right", ["right", "b"]),
    ]
    assert all(line["tokens"] == [5, 6] for line in lines)
    samples = [
        {
            "id": line["question_id"],
            "target": [line["gold"]],
            "model_usage": {},
            "scores": {"match": score},
        }
        for line in lines
        for score in (
            {"value": 1.0, "answer": None},
            {"value": "I", "answer": line["gold"]},
        )
    ]
    log.write_text(
        json.dumps({"eval": {"model": "m"}, "samples": [*samples, {"error": {}}]})
    )
    assert write_pool(log, tmp_path / "p.jsonl") == (3, 6, 2, False)
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])[
        "answers"
    ] == ["7", "wrong"]
    # What the scorer calls wrong is never right here, although our grader may be more generous.
    pairs = [
        ("x+1", "1+x"),
        ("{{{", "right"),
        ("wrong", "so"),
        ("wrong", "Wrong"),
        ("7", "9"),
    ]
    samples = [
        {
            "id": place,
            "target": target,
            "model_usage": {},
            "scores": {"match": {"value": "I", "answer": answer}},
        }
        for place, (target, answer) in enumerate(pairs)
    ]
    log.write_text(json.dumps({"eval": {"model": "m"}, "samples": samples}))
    write_pool(log, tmp_path / "p.jsonl")
    given = [
        json.loads(line)["answers"]
        for line in (tmp_path / "p.jsonl").read_text().splitlines()
    ]
    assert given == [["wrong"], ["wrong"], ["so"], ["not right"], ["9"]]
    for broken in (log, tmp_path / "log.eval"):
        broken.write_bytes(INSPECT_LOG.read_bytes()[:5000])
        with pytest.raises(UsageError, match="is not a log of inspect_ai"):
            write_pool(broken, tmp_path / "p.jsonl")


def test_a_pool_that_no_command_could_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"its name must end in \.jsonl"):
        write_pool(INSPECT_LOG, tmp_path / "pool")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_log_of_inspect_ai_is_refused(tmp_path: Path) -> None:
    log, whole = tmp_path / "log.eval", INSPECT_LOG.read_bytes()
    with zipfile.ZipFile(log, "w") as archive:
        archive.writestr("header.json", "{}")
    stored = bytearray(log.read_bytes())
    sizes = stored.index(b"PK\1\2") + 20
    stored[sizes : sizes + 8] = struct.pack("<II", 9999, 9999)
    for content, why in (
        (
            whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:],
            "samples/1_epoch_1.json is damaged",
        ),
        (whole[:700] + bytes([whole[700] ^ 1]) + whole[701:], "decompress failed"),
        (bytes(stored), "cut short"),
    ):
        log.write_bytes(content)
        with pytest.raises(UsageError, match=f"is not a log of inspect_ai: .*{why}"):
            write_pool(log, tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            json.dumps(SEARCHED | {"completion_tokens": -1}),
            "has 3 completions: give completion_tokens",
        ),
        (
            json.dumps(SEARCHED | {"completion_tokens": [1, 2, -1]}),
            "tokens: input should be greater than or equal to 1",
        ),
        (
            json.dumps(
                LOGGED[0]
                | {"resps": [["-8.5"]], "arguments": {"gen_args_0": {"arg_0": "So"}}}
            ),
            "log-likelihoods: give the samples of a task",
        ),
        (
            json.dumps(TRACED | {"all_traces": [{}]}),
            "tokens: input should be a valid integer",
        ),
        ("\n\n", "has no record"),
        (
            '\n{"question_id": "q"}',
            r"records\.jsonl:2 is not a recorded reply: tokens: field required",
        ),
        (
            "".join(
                f'{{"question_id": "q", "gold": {gold}, "tokens": 1, "answer": null}}\n'
                for gold in (1, 2)
            ),
            "records.jsonl:2 has gold='2' and every=500, and an earlier line of 'q' has gold='1'",
        ),
        ("[1]", "records.jsonl:1 is not a row"),
    ],
)
def test_records_that_are_none_are_reported_and_write_nothing(
    lines: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "records.jsonl").write_text(lines)
    with pytest.raises(UsageError, match=told):
        write_pool(tmp_path / "records.jsonl", tmp_path / "p.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["records.jsonl"]


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
    with pytest.raises(UsageError, match="only a greedy reply"):
        pool_of(tmp_path, rows[1:2])


def test_recorded_replies_answer_the_benchmarks_own_question_and_have_the_flops_of_their_models(
    tmp_path: Path,
) -> None:
    members, models = [], []
    for name, layers, golds in (("small", 2, "788"), ("large", 4, "999")):
        folder = write_config(tmp_path / name, SMOLLM | {"num_hidden_layers": layers})
        write_safetensors(folder / "model.safetensors", {"w": [layers, 1000]})
        replies = [
            {
                "question_id": "own/0",
                "index": index,
                "tokens": 10 + index,
                "answer": gold,
                "text": rf"\boxed{{{gold}}}",
                "prompt_tokens": 20,
            }
            for index, gold in zip((0, 1, -1), golds, strict=True)
        ]
        (tmp_path / f"of-{name}").mkdir()
        file = pool_of(tmp_path / f"of-{name}", replies)
        members.append(f"pool(path={file},model_id={folder})")
        models.append(read_model_info(folder, name=name))
    mixture = build("engine", f"mixture:members=[{','.join(members)}],levels=none")
    question = replace(QUESTION, id="own/0")
    strategy = build("strategy", "escalate:n=2,then=single(temperature=0)")
    events = list[Event]()
    solved = solve_many([question], strategy, mixture, trace=events.append)
    [solution] = asyncio.run(solved)
    small, large = models
    expected = [
        small.flops(prompt=20, cached=0, generated=10),
        small.flops(prompt=20, cached=20, generated=11),
        large.flops(prompt=20, cached=0, generated=9),
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
    [line] = map(json.loads, file.read_text().splitlines())
    assert [chain["tokens"] for chain in line["chains"]] == [23, 9, 2300]
    # A probe has temperature 0, and so has this reply; a file by hand may hold a greedy one.
    jsonl(file, [line | {"greedy": {"tokens": 7, "answer": "3"}}])
    [question] = questions(file)
    reply = draw(PoolEngine(str(file)), question, 0, temperature=0)
    assert reply.usage.generated_tokens == 23
    with pytest.raises(EngineError, match="holds 3 answers"):
        draw(PoolEngine(str(file)), question, 3, temperature=0)

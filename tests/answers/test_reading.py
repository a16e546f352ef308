"""The one order in which every kind of answer is read, what replaces an answer, and what a task may add to it."""

from itertools import combinations

import pytest

from reasoner.answers import TAIL, ChoiceSpace, NumberSpace, TextSpace, final_segment, space_for
from reasoner.answers.languages import Language, Phrases, Reply, languages
from reasoner.errors import UsageError

NUMBER = NumberSpace()
BY_RULE = {
    "form": ("\\boxed{1}", "<answer>1</answer>", '{"answer": 1}', "#### 1"),
    "announced": ("The final answer is 2.", "Answer: 2", "2 is the correct answer.", "答案是2。"),
    "heading": ("### Answer\n\n3", "**Final answer**\n3"),
    "line": ("**4**", "`4`"),
    "last": ("we have 5 left over in the end",),
}


@pytest.mark.parametrize(("stronger", "weaker"), combinations(BY_RULE, 2))
def test_the_more_explicit_statement_wins_wherever_it_is(stronger: str, weaker: str) -> None:
    for first in BY_RULE[stronger]:
        for second in BY_RULE[weaker]:
            for text in (f"{first}\n\n{second}", f"{second}\n\n{first}"):
                answer = NUMBER.read(text)
                assert answer is not None
                assert answer.rule == stronger, text


@pytest.mark.parametrize("statement", [text for texts in BY_RULE.values() for text in texts])
@pytest.mark.parametrize(
    "correction",
    [
        "Wait, that is 43.",
        "Actually, it's 43.",
        "Sorry, 43.",
        "Correction: 43",
        "I made a mistake. 40 + 3 = 43",
        "更正：43。",
    ],
)
def test_a_correction_replaces_any_answer(statement: str, correction: str) -> None:
    answer = NUMBER.read(f"{statement}\n\n{correction}")
    assert answer is not None
    assert answer.key == "43"


@pytest.mark.parametrize(
    "announcement",
    ["If the answer is 8, ", "Is the answer 8? ", "One might think the answer is 8. ", "The answer is not 8. "],
)
def test_what_is_supposed_asked_or_denied_is_not_announced(announcement: str) -> None:
    answer = NUMBER.read(f"{announcement}So there must be 9")
    assert answer is not None
    assert (answer.key, answer.rule) == ("9", "last")


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        ("<|channel|>analysis<|message|>7<|end|><|start|>assistant<|channel|>final<|message|>8<|return|>", "8"),
        ("<|channel|>final<|message|>8<|end|><|start|>assistant<|channel|>analysis<|message|>9", "8"),
        ("<|channel|>final <|constrain|>json<|message|>{}", "{}"),
        ("<|channel|>analysis<|message|>7", None),
        ("analysisWe try 7.assistantfinal8", "8"),
        ("analysisWe try 7.", None),
        ("analysis of the data: 7", "analysis of the data: 7"),
        ("[THINK]7[/THINK]8", "8"),
        ("<seed:think>7</seed:think>8", "8"),
        ("\u25c1think\u25b77\u25c1/think\u25b78", "8"),
        ("<|channel>thought\n7<channel|>8", "8"),
        ("<|begin_of_thought|>7<|end_of_thought|>8", "8"),
        ("<think>a<think>b</think>c", "c"),
        ("8<reflection>7</reflection>\n", "8"),
        ("6</think>7<think>8", "7<think>8"),
        ("The tag <think> opens it: 7", "The tag <think> opens it: 7"),
        ("<mm:think>7</mm:think>8", "8"),
        ("<mm:think>7", None),
        ("<|plamo:begin_think:plamo|>7<|plamo:end_think:plamo|>8", "8"),
        ("Here's my thought process: 7 Here's my response: 8", " 8"),
        ("Here\u2019s my thought process: 7", None),
        ("<THINK>7</THINK>8", "8"),
        ("<Thought>\n7", None),
        ("Here are my reasoning steps:\n7\n[BEGIN FINAL RESPONSE]\n8\n[END FINAL RESPONSE]\n", "\n8\n"),
        ("Here are my reasoning steps:\n7", None),
        ("<|im_start|>think\n7\n<|im_start|>answer\n8", "\n8"),
        ("<|im_start|>think\n7", None),
        ("<|open|>think<|sep|>7<|close|>think<|sep|><|open|>response<|sep|>8", "<|open|>response<|sep|>8"),
        ("<ifm|think_fast>7</ifm|think_fast>8", "8"),
    ],
)
def test_marks_of_thinking(text: str, segment: str | None) -> None:
    assert final_segment(text) == segment


# Numbers by language


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.name)
def test_a_grouped_number_is_read_by_the_convention_of_its_language(language: Language) -> None:
    comma = language.decimal == ","
    for written, key in (("1.234", "1234" if comma else "617/500"), ("1,234", "617/500" if comma else "1234")):
        answer = NUMBER.read(f"{' '.join(language.common)}. {language.answer[0]}: {written}")
        assert answer is not None
        assert answer.key == key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("57 000", "57000"),
        ("57, 000", "57000"),
        ("$2,50", "5/2"),
        ("12,34,567", "1234567"),
        ("1'234'567", "1234567"),
        ("1.234.567,8", "6172839/5"),
        ("1,234.5", "2469/2"),
        ("3 \u00d7 10^5", "300000"),
        ("\uff14\uff12", "42"),
        ("\u0664\u0662", "42"),
        ("\u00bd", "1/2"),
        ("in 2024 100 people", "100"),
        ("1,2,3", "3"),
        ("the point (3,4)", "4"),
    ],
)
def test_grouping_and_decimals(written: str, key: str) -> None:
    answer = NUMBER.read(written)
    assert answer is not None
    assert answer.key == key


def test_offsets_are_those_of_the_text_where_lower_case_is_longer() -> None:
    text = "\u0130" * 5 + " the answer is 7 of 9"
    assert len(Reply(text).lowered) == len(text)
    answer = NUMBER.read(text)
    assert answer is not None
    assert (answer.key, answer.rule) == ("7", "announced")


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.name)
def test_every_phrase_tells_its_language(language: Language) -> None:
    phrases: tuple[Phrases, ...] = ("answer", "correction", "statement")
    for kind in phrases:
        for phrase in getattr(language, kind):
            assert language in Reply(f"4_{phrase}\u2014 4").speaking(kind), phrase


# A task's own pattern


def test_a_pattern_comes_first_and_leaves_other_replies_to_the_rules() -> None:
    own = space_for(r"number:pattern=^Mine: (\d+), or", "How many?")
    assert own == NumberSpace(pattern=r"^Mine: (\d+), or")
    for text, read in (
        ("Mine: 1, or\nMine: 2, or\n\\boxed{3}", ("2", "pattern")),
        ("Mine: , or\n\\boxed{3}", ("3", "form")),
    ):
        answer = own.read(text)
        assert answer is not None
        assert (answer.key, answer.rule) == read


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_given_up() -> None:
    answer = NumberSpace(pattern=r"(a|aa|a+)+$x").read("a" * 5000 + " so the answer is 7")
    assert answer is not None
    assert answer.rule == "announced"


@pytest.mark.parametrize("pattern", ["(", "[a", "*"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="is not a regular expression"):
        TextSpace(pattern=pattern)


# A whole reply between tags

BOXES = "3 boxes of 12 make 36, and 6 more are 42."


@pytest.mark.parametrize("around", ["<answer>\n{}\n</answer>", "[answer]{}[/answer] Hope this helps!", "<result>{}"])
@pytest.mark.parametrize(
    ("kind", "content", "key"),
    [
        ("number", f"{BOXES} The answer is 42.", "42"),
        ("number", f"{BOXES}\n\n**42**", "42"),
        ("number", "First, 3 boxes of 12 make 36. Then 6 more make 42.", "42"),
        ("number", "42. We multiply 12 by 3 and add 6.", "42"),
        ("number", "42\n(12 times 3, and 6 more)", "42"),
        ("number", "42. Wait, that is 43.", "43"),
        ("number", "42 because 36 + 6", "42"),
        ("math", f"{BOXES} The answer is 42.", "42"),
        ("math", "We integrate and get\n$$\\frac{\\pi}{4}$$", r"\frac{\pi}{4}"),
        ("math", "\\begin{pmatrix}\n1 \\\\\n2\n\\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("choice", "A is too bright. The answer is B.", "B"),
        ("choice", "B\nThe others fail because A is bright.", "B"),
        ("yes_no", "Whales are mammals. Fish are not. The answer is no.", "no"),
        ("text", "It is on the Seine. The answer is Paris.", "paris"),
        ("text", "because it was raining", "because it was raining"),
        ("text", "St. Louis", "st louis"),
        ("code", "Here:\n```python\nx = 1\n```\nIt works.", "x = 1"),
    ],
)
def test_a_whole_reply_between_tags_is_read_in_the_usual_order(around: str, kind: str, content: str, key: str) -> None:
    answer = space_for(kind, "Which? A) red B) blue").read(around.format(content))
    assert answer is not None
    assert (answer.key, answer.rule) == (key, "form")


# Several letters


@pytest.mark.parametrize(
    ("text", "one", "several"),
    [
        ("The answer is A and C.", None, "A,C"),
        ("\\boxed{C, A}", None, "A,C"),
        ("Answer: (A), (B), and (D)", None, "A,B,D"),
        ("The answer is B", "B", "B"),
        ("答案是A和C。", None, "A,C"),
    ],
)
def test_two_letters_are_no_answer_unless_several_are_allowed(text: str, one: str | None, several: str) -> None:
    options = ("red", "blue", "green", "yellow")
    for space, key in ((ChoiceSpace(options), one), (ChoiceSpace(options, several=True), several)):
        answer = space.read(text)
        assert (answer.key if answer else None) == key


# Hostile text

PIECES = [
    "answer to ", "wait, ", "no, 4. ", '{"answer":', '"answer": "', "<answer>", "[[A]]", "**1", "1 000 ", "1'000", "1,11", "1.111", "1, 000",
    "### Answer\n", "#### 1\n", "| Answer ", "答案是", "选B", "B is correct ", "A) red\n", "(A) or ", "42 is the answer ", "\\begin{align}",
    "\\boxed{1}", "<|channel|>final<|message|>", "check:\n", "confident 9", "third option is the correct ", "I choose ", "if ", "say that ",
    "third ", "statement is ", "\u3002", "\u0130", "* ", "__", "\n", "1.", "1\u00d710^", "R$", "$x=1$ and ", "so ", "1, ", "not a dog ",
    "not A but ", "A \u2717\n", "twelve ", "the claim is ", "$x=1$ because ", "\\boxed{1} and ", "$1 for 2 x ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: f"{piece!a}")
def test_hostile_text_ends_soon(piece: str) -> None:
    question = "Which? A) a cat B) a dog"
    spaces = [space_for(kind, question) for kind in ("number", "math", "choice", "yes_no", "text", "code")]
    for space in spaces:
        space.read(piece * (10**6 // len(piece)))
        for before in ("The answer is 5. wait, ", "<answer>", "### Answer\n"):
            space.read(before + piece * (TAIL // len(piece)) + "x")

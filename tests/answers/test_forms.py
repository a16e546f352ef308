"""Answers read from explicit forms: what each form gives, which one counts, and what is no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.choices import ChoiceSpace, choice_in
from reasoner.answers.forms import table
from reasoner.answers.kinds import space_for
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import MAX_DIGITS, NumberSpace
from reasoner.answers.texts import TextSpace, YesNoSpace, squad_normal
from reasoner.answers.thinking import final_segment
from reasoner.errors import UnknownName, UsageError
from reasoner.types import AnswerSpace

NUMBER, MATH, TEXT, YES_NO = NumberSpace(), MathSpace(), TextSpace(), YesNoSpace()
FOUR = ChoiceSpace(("a cat", "a dog", "12", "2"))
FIVE = ChoiceSpace(("iron", "12", "tin", "4", "zinc ore"), "numbers")


def read(space: AnswerSpace, text: str) -> str | None:
    """The key and the rule, as in `7 form`."""
    answer = space.read(text)
    return f"{answer.key} {answer.rule}" if answer else None


TABLES: dict[str, tuple[AnswerSpace, list[tuple[str, str | None]]]] = {
    "the forms": (
        NUMBER,
        [
            (r"so \boxed{7}.", "7 form"),
            (r"\boxed{7", None),
            (r"\boxed{\boxed{7}}", "7 form"),
            (r"\boxed{none} and 8", None),
            (r"Final answer: $-13^\circ\text{C}$", "-13 announced"),
            (r"Endergebnis: \boxed{1.600{,}25 €}", "6401/4 form"),
            ("<answer>7</answer>", "7 form"),
            ("so <answer>7", "7 form"),
            ("so\n#### 7", "7 form"),
            ("#### 1\n#### 2", "2 form"),
            ("#### 2. Add them\nThis gives 9", None),
            ('{"answer": "7"}', "7 form"),
            ('{"steps": 3, "final_answer": 7}', "7 form"),
            ("The answer is 7.", "7 announced"),
            ("So, the final answer is: $7$. I hope it is correct", "7 announced"),
            ("**Answer:** 7 apples", "7 announced"),
            ("### Final Answer\n\n7", "7 announced"),
            ("The answer to the first question is 7 because of that", "7 announced"),
            ("7", "7 alone"),
            ("We add.\n**7 apples**", "7 alone"),
            ("We add.\n3 + 4 = 7", "7 alone"),
            ("it is 7", None),
        ],
    ),
    "which form counts": (
        NUMBER,
        [
            (r"\boxed{1}. Then \boxed{2}", "2 form"),
            (r"\boxed{1} then \boxed{2}", None),
            ("The answer is 1. No, the answer is 2", "2 announced"),
            (r"\boxed{1}, but the answer is 2", None),
            ("#### 1, but the answer is 1", None),
            ("The answer is 42. Wait, that is 43.", None),
            ("\\boxed{42}\n\nWait, that is 43.", None),
            ("\\boxed{42}\n\nHmm, can that be? Let me check", None),
            ("答案是42。等等，应该是43。", None),
            ("The answer is 42. It is an even number.", "42 announced"),
            ("**Answer: 42**\n\nIs there anything else?", "42 announced"),
            ("\\boxed{42}\n\nNote that the speed is constant.", "42 form"),
            ("\\boxed{42}\n\nCheck: the sum is 40 + 2 = 42.", "42 form"),
            ("\\boxed{42}\n\nNote that the first one has 40.", None),
            ("\\boxed{42}\n\nThe answer above is forty.", None),
            ("\\boxed{42}\n\nThe next step is to multiply it", None),
            ("\\boxed{42}\n\nNow multiply it by the number of weeks.", None),
            ("\\boxed{42}. I hope it is correct.", "42 form"),
            ("The answer is 15 km one way, so it is 30 km in all.", None),
            ("The answer is 13 as long as nothing else changes", None),
            ("The answer would be 13", None),
            ('{"answer": 4, "why": "2 + 2"}', "4 form"),
            (r'{"answer": 4} No: \boxed{5}, as {2} + {3}', "5 form"),
            (r"Is it \boxed{7}?", None),
            ("We add.\n7\n(2 are left over)", None),
            ("We add.\n7\n(3 + 4 = 7)", None),
            (r"\boxed{27}, while \boxed{3} is only a step on the way", None),
            (
                "The answer is 7.\n\nQuestion: How many are 3 + 5?\nThe answer is 8.",
                "7 announced",
            ),
            (
                "We think about it for a while, and the answer is 7.\n\nQuestion: Another?\nThe answer is 8.",
                "7 announced",
            ),
        ],
    ),
    "what only seems to be said": (
        NUMBER,
        [
            ("If the answer is 8, then so be it", None),
            ("Is the answer 8? No.", None),
            ("One might think the answer is 8. There must be more", None),
            ("The answer is not 8", None),
            ("The answer is 8 or 9", None),
            ("The answer is 8 times as much", None),
            ("Answer:\n1. Add them\n2. Take them away", None),
            ("<think>the answer is 7", None),
            ("<think>the answer is 7</think>the answer is 8", "8 announced"),
        ],
    ),
    "numbers": (
        NUMBER,
        [
            (r"\boxed{3.50}", "7/2 form"),
            (r"\boxed{- 5}", "-5 form"),
            ("We add.\n-5", "-5 alone"),
            ("These are left:\n- 3 trucks", None),
            ("- 5", None),
            ("* 5 cats", None),
            ("<answer>- 3 trucks</answer>", None),
            ("Answer: - 8", None),
            ("**Answer**\n\n- 64 tiles", None),
            ("Answer: -8", "-8 announced"),
            ("The answer is \u22125.", "-5 announced"),
            ("The answer is 1,234,567.25", "4938269/4 announced"),
            ("The answer is 12,34,567", "1234567 announced"),
            ("The answer is 1'234'567", "1234567 announced"),
            ("The answer is 57 000", "57000 announced"),
            ("Answer: 57, 000", None),
            ("Answer: 1.234.567,8", "6172839/5 announced"),
            ("Answer: 2,50", "5/2 announced"),
            ("Answer: 1.234", "617/500 announced"),
            ("La respuesta es 1.234 por una con los", "1234 announced"),
            ("The answer is 1 1/2 cups", "3/2 announced"),
            ("The answer is 1/0", None),
            (r"\boxed{\frac{-3}{4}}", "-3/4 form"),
            (r"\boxed{1\frac12}", "3/2 form"),
            (r"\boxed{1{,}234}", "1234 form"),
            (r"\boxed{25\text{ cm}^2}", "25 form"),
            (r"\boxed{3 \times 10^{5}}", "300000 form"),
            (r"\boxed{3 + 4 = 7}", "7 form"),
            (r"\boxed{3 + 4}", None),
            (r"\boxed{7^2}", None),
            (r"\boxed{7, 8}", None),
            ("The answer is $20 - $5 = $15.", "15 announced"),
            ("The answer is 2 million", None),
            ("The answer is \uff14\uff12.", "42 announced"),
            ("The answer is \u00bd", "1/2 announced"),
            ("#### " + "1" * MAX_DIGITS, None),
            ("#### " + "1" * 150, "1" * 150 + " form"),
        ],
    ),
    "choices": (
        FOUR,
        [
            ("C", "C alone"),
            ("(c)", "C alone"),
            ("a", None),
            ("Let me see.\nC.", "C alone"),
            ("Let me see.\nB) a dog", "B alone"),
            ("B) something else", None),
            ("A: No\nB: Yes", None),
            ("the answer is (c), I think", "C announced"),
            ("The correct option is B", "B announced"),
            ("The answer is option C", "C announced"),
            (r"The answer is \(\text{C}\)", "C announced"),
            ("The answer is A because it purrs", "A announced"),
            ("The answer is A lion", None),
            ("The answer is I think unknown", None),
            ("The answer is a dog.", "B announced"),
            ("The answer is 12", "C announced"),
            (r"\boxed{\textbf{(C) } 12}", "C form"),
            (r"\boxed{C) 12}", "C form"),
            (r"\boxed{C) a dog}", None),
            (r"\boxed{12}", "C form"),
            (r"\boxed{E}, so the answer is B", None),
            ("Answer: (A) and (D)", None),
            ("The answer is B. Wait, actually D.", None),
            ("The answer is B. A cat does not bark.", "B announced"),
            ("It must be a dog!", None),
        ],
    ),
    "numbered choices": (
        FIVE,
        [
            ("3", "3 alone"),
            ("The answer is (3).", "3 announced"),
            (r"\boxed{\text{(3)}}", "3 form"),
            (r"\boxed{12}", "2 form"),
            ("The answer is 3.5", None),
            ("Answer: zinc ore", "5 announced"),
        ],
    ),
    "yes or no": (
        YES_NO,
        [
            ("No.", "no alone"),
            ("The answer is No, as it sinks", "no announced"),
            ("**Answer**: **no**", "no announced"),
            (r"The answer is \boxed{yes}. No doubt.", "yes form"),
            ("The answer is no one", None),
            ("The answer is No. 5", None),
            ("The answer is yes or no", None),
            (r"\boxed{\text{Yes}}", "yes form"),
            (r"\boxed{5}, yes", None),
            ("Answer: Yes\nCorrection: No", None),
            ("No evidence was found", None),
            ("答案：是。", "yes announced"),
            ("Answer: Yes. Hmm, only if", None),
        ],
    ),
    "texts": (
        TEXT,
        [
            ("Paris", "paris alone"),
            ("Marie Curie", "marie curie alone"),
            ("Non lo so", None),
            ("Sure!", None),
            ("\u6211\u4e0d\u77e5\u9053", None),
            ("\u5317\u4eac", None),
            ("\u4eca\u306f\u77e5\u3089\u306a\u3044", None),
            ("\ubaa8\ub974\uaca0\uc2b5\ub2c8\ub2e4", None),
            ("\u7b54\u6848\u662f\u5317\u4eac\u3002", "\u5317\u4eac announced"),
            ("\u7b54\u6848\u662f\u6ca1\u6709\u4eba\u77e5\u9053\u3002", None),
            ("\u7b54\u6848\u662f\u5317\u4eac\uff0c\u5728\u5317\u65b9\u3002", None),
            ("\u7b54\u3048\u306f\u308f\u304b\u308a\u307e\u305b\u3093\u3002", None),
            (
                "\u6b63\u89e3\u306f\u300c\u3072\u307e\u308f\u308a\u300d\u3067\u3059\u3002",
                "\u3072\u307e\u308f\u308a announced",
            ),
            ("La respuesta es que nadie lo sabe.", None),
            ("La respuesta es la ballena azul.", "la ballena azul announced"),
            ("The answer is Paris.", "paris announced"),
            ("Answer:\n  **Paris**.", "paris announced"),
            ("The answer is Paris. It lies on the Seine.", None),
            ("The answer is that nobody knows", None),
            ("Answer: Paris\nCorrection: Lyon", None),
            (r"\boxed{\text{The Eiffel Tower}}", "eiffel tower form"),
            ("\\boxed{The\nEiffel Tower}", "eiffel tower form"),
            ("\\boxed{One thing.\n\nAnother.}", None),
            (r"The final answer is \boxed{your answer}.", None),
            ("<answer>Jean-Luc, of all people</answer>", "jeanluc of all people form"),
            ("答えは東京です。", "東京 announced"),
            ("!?", None),
        ],
    ),
    "formulas": (
        MATH,
        [
            (r"so \boxed{\frac{1}{2}}", "1/2 form"),
            (r"\boxed{x^2 + \sqrt{2}}$, attained at $x = 6$.", "x^2+\\sqrt{2} form"),
            (r"$\boxed{1}$ and $\boxed{2}$", r"1,2 form"),
            (r"\boxed{1}\quad\text{and}\quad\boxed{2}", "1,2 form"),
            (r"\(\boxed{1}\) y \(\boxed{2}\)", "1,2 form"),
            (r"\boxed{1}\; \text{und} \; \boxed{2}", "1,2 form"),
            (r"$\boxed{x<1}$ o $\boxed{x>2}$", r"x<1\cup x>2 form"),
            (r"$a=\boxed{1}$ and $b=\boxed{2}$", None),
            (r"$(\boxed{1}, \boxed{2})$", None),
            ("We add.\n(3, 4)", "(3,4) alone"),
            ("Answer:\n- 5", None),
            ("- 5", None),
            (r"\boxed{\text{(E)}}", "E form"),
            (
                r'{"answer": "\frac{3}{4} \times x\neq 1"}',
                r"\frac{3}{4}\cdot x\ne1 form",
            ),
            (r"The final answer is: \(\pi\).", r"\pi announced"),
            ("The answer is $x$ and $y$.", r"x,y announced"),
            ("Answer:\n\\[\n\\frac{3}{4}\n\\]", "3/4 announced"),
            ("The answer is (3, 4).", "(3,4) announced"),
            ("The answer is 25 cm^2", r"25\text{ cm^2} announced"),
            ("The answer is $x$ plus one", None),
            ("The answer is that nobody ever knew it\nso $7$ it is", None),
            ("La respuesta es 3,5.", "7/2 announced"),
            ("We add.\n$x = 3$", "3 alone"),
            ("The answer is .35625. I hope it is correct", "57/160 announced"),
            (r"The answer is $x < -2$ or $x \ge 1$.", r"x<-2\cup x\ge1 announced"),
            (r"So $$y = e^{x}\left(", None),
            (r"\boxed{\text{[your final answer here]}}", None),
            ("\\begin{align*}\nx &= 6 \\\\\n&= 42\n\\end{align*}", None),
            ("We find $3$ and then $\\pi$ in the end", None),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_answer_is_read(name: str) -> None:
    space, rows = TABLES[name]
    assert [(text, read(space, text)) for text, _ in rows] == rows


@pytest.mark.parametrize("language", [*table()])
def test_an_announcement_is_read_in_each_language(language: str) -> None:
    words = table()[language]
    for noun in words["nouns"]:
        for lead in (f"{noun}: ", f"{noun} {words['verbs'][0]} "):
            assert read(NUMBER, f"{lead}42") == "42 announced"
            assert read(FOUR, f"{lead}B") == "B announced"
        assert read(YES_NO, f"{noun}: {words['no'][0]}") == "no announced"


@given(
    st.fractions(max_denominator=1000),
    st.sampled_from(["{}", "The answer is {}.", r"\boxed{{{}}}", "#### {}"]),
)
def test_any_fraction_reads_back(value: object, form: str) -> None:
    answer = NUMBER.read(form.format(value))
    assert answer is not None
    assert answer.key == str(value)


def test_a_pattern_of_the_task_comes_first() -> None:
    space = space_for("number:pattern=^Final: (.*)$", "?")
    assert read(space, "Final: 3\nFinal: 4 apples\nThe answer is 5") == "4 pattern"
    assert read(space, "The answer is 5") == "5 announced"
    assert (
        read(space_for("number:pattern=(a+)+$", "?"), "a" * 60 + r"! \boxed{5}")
        == "5 form"
    )
    with pytest.raises(UsageError, match="is not a regular expression"):
        space_for("number:pattern=(", "?")


PIECES = [
    "The answer is ",
    "Answer:",
    "\\boxed{",
    "}",
    "####",
    "<answer>",
    "</answer>",
    '{"answer": ',
    "Wait, ",
    "\u7b54\u6848\u662f",
    "yes",
    "no",
    "A",
    "B)",
    "(3",
    "12",
    "1,234",
    "$",
    "\\frac",
    "\\text{",
    "or",
    "not ",
    " ",
    "\n",
    ".",
    "*",
    "\ud800",
]


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
)
def test_reading_never_raises_and_an_answer_has_a_key(text: str) -> None:
    for space in (NUMBER, FOUR, FIVE, YES_NO, TEXT, MATH):
        answer = space.read(text)
        assert answer is None or answer.key


@pytest.mark.parametrize(
    ("text", "segment"),
    [
        (
            "<|channel|>analysis<|message|>7<|end|><|start|>assistant<|channel|>final<|message|>8<|return|>",
            "8",
        ),
        ("analysisWe try 7.assistantfinal8", "8"),
        ("analysisWe try 7.", None),
        ("analysis of the data: 7", "analysis of the data: 7"),
        ("[THINK]7[/THINK]8", "8"),
        ("\u25c1think\u25b77\u25c1/think\u25b78", "8"),
        ("<think>a<think>b</think>c", "c"),
        ("6</think>7<think>8", "7<think>8"),
        ("The tag <think> opens it: 7", "The tag <think> opens it: 7"),
        ("Here's my thought process: 7 Here's my response: 8", " 8"),
        ("<|im_start|>think\n7\n<|im_start|>answer\n8", "\n8"),
        (
            "<|open|>think<|sep|>7<|close|>think<|sep|><|open|>response<|sep|>8",
            "<|open|>response<|sep|>8",
        ),
    ],
)
def test_marks_of_thinking(text: str, segment: str | None) -> None:
    assert final_segment(text) == segment


LISTED: list[tuple[str, tuple[str, ...] | None]] = [
    ("Which? A) red B) blue", ("red", "blue")),
    ("Which?\n(A) red\n(B) blue\n(C) green", ("red", "blue", "green")),
    ("Which?\nA. red\nB. blue\n\nGive a letter.", ("red", "blue")),
    ("Which? A) red C) blue", None),
    ("Is vitamin A. good?", None),
    ("Which? a) red b) blue", None),
    ("Which? 1) red 2) blue", ("red", "blue")),
    ("Which?\n1. red\n2. blue\n3. green", ("red", "blue", "green")),
    ("Solve: 1) 2+2 2) 3+3", None),
    ("Steps:\n1. mix\n2. bake\nHow long does it take?", None),
    ("Which? A) 1) red B) 2) blue", ("1) red", "2) blue")),
]


@pytest.mark.parametrize(("question", "options"), LISTED)
def test_listed_options_are_found(
    question: str, options: tuple[str, ...] | None
) -> None:
    choice = choice_in(question)
    assert (choice.options if choice else None) == options


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Which? A) 3 B) 4", "choice"),
        ("How many A) or B)?", "number"),
        ("What is 3 + 4?", "number"),
        ("What is seven times six?", "number"),
        ("Who wrote Faust?", "text"),
        ("Is 3 + 4 = 7? Yes or no?", "yes_no"),
        ("Does iron float? Please answer with yes or no.", "yes_no"),
        ("How many people said yes or no?", "number"),
        ("Simplify $\\frac{x}{x^2}$.", "math"),
    ],
)
def test_auto_takes_the_kind_that_the_question_asks_for(
    question: str, name: str
) -> None:
    assert space_for("auto", question).name == name


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("numbers", UnknownName, "did you mean 'number'"),
        ("choice", UsageError, "lists no options"),
        ("number:extract=model", UsageError, "extract must be"),
        ("json:pattern=x", UnknownName, "pattern"),
    ],
)
def test_a_kind_that_does_not_exist_is_refused(
    kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        space_for(kind, "How many?")


def test_a_choice_has_2_to_26_options_and_asks_for_their_labels() -> None:
    for count in (0, 1, 27):
        with pytest.raises(UsageError, match=f"{count} options were given"):
            ChoiceSpace(tuple("x" * count))
    assert (
        ChoiceSpace(("x", "y", "z")).instruction
        == "Give the answer as one letter from A to C."
    )
    assert FIVE.instruction == "Give the answer as one number from 1 to 5."


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat, a dog -- AN ape!", "cat dog ape"),
        ("theater an\tda\nthe", "theater da"),
    ],
)
def test_the_normal_form_is_squads(text: str, normal: str) -> None:
    assert squad_normal(text) == normal

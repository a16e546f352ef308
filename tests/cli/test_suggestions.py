"""Plausible mistakes and what the command says: the reply names what was meant."""

import pytest

from tests.cli.command import Run

SIMULATED = ("-e", "simulated")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("solve", "q", "-N", "8"), "did you mean -n 8?"),
        (("solve", "q", "--n", "8"), "did you mean -n 8?"),
        (("solve", "q", "--num-samples", "8"), "did you mean -n 8?"),
        (("solve", "q", "--samples=8"), "did you mean -n 8?"),
        (("solve", "q", "--temp", "0.5"), "did you mean --temperature 0.5?"),
        (("solve", "q", "-t", "0.5"), "did you mean --temperature 0.5?"),
        (("solve", "q", "--max_tokens", "9"), "did you mean '--max-tokens'?"),
        (("solve", "q", "--max-new-tokens", "9"), "did you mean --max-tokens 9?"),
        (("solve", "q", "--model-name", "x"), "did you mean --model x?"),
        (("solve", "q", "--stratgy", "single"), "did you mean '--strategy'?"),
        (("solve", "q", "--few_shot", "x"), "did you mean '--few-shot'?"),
        (("solve", "q", "--top-p", "0.9"), "did you mean --strategy self_consistency:top_p=0.9?"),
        (("solve", "q", "--max-model-len"), "did you mean --engine vllm:max_model_len=4096?"),
        (("solve", "q", "--tokens", "500"), "did you mean --budget tokens=500?"),
        (("solve", "q", *SIMULATED, "-s", "self_consistancy"), "did you mean 'self_consistency'?"),
        (("solve", "q", *SIMULATED, "-s", "selfconsistency"), "did you mean 'self_consistency'?"),
        (("solve", "q", *SIMULATED, "-s", "self consistency"), "did you mean 'self_consistency'?"),
        (("solve", "q", *SIMULATED, "-s", "best-of-n"), "did you mean 'best_of_n'?"),
        (("solve", "q", *SIMULATED, "-s", "majority"), "did you mean 'self_consistency'?"),
        (("solve", "q", *SIMULATED, "-s", "self_consistency n=8"), "did you mean 'self_consistency:n=8'?"),
        (("solve", "q", *SIMULATED, "-s", "self_consistency:8"), "as in self_consistency:n=8"),
        (("solve", "q", *SIMULATED, "-s", "self_consistency,n=8"), "write self_consistency:n=8"),
        (("solve", "q", *SIMULATED, "-s", "self_consistency:n=8 temperature=1"), "separate options by commas"),
        (("solve", "q", *SIMULATED, "-s", "single", "-n", "4"), "single has no option n: omit it"),
        (("solve", "q", *SIMULATED, "-s", "mcts", "-n", "4"), "mcts has simulations, k, "),
        (("solve", "q", *SIMULATED, "-b", "tokens:500"), "as in tokens=500"),
        (("solve", "q", *SIMULATED, "-b", "500tokens"), "as in tokens=500"),
        (("solve", "q", *SIMULATED, "-b", "500"), "as in tokens=500"),
        (("solve", "q", *SIMULATED, "-b", "tokens=5x"), "write tokens=4000 or tokens=4k"),
        (("solve", "q", *SIMULATED, "-b", "time=5"), "did you mean 'seconds'?"),
        (("solve", "q", *SIMULATED, "-a", "int"), "did you mean 'number'?"),
        (("solve",), 'as in `reasoner solve "What is 3 + 4?"`'),
        (("solve", "what", "is", "2+2"), "put it in quotes"),
        (("What is 2+2",), "did you mean `reasoner solve 'What is 2+2'`?"),
        (("sovle", "q"), "did you mean 'solve'?"),
        (("ask", "q"), "did you mean 'solve'?"),
        (("evaluate", "arithmetic"), "did you mean 'eval'?"),
        (("strategies",), "did you mean `reasoner list strategies`?"),
        (("list", "strategy"), "did you mean 'strategies'?"),
        (("list", "strategies", "bon"), "did you mean 'best_of_n'?"),
        (("-n", "8", "solve", "q"), "the options of a command follow its name, as in `reasoner solve ... -n`"),
        (("eval", "arithmatic", *SIMULATED), "did you mean 'arithmetic'?"),
        (("eval", "arithmetic", *SIMULATED, "-s", "single", "-n", "8"), "single has no option n"),
    ],
)
def test_the_reply_to_a_mistake_names_what_was_meant(arguments: tuple[str, ...], meant: str, run: Run) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert meant in ended.error


def test_an_unknown_short_option_suggests_nothing_unlike_it(run: Run) -> None:
    assert "did you mean" not in run("list", "-n", "8").error

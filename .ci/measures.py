"""The measures of the product, the bars for its statements and options, and which modules name a feature.

python .ci/measures.py            print the measures; fail above a bar
python .ci/measures.py --words    write .ci/words.toml again: look at the difference before you keep it
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).parents[1]
ROOMS: Final = ("reasoner", "strategies", "verifiers", "evals")
MOST_STATEMENTS: Final = 26_544
"""Statements without docstrings and without `reasoner.testing`, which counts as tests."""
MOST_OPTIONS: Final = 114
"""Options of all commands: each counts once in each command that has it; `--help` and `--version` do not count."""
CORE: Final = "reasoner/execution/"
MOST_FEATURES: Final = 3
"""The most features that a module of the core names."""
FEATURES: Final = {
    word: re.compile(pattern, re.IGNORECASE)
    for word, pattern in {
        "probe": "probe",
        "likelihood": "likelihood",
        "verdict": "verdict",
        "replica": "replica",
        "warm": "warm",
        "sequential": "sequential",
        "scheduled": "schedule",
        "clock": "clock",
        "prices": "prices",
        "thinking level": "thinking_?level",
        "tool call": "tool_?call",
    }.items()
}
"""Words of features that no module needs but those that build them."""
WORDS: Final = ROOT / ".ci/words.toml"
"""Which modules may say which of these words in their code."""


def sources() -> Iterator[Path]:
    """The modules of the product."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if "testing" not in path.relative_to(ROOT).parts:
                yield path


def documented(tree: ast.Module) -> Iterator[ast.Expr]:
    """The docstrings of a module: those of its definitions, and those below its constants."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node


def constants_of(tree: ast.Module) -> int:
    """How many names in capitals a module gives a value."""
    targets = [
        target
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    return sum(
        isinstance(target, ast.Name) and target.id.isupper() for target in targets
    )


def names_in(tree: ast.Module) -> set[str]:
    """The names that the code of a module uses or gives; comments, docstrings and messages may say anything."""
    return {
        str(value)
        for node in ast.walk(tree)
        for field, value in ast.iter_fields(node)
        if field in {"id", "attr", "arg", "name", "asname", "module"} and value
    }


def features_by_module() -> dict[str, list[str]]:
    """Each feature that has a word, and the modules that say it."""
    said = {
        str(path.relative_to(ROOT)): names_in(ast.parse(path.read_text("utf-8")))
        for path in sources()
    }
    return {
        word: [path for path, names in said.items() if any(map(pattern.search, names))]
        for word, pattern in FEATURES.items()
    }


def write_words() -> None:
    """Write down which modules say which words."""
    lines = [
        "# Which modules name which optional feature; `python .ci/measures.py` holds them to it.\n"
    ]
    for word, modules in features_by_module().items():
        listed = "".join(f'    "{module}",\n' for module in modules)
        lines.append(f'\n"{word}" = [\n{listed}]\n')
    WORDS.write_text("".join(lines), encoding="utf-8")


def check_words() -> None:
    """Print how many features a module of the core names; fail where a word stands in a module that may not say it."""
    allowed = tomllib.loads(WORDS.read_text("utf-8"))
    said = features_by_module()
    core = Counter(
        module
        for modules in said.values()
        for module in modules
        if module.startswith(CORE)
    )
    (worst, most) = core.most_common(1)[0]
    print(f"{most:7,} features that {worst} names, at most {MOST_FEATURES}")
    wrong = [
        f"{module} names {word!r}: build it where the others of {WORDS.name} do"
        for word, modules in said.items()
        for module in sorted(set(modules) - set(allowed[word]))
    ] + [
        f"{module} no longer names {word!r}: take it out of {WORDS.name}"
        for word, modules in said.items()
        for module in sorted(set(allowed[word]) - set(modules))
    ]
    if most > MOST_FEATURES:
        wrong.append(f"{worst} names {most} features: at most {MOST_FEATURES}")
    if wrong:
        sys.exit("\n".join(wrong))


def check_options() -> None:
    """Print how many options the commands have, those of plug-ins too; fail above the bar."""
    from reasoner.cli.group import cli  # here, as --words needs no product that runs

    count = sum(options_below(cli, click.Context(cli)))
    print(f"{count:7,} options of commands, at most {MOST_OPTIONS}")
    if count > MOST_OPTIONS:
        sys.exit(
            f"{count} options are more than {MOST_OPTIONS}: remove one before you add another"
        )


def options_below(command: click.Command, context: click.Context) -> Iterator[int]:
    """How many options a command has itself, and each command in it."""
    yield sum(
        isinstance(each, click.Option) and "--version" not in each.opts
        for each in command.params
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                yield from options_below(below, click.Context(below, parent=context))


def main() -> None:
    """Print the measures; fail above the bar."""
    if sys.argv[1:] == ["--words"]:
        write_words()
        return
    statements = lines = constants = callables = execution = kept = modules = 0
    for path in sources():
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        modules += 1
        statements += sum(isinstance(node, ast.stmt) for node in ast.walk(tree)) - sum(
            1 for _ in documented(tree)
        )
        lines += text.count("\n")
        constants += constants_of(tree)
        kept += len(re.findall(r"# fmt: (?:skip|off)", text))
        if path.is_relative_to(ROOT / "reasoner/execution"):
            callables += text.count("Callable[")
            execution += text.count("\n")
    print(f"{modules:7,} modules")
    print(f"{statements:7,} statements without docstrings, at most {MOST_STATEMENTS:,}")
    print(f"{lines / statements:7.2f} lines a statement")
    print(f"{constants:7,} constants of modules")
    print(
        f"{1000 * callables / execution:7.1f} `Callable[` in 1,000 lines of execution"
    )
    print(f"{kept:7,} lines that the formatter must not touch")
    if statements > MOST_STATEMENTS:
        sys.exit(
            f"{statements:,} statements are more than {MOST_STATEMENTS:,}: remove some before you add more"
        )
    check_options()
    check_words()


if __name__ == "__main__":
    main()

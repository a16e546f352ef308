"""`reasoner demo`: a tour of the product on questions with known answers, with the public API alone."""

import shlex

import click

from reasoner.cli.commands import Command
from reasoner.cli.options import engine_options
from reasoner.cli.terminal import Terminal, guarded


@click.command("demo", cls=Command, heading="Set up")
@engine_options
@guarded
def command(
    model: str | None,
    engine: str | None,
    base_url: str | None,
) -> int:
    """Take a tour of a minute: an answer, a vote, and their price.

    The first part asks the engine 12 questions; without vLLM the engine is simulated. The second part replays a real
    model's recorded answers to real benchmarks. Standard output has the tour, standard error the progress.

    Exit codes: 0 the tour ended; 2 usage; 4 engine or model failure; 130 interrupted.
    """
    from reasoner.cli.given import GivenOptions, found_settings, server_address
    from reasoner.cli.progress import Display
    from reasoner.engines.vllm.build import installed_build
    from reasoner_evals.cli.tour import Tour

    named = engine or model or base_url or server_address()
    if not (named or installed_build() or "model" in found_settings()[1]):
        engine = "simulated"
    # The commands to type next name the engine of the tour.
    typed = {"--model": model, "--engine": engine, "--base-url": base_url}
    return Tour(
        engine=GivenOptions(engine=engine, model=model, base_url=base_url).to_engine(),
        display=Display(Terminal()),
        flags="".join(
            f" {name} {shlex.quote(value)}" for name, value in typed.items() if value
        ),
    ).run()

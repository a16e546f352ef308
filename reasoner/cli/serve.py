"""`reasoner serve`: an OpenAI-compatible server over one engine."""

import os
from pathlib import Path
from typing import Any, Final

import click

from reasoner.cli import options
from reasoner.cli.commands import Command
from reasoner.cli.options import option
from reasoner.cli.terminal import Terminal, guarded
from reasoner.errors import UsageError

KEYS_VARIABLE: Final = "REASONER_API_KEYS"


@click.command("serve", cls=Command, heading="Serve")
@option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    section="Server",
    help="Address to listen on. An address that other machines reach needs a key.",
)
@option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    metavar="N",
    section="Server",
    help="Port to listen on; 0 picks a free one.",
)
@option(
    "--settings",
    type=options.PATH,
    metavar="FILE",
    section="Server",
    help="TOML file of aliases, verifiers, limits and keys, or from `reasoner tune`; see docs/serving.md. Options "
    f"override it. {KEYS_VARIABLE} may hold keys.  [default: no key]",
)
@options.budget_option("each request")
@option(
    "-s",
    "--strategy",
    metavar=options.SPEC,
    section="Strategy",
    help="Strategy for requests that name none, as in vote8.  [default: none; requests pass through "
    "unchanged]",
)
@options.VERIFIER
@options.engine_options
@options.PRICES
@guarded
def command(
    host: str,
    port: int,
    settings: Path | None,
    budget: str | None,
    **typed: Any,
) -> int:
    """Serve OpenAI's API, with a strategy for each request.

    Clients choose a strategy by the model's name, as in MODEL@vote8, or by the request's field "reasoner". GET
    /v1/models lists the names. When it is ready, standard error shows the address and a request to copy. The page /
    answers questions in a browser; /health and /metrics serve its operator. Ctrl-C or SIGTERM lets open requests end, a
    second signal ends them at once.

    Exit codes: 0 stopped by a signal; 2 usage; 4 engine or model failure; 130 interrupted while it started.
    """
    from reasoner.cli.given import (
        GivenOptions,
        budget_of,
        read_prices,
        with_model,
        with_own_files,
    )
    from reasoner.cli.progress import Display
    from reasoner.cli.server_run import ServerRun
    from reasoner.serving.app import Keys
    from reasoner.serving.config import Settings, make_offer, read_settings
    from reasoner.serving.listener import is_loopback

    own = read_settings(settings) if settings else Settings()
    given = GivenOptions(**with_model(with_own_files(typed), own.model))
    limits = own.limits
    if budget is not None:
        limits = limits.model_copy(update={"max_budget": budget_of(budget)})
    variable = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
    keys = Keys(
        {
            **own.keys,
            **{
                f"{number} of {KEYS_VARIABLE}": key
                for number, key in enumerate(variable, 1)
            },
        }
    )
    if not keys and not is_loopback(host):
        raise UsageError(
            f"--host {host} is reached by other machines, and no key is set: set the variable {KEYS_VARIABLE}, or "
            "[keys] in --settings FILE, or listen at 127.0.0.1"
        )
    prices = read_prices(given.prices, [limits.max_budget])
    offer = make_offer(
        own,
        prices,
        strategy=given.strategy,
        verifier=given.verifier,
    )
    return ServerRun(
        engine=given.to_engine(),
        display=Display(Terminal()),
        offer=offer,
        limits=limits,
        keys=keys,
        host=host,
        port=port,
    ).run()

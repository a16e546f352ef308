"""`reasoner serve`: an OpenAI-compatible server over one engine."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reasoner.cli import options
from reasoner.cli.exits import guarded
from reasoner.cli.look import NUMBER, WHOLE, Command, option
from reasoner.cli.solve import ANSWERS
from reasoner.errors import UsageError

if TYPE_CHECKING:
    from reasoner.serving.config import ServerLimits, Settings
    from reasoner.serving.limits import Keys

KEYS_VARIABLE: Final = "REASONER_API_KEYS"


@click.command("serve", cls=Command)
@option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", section="Server",
        brief="Where to listen: this machine only, by default.",
        help="The address to listen at. One that other machines reach needs a key.")  # fmt: skip
@option("--port", type=WHOLE, default=8000, show_default=True, metavar="N", section="Server",
        brief="The port; 0 is any free one.", help="The port; 0 is any free one.")  # fmt: skip
@option("--settings", type=options.PATH, metavar="FILE", section="Server",
        brief="Aliases, verifiers, limits and keys, as TOML.",
        help="Aliases, verifiers, limits and keys, as TOML: docs/serving.md shows one. An option goes before the "
             "file.")  # fmt: skip
@option("--api-key-file", type=options.PATH, metavar="FILE", section="Server",
        help="A file of API keys, one on each line, that only you can read. Keys may also be in the variable "
             f"{KEYS_VARIABLE}, separated by commas.  [default: no key is needed]")  # fmt: skip
@option("--max-concurrent", type=WHOLE, metavar="N", section="Server",
        help="Requests that are answered at once.  [default: 256]")  # fmt: skip
@option("--queue", type=WHOLE, metavar="N", section="Server",
        help="Requests that wait for their turn; more are refused with 429.  [default: 1,024]")  # fmt: skip
@option("--max-budget", metavar=options.UNITS, section="Server", brief="The most that a request may spend.",
        help="The most that a request may spend, whatever budget it asks for, as in tokens=50k,seconds=120.  "
             "[default: no limit]")  # fmt: skip
@option("--drain", type=NUMBER, default=30.0, show_default=True, metavar="SECONDS", section="Server",
        help="How long requests in flight may take to end after Ctrl-C or SIGTERM; a second one ends them at "
             "once.")  # fmt: skip
@option("-s", "--strategy", metavar=options.SPEC, section="Strategy", shell_complete=options.names_of("strategy"),
        brief="The strategy of requests that choose none.",
        help="The strategy of requests that choose none, as in self_consistency:n=8.  [default: requests pass "
             "through: one completion, the prompt unchanged]")  # fmt: skip
@option("-b", "--budget", metavar=options.UNITS, section="Strategy",
        help="The budget of requests that choose neither a strategy nor a budget.")  # fmt: skip
@option("-a", "--answer", metavar="KIND", section="Strategy", shell_complete=options.words("free", *ANSWERS),
        help="The kind of answer of requests that choose none; `reasoner list answers` shows all.  [default: free "
             "where the strategy serves it, else auto]")  # fmt: skip
@options.VERIFIER
@options.engine_options
@options.QUIET
@option("-v", "--verbose", is_flag=True, brief="Show what failed within the server.",
        help="Show each failure that clients see as an internal error, with its traceback, on standard "
             "error.")  # fmt: skip
@guarded
def command(
    host: str,
    port: int,
    settings: Path | None,
    api_key_file: Path | None,
    max_concurrent: int | None,
    queue: int | None,
    max_budget: str | None,
    drain: float,
    strategy: str | None,
    budget: str | None,
    answer: str | None,
    verifier: str | None,
    model: str | None,
    engine: str | None,
    base_url: str | None,
    prices: str | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Serve OpenAI's API over one engine, with a strategy per request.

    Clients choose a strategy by the model's name, as in MODEL@vote8, or by the field "reasoner" of a request; GET
    /v1/models lists the names. The address and a request to copy are shown on standard error when it is ready. / is a
    page to ask on, /health and /metrics are for its operator.

    Exit codes: 0 stopped by a signal, 2 usage, 4 engine or model failure, 130 interrupted while it started.
    """
    from reasoner.system.extras import require_extra

    require_extra("serve", "a server")
    from reasoner.cli.server_run import ServerRun
    from reasoner.serving.choose import Offer
    from reasoner.serving.config import Settings, choose_default, read_settings

    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other: keep one")
    if not 0 <= drain <= 86_400:
        raise UsageError(f"--drain must be from 0 to 86,400 seconds (got {drain:g})")
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port must be from 0 to 65,535 (got {port})")
    own = read_settings(settings) if settings else Settings()
    limits = _limits(
        own.limits,
        max_concurrent=max_concurrent,
        queue=queue,
        max_budget=max_budget,
    )
    default, verifiers = choose_default(own, strategy=strategy, verifier=verifier, budget=budget, answer=answer)
    keys = _keys(own, api_key_file)
    _check_bind(host, keys)
    run = ServerRun(
        options.choose_engine(engine, model_id=model, base_url=base_url),
        Offer(default, own.aliases, verifiers, options.read_prices(prices, [limits.max_budget])),
        limits,
        keys,
        quiet=quiet,
        verbose=verbose,
    )
    return run.run(host, port, drain=drain)


def _limits(limits: "ServerLimits", **given: Any) -> "ServerLimits":
    """The limits of the settings, with those that are given as options."""
    from reasoner.budget import Budget

    values = {name: value for name, value in given.items() if value is not None}
    budgets = {name: Budget.parse(value) for name, value in values.items() if name.endswith("_budget")}
    return replace(limits, **{**values, **budgets})


def _keys(settings: "Settings", file: Path | None) -> "Keys":
    """The keys of the settings, of the file and of the variable."""
    import os

    from reasoner.serving.config import keys_in, read_keys
    from reasoner.serving.limits import Keys

    from_file = read_keys(file) if file else ()
    from_variable = keys_in(KEYS_VARIABLE, os.environ.get(KEYS_VARIABLE, ""))
    return Keys([*settings.keys, *from_file, *from_variable])


def _check_bind(host: str, keys: "Keys") -> None:
    """Refuse an address that others reach, where anybody could ask."""
    from reasoner.serving.listener import is_loopback

    if not keys and not is_loopback(host):
        raise UsageError(
            f"--host {host} is reached by other machines, and no key is set: give --api-key-file FILE or the variable "
            f"{KEYS_VARIABLE}, or listen at 127.0.0.1"
        )

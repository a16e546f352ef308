"""`reasoner demo`: a tour of the product on questions with known answers, with the public API alone."""

import click

from reasoner.cli.exits import guarded
from reasoner.cli.options import NO_SERVER, Given, engine_options, read_prices
from reasoner.cli.terminal import Terminal


@click.command("demo")
@engine_options
@NO_SERVER
@guarded
def command(model: str | None, engine: str | None, base_url: str | None, prices: str | None, no_server: bool) -> int:
    """Take a tour of a minute: an answer, a vote, and the price of both, also for a model that thinks.

    All of it is run now, on up to 24 questions with known answers; the model that thinks is simulated. Standard output
    gets the tour, standard error the progress. --engine simulated takes the tour without a model.

    Exit codes: 0 the tour ended, 2 usage, 4 engine or model failure, 130 interrupted.
    """
    from reasoner.cli.progress import Display
    from reasoner_evals.cli.tour import Tour

    given = Given(engine=engine, model=model, base_url=base_url, no_server=no_server)
    return Tour(engine=given.to_engine(), display=Display(Terminal()), prices=read_prices(prices, [])).run()

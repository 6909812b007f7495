"""`bottega market`: simulated days under pricing policies, tuned on some seeds and judged on others."""

from typing import TYPE_CHECKING, Annotated

import typer

from bottega.cli.console import FromOption, JsonOption, Session, UntilOption, WorkspaceOption, city_span, open_session
from bottega.cli.console import table as as_table

if TYPE_CHECKING:
    from bottega.market.city import City

app = typer.Typer(help="A simulated market of rides, in which pricing policies are judged.", no_args_is_help=True)
DaysOption = Annotated[int, typer.Option("--days", min=2, max=500, help="Days to simulate, each from its own seed.")]
DriversOption = Annotated[float, typer.Option("--drivers", help="Share of the ordinary drivers: 0.7 is 30 % fewer.")]
ElasticityOption = Annotated[
    float, typer.Option("--elasticity", help="Per cent more drivers where pay is 1 % better; 0: they do not respond.")
]
TUNED_ON = 1000
"""The first seed that policies are tuned on; they are judged on seeds from 0."""


@app.command()
def simulate(
    policy: Annotated[str, typer.Argument(help="none, rule or optimiser.")] = "rule",
    days: DaysOption = 20,
    drivers: DriversOption = 1.0,
    elasticity: ElasticityOption = 0.6,
    since: FromOption = "2024-01-08",
    until: UntilOption = "2024-01-22",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Live through days under one policy and print what it did for riders, drivers and districts."""
    import msgspec

    from bottega.errors import NotFound
    from bottega.market import simulation
    from bottega.market.conditions import Conditions
    from bottega.market.indicators import measure
    from bottega.market.policies import NoSurge, Optimiser, Policy, Rule

    known: dict[str, Policy] = {"none": NoSurge(), "rule": Rule(), "optimiser": Optimiser()}
    if policy not in known:
        raise NotFound(f"There is no policy {policy!r}.", next_step=f"Policies are {', '.join(known)}.")
    session = open_session(workspace, as_json)
    city = _city(session, since, until)
    conditions = Conditions(drivers=drivers, elasticity=elasticity)
    with session.progress() as progress:
        found = measure(simulation.simulate(city, known[policy], range(days), conditions, progress))
    session.emit(
        found, as_table(f"{days} days under {policy}", ("", "figure"), list(msgspec.to_builtins(found).items()))
    )


@app.command()
def compare(
    days: DaysOption = 20,
    tuning_days: Annotated[int, typer.Option("--tuning-days", min=2, max=100, help="Other days, to tune on.")] = 10,
    since: FromOption = "2024-01-08",
    until: UntilOption = "2024-01-22",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune the policies on some seeds and compare them on others, in five markets."""
    from bottega.market import comparison, tuning

    session = open_session(workspace, as_json)
    city = _city(session, since, until)
    with session.progress() as progress:
        tuned = tuning.tune(city, range(TUNED_ON, TUNED_ON + tuning_days), progress=progress)
        results = comparison.compare(city, tuned.policies(), range(days), progress=progress)
    rows = [
        (
            r.market,
            r.policy,
            f"{r.trips_change:+.1%}",
            f"{r.surplus_change:+.1%}",
            f"{r.worst_district_change:+.3f}",
            r.indicators.unmet_share,
            r.indicators.wait_min,
        )
        for r in results
    ]
    heads = ("market", "policy", "trips", "surplus", "worst", "unmet", "wait min")
    session.emit(
        {"tuned": tuned, "results": results},
        as_table(f"{days} days, against no surge (more with --json)", heads, rows),
        f"Tuned on {tuning_days} other days: rule {tuned.rule}, optimiser {tuned.optimiser}.",
    )


@app.command()
def explore(
    days: DaysOption = 20,
    drivers: DriversOption = 0.7,
    elasticity: ElasticityOption = 0.6,
    since: FromOption = "2024-01-08",
    until: UntilOption = "2024-01-22",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate policies from the log of another one, beside the simulator's truth: where estimators mislead."""
    from bottega.market.conditions import Conditions
    from bottega.market.exploration import evaluate_off_policy, study

    session = open_session(workspace, as_json)
    city = _city(session, since, until)
    logging, targets = study()
    conditions = Conditions(drivers=drivers, elasticity=elasticity)
    results = evaluate_off_policy(city, logging, targets, range(days), conditions)
    rows = [
        (r.target, r.truth, r.ips, r.snips, r.doubly_robust, round(r.effective_rows), f"{r.uncovered:.0%}")
        for r in results
    ]
    heads = ("target policy", "truth", "ips", "snips", "doubly robust", "effective rows", "uncovered")
    session.emit(results, as_table("Trips completed a tick and district", heads, rows))


def _city(session: Session, since: str | None, until: str | None) -> "City":
    """The market's city from the trips of a span, wherever they are read from."""
    from bottega.datasets.origin import resolve, zones_for
    from bottega.datasets.trips import load_trips
    from bottega.datasets.zones import load_zones
    from bottega.market.city import build_city

    start, end = city_span(since, until)
    origin = resolve("tlc_green_trips", session.workspace, session.settings)
    with session.progress() as progress:
        trips = load_trips(origin, session.workspace, session.settings, start, end, progress).table
    return build_city(trips, load_zones(zones_for(origin, session.workspace, session.settings)))

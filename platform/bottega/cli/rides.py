"""`bottega rides`: which kind of ride to offer first, on invented riders whose true tastes are known."""

from pathlib import Path
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table

app = typer.Typer(
    help="Which ride to offer first: riders, policies and their regret, what a log can tell.", no_args_is_help=True
)
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, max=200, help="Different cities of riders.")]
RidersOption = Annotated[int, typer.Option("--riders", min=1, max=1_000_000)]


@app.command()
def simulate(
    requests: Annotated[int, typer.Option("--requests", min=1, max=5_000_000)] = 10_000,
    riders: RidersOption = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 7,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Invent riders and requests, and show the truth: how often each product would be taken, and is the best offer."""
    import numpy as np

    from bottega.datasets.riders import PRODUCTS, draw_requests, draw_riders

    session = open_session(workspace, as_json)
    drawn = draw_requests(draw_riders(riders, seed), requests, seed)
    best = np.bincount(drawn.truth.argmax(axis=1), minlength=len(PRODUCTS)) / len(drawn)
    rows = [(name, float(drawn.truth[:, i].mean()), float(best[i])) for i, name in enumerate(PRODUCTS)]
    session.emit(
        {
            "data_source": f"simulator:riders:{seed}",
            "rows": len(drawn),
            "metrics": {
                **{f"taken_{name}": taken for name, taken, _ in rows},
                **{f"best_{name}": share for name, _, share in rows},
                "taken_best": float(drawn.best.mean()),
            },
        },
        table("", ("offered first", "taken", "is the best offer"), rows),
        f"One who knew every taste would have {drawn.best.mean():.1%} of the offers taken.",
    )


@app.command()
def compare(
    requests: Annotated[int, typer.Option("--requests", min=10, max=200_000)] = 10_000,
    seeds: SeedsOption = 5,
    logged: Annotated[
        int, typer.Option("--logged", min=0, max=200_000, help="Offers by the house rule that all learn from first.")
    ] = 2000,
    riders: RidersOption = 2000,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the curves: .png, .svg or .pdf.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let policies make the offers, and count their regret by the truth: rule, ranker, LinUCB, Thompson sampling."""
    from bottega.ranking import regret

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        curves = regret.compare(requests, range(seeds), logged=logged, riders=riders, progress=progress)
    if plot is not None:
        regret.draw(curves, plot)
    marks = [requests // 10, requests // 2, requests]
    rows, metrics = [], {}
    for name, curve in curves.items():
        mean, low, high = regret.band(curve)
        metrics[name] = {
            "regret": float(mean[-1]),
            "low": float(low[-1]),
            "high": float(high[-1]),
            "worst_seed": float(curve[:, -1].max()),
        }
        shown = [f"{mean[at - 1]:.0f}" for at in marks]
        rows.append((name, *shown, f"{low[-1]:.0f} to {high[-1]:.0f}", f"{curve[:, -1].max():.0f}"))
    session.emit(
        {"data_source": "simulator:riders", "rows": requests, "seeds": seeds, "metrics": metrics},
        table("", ("policy", *(f"after {at:,}" for at in marks), "95 % of the mean", "worst seed"), rows),
        "Regret: offers that were not taken, and would have been by one who knows every taste.",
        *([f"The curves are in {plot}."] if plot else []),
    )


@app.command()
def evaluate(
    rows: Annotated[int, typer.Option("--rows", min=100, max=200_000, help="Offers in a log.")] = 5000,
    seeds: SeedsOption = 20,
    trying: Annotated[float, typer.Option("--trying", help="The share of logged offers made by chance.")] = 0.1,
    hidden: Annotated[
        float, typer.Option("--hidden", help="The share made by somebody who knows the tastes, which the log hides.")
    ] = 0.0,
    riders: RidersOption = 2000,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge other policies by the house rule's log: naive, by a model, by weights and by both, beside the truth."""
    from bottega.ranking.logged import as_rows, judge

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        scores = as_rows(judge(rows, range(seeds), trying=trying, hidden=hidden, riders=riders, progress=progress))
    shown = [tuple("" if value is None else value for value in row.values()) for row in scores]
    session.emit(
        {
            "data_source": "simulator:riders",
            "rows": rows,
            "seeds": seeds,
            "trying": trying,
            "hidden": hidden,
            "scores": scores,
        },
        table("", ("policy", "judged by", "estimate", "truth", "bias", "rmse", "95 % holds", "mean weight"), shown),
    )

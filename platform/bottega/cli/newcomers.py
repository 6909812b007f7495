"""`bottega newcomers`: guests and places without a history."""

from dataclasses import asdict
from typing import Annotated

import typer

from bottega.cli.console import JsonOption, WorkspaceOption, open_session, table


def newcomers(
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Suggest places to this guest, such as U1001.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="With --user: how many.")] = 10,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=50, help="Ways to deal newcomers into folds.")] = 5,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank for guests whom nobody knows, and places that nobody rated: are attributes better than popularity?

    On the dataset uci_restaurant. With --user: what to offer that guest, and why.
    """
    from bottega.datasets.diners import DATASET, load_diners
    from bottega.datasets.origin import resolve
    from bottega.ranking.first_visit import suggest
    from bottega.ranking.newcomers import compare

    session = open_session(workspace, as_json)
    origin = resolve(DATASET, session.workspace, session.settings)
    assert origin.path is not None  # nothing invents it: resolve has raised NotFound
    diners = load_diners(origin.path)
    if user is not None:
        found = suggest(diners, user, limit)
        places = [(one.name, one.city, one.rating, "; ".join(one.reasons)) for one in found]
        session.emit([asdict(one) for one in found], table("", ("place", "city", "rating of 2", "why"), places))
        return
    with session.progress() as progress:
        figures = compare(diners, range(seeds), progress)
    rows = [
        (task, method, f["ndcg_at_5"], f["ndcg_at_5_sd"], f["auc"], _verdict(method, f))
        for task, methods in figures.items()
        for method, f in methods.items()
    ]
    session.emit(
        {
            "data_source": origin.label,
            "rows": len(diners.ratings),
            "rows_rejected": diners.rejected,
            "metrics": figures,
        },
        table("", ("who is new", "ranked by", "nDCG@5", "its sd", "AUC", "against popularity"), rows),
        "The sd is over ways to deal the folds, the interval over guests.",
    )


def _verdict(method: str, figures: dict[str, float]) -> str:
    if method == "popularity":
        return ""
    word = "better" if figures["low"] > 0 else "worse" if figures["high"] < 0 else "no better"
    return f"{word}: {figures['gain']:+.3f} ({figures['low']:+.3f} to {figures['high']:+.3f})"

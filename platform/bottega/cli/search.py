"""`bottega search`: places to eat by words and meaning, with filters; and how well that works."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bottega.cli.console import JsonOption, Session, WorkspaceOption, open_session, table

if TYPE_CHECKING:
    from bottega.ranking.search import Answer, Hit, SearchIndex


def search(
    text: Annotated[
        str, typer.Argument(help="What to look for; typos are forgiven. Left out: all that the filters leave.")
    ] = "",
    cuisine: Annotated[
        list[str] | None,
        typer.Option("--cuisine", metavar="NAME", help="Only this cuisine; repeat for any of several."),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="BAND", help="Only this price: 1 to 4, or '$' to '$$$$'; repeat."),
    ] = None,
    city: Annotated[str, typer.Option("--city", metavar="NAME", help="Only this city.")] = "",
    open_at: Annotated[
        str | None,
        typer.Option(
            "--open-at",
            metavar="TIME",
            help="Only places open then: 'now', or ISO 8601; without an offset it is each place's own clock.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many hits, 1 to 100.")] = 10,
    why: Annotated[bool, typer.Option("--why", help="Say for each hit why it is there.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", help="entree_chicago (Saltmere's invented guide where it is not here) or uci_restaurant."
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate", help="Do not search: measure words, meaning and both on queries with known answers."
        ),
    ] = False,
    queries: Annotated[int, typer.Option("--queries", min=10, max=2000, help="With --evaluate: of each kind.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="With --evaluate: of the queries.")] = 2,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find places to eat: 'bottega search "quiet italian" --city chicago --price 2'.

    Words count by BM25, meaning by which labels go together; both rankings are fused. The index is built on first use
    and kept in the workspace.
    """
    from bottega.ranking.sources import ready_index
    from bottega.ranking.wishes import Wishes, parse_moment, parse_price

    session = open_session(workspace, as_json)
    index = ready_index(source, session.workspace, session.settings)
    if evaluate:
        _evaluate(session, index, queries, seed)
        return
    prices = tuple(parse_price(band) for band in price or ())
    moment = None if open_at is None else parse_moment(open_at, datetime.now(UTC))
    answer = index.search(Wishes(text, tuple(cuisine or ()), prices, city, moment, limit))
    _show(session, index.data_source, answer, why)


def _show(session: Session, data_source: str, answer: "Answer", why: bool) -> None:
    from bottega.ranking.place import PRICES

    read = "; ".join(f"{typed!r} was read as {' or '.join(as_)}" for typed, as_ in answer.corrections.items())
    rows = [
        (
            number,
            hit.place.name,
            hit.place.city,
            ", ".join(hit.place.cuisines),
            PRICES[hit.place.price - 1] if hit.place.price else "",
            "; ".join(hit.place.features[:4]),
        )
        for number, hit in enumerate(answer.hits, 1)
    ]
    facets = [
        f"{facet}: {', '.join(f'{name} {count}' for name, count in list(counts.items())[:6])}"
        for facet, counts in answer.facets.items()
        if counts
    ]
    session.emit(
        {"data_source": data_source, **msgspec.structs.asdict(answer)},
        *([f"{read}."] if read else []),
        table("", ("", "place", "city", "cuisines", "price", "features"), rows) if rows else "Nothing was found.",
        f"{answer.found} found in {data_source}."
        + (f" Of {answer.unknown_hours} more nobody knows the hours." if answer.unknown_hours else ""),
        *facets,
        *([f"{number}. {_reason(hit)}" for number, hit in enumerate(answer.hits, 1)] if why else []),
    )


def _reason(hit: "Hit") -> str:
    """One line: the words that match with their points, and the likeness of meaning."""
    words = ", ".join(f"{match.read_as!r} in {match.field} ({match.points:.1f} points)" for match in hit.why.matches)
    parts = [f"words: {words}; rank {hit.why.rank_by_words}" if words else "no word of it"]
    if hit.why.rank_by_meaning:
        near = f" by {' and '.join(map(repr, hit.why.near))}" if hit.why.near else ""
        parts.append(f"meaning: likeness {hit.why.likeness:.2f}{near}; rank {hit.why.rank_by_meaning}")
    return f"{hit.place.name}: {'. '.join(parts)}."


def _evaluate(session: Session, index: "SearchIndex", queries: int, seed: int) -> None:
    from bottega.ranking.search_quality import measure

    figures = measure(index, queries, seed)
    rows = [
        (kind, method, int(found["queries"]), found["ndcg_at_10"], found["recall_at_10"])
        for kind, methods in figures.items()
        for method, found in methods.items()
    ]
    session.emit(
        {"data_source": index.data_source, "places": len(index.places), "seed": seed, "metrics": figures},
        table("", ("queries", "found by", "number", "nDCG@10", "recall@10"), rows),
        "Labels and names define the answers, so words are favoured; only 'hidden' asks for meaning.",
    )

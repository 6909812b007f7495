"""`bottega data`: what there is, where it comes from, and which rows were refused."""

from pathlib import Path
from typing import Annotated

import typer

from bottega.cli.console import FromOption, JsonOption, UntilOption, WorkspaceOption, city_time, open_session, table

app = typer.Typer(help="Datasets: catalogue, download, checks, the city simulator.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="Name of the dataset, see 'bottega data list'.")]


@app.command("list")
def list_datasets(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the datasets and where each one is read from here."""
    from bottega.datasets.catalog import catalog
    from bottega.datasets.origin import resolve
    from bottega.errors import NotFound

    session = open_session(workspace, as_json)
    rows = []
    for name, dataset in catalog().items():
        try:
            origin = resolve(name, session.workspace, session.settings)
            source, path = origin.label, str(origin.path or "")
        except NotFound as error:
            source, path = f"not here ({error.next_step})", ""
        rows.append({"name": name, "title": dataset.title, "licence": dataset.licence, "source": source, "path": path})
    session.emit(
        rows, table("", ("dataset", "title", "read from"), [(r["name"], r["title"], r["source"]) for r in rows])
    )


@app.command()
def show(name: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show a dataset's card: provenance, licence, columns with units, quirks."""
    from rich.markdown import Markdown

    from bottega.datasets.catalog import dataset

    session = open_session(workspace, as_json)
    found = dataset(name)
    session.emit(found, Markdown(found.card.read_text("utf-8")))


@app.command()
def get(
    name: NameArgument,
    month: Annotated[
        list[str] | None, typer.Option("--month", metavar="YYYY-MM", help="Month to fetch; repeat for more.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a dataset from its publisher into the workspace; nothing is fetched unless you ask."""
    from bottega.datasets.download import download

    session = open_session(workspace, as_json)
    with session.progress() as progress:
        files = download(name, month or [], session.workspace, progress)
    session.emit([str(file) for file in files], "\n".join(f"Fetched {file}" for file in files))


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="Trip file or folder; default: what training would read.")] = None,
    since: FromOption = None,
    until: UntilOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load trips, count the refused rows by reason and put them into quarantine."""
    from bottega.datasets.origin import resolve
    from bottega.datasets.trips import load_trips

    session = open_session(workspace, as_json)
    origin = path or resolve("tlc_green_trips", session.workspace, session.settings)
    with session.progress() as progress:
        loaded = load_trips(origin, session.workspace, session.settings, city_time(since), city_time(until), progress)
    trips = loaded.table
    figures = {
        "data_source": loaded.data_source,
        "files": list(loaded.files),
        "rows": len(trips),
        "rows_rejected": loaded.rejected,
        "from": trips["pickup_at"].iloc[0].isoformat(),
        "until": trips["pickup_at"].iloc[-1].isoformat(),
        "duration_min_mean": float(trips["duration_min"].mean()),
        "fingerprint": loaded.fingerprint,
        "month_rules": loaded.month_rules,
    }
    rejected = table("refused rows", ("reason", "rows"), list(loaded.rejected.items()))
    session.emit(
        figures,
        f"{len(trips):,} good rows from {loaded.data_source}, {figures['from']} to {figures['until']}.",
        rejected if loaded.rejected else "No row was refused.",
        f"Refused rows lie in {session.workspace.quarantine}." if loaded.rejected else "",
    )


@app.command()
def simulate(
    since: FromOption = "2024-02-01",
    until: UntilOption = "2024-03-01",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let the invented city live through a span: trips, checks, and the incidents' truth."""
    from bottega.datasets.incidents import DEFAULT_INCIDENTS, parameters
    from bottega.datasets.origin import resolve
    from bottega.datasets.trips import load_trips

    session = open_session(workspace, as_json)
    origin = resolve("city_simulator", session.workspace, session.settings)
    with session.progress() as progress:
        loaded = load_trips(origin, session.workspace, session.settings, city_time(since), city_time(until), progress)
    incidents = [
        {"name": i.name, "from": i.start.isoformat(), "until": i.end.isoformat(), **parameters(i)}
        for i in DEFAULT_INCIDENTS
    ]
    session.emit(
        {
            "rows": len(loaded.table),
            "rows_rejected": loaded.rejected,
            "files": list(loaded.files),
            "incidents": incidents,
        },
        f"{len(loaded.table):,} trips, {sum(loaded.rejected.values()):,} refused rows.",
        f"Files under {session.workspace.data}.",
        table(
            "incidents of the city",
            ("incident", "from", "until"),
            [(i["name"], i["from"], i["until"]) for i in incidents],
        ),
    )


@app.command()
def ingest(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help="What to ingest: see docs/INGESTION.md.")],
    again: Annotated[
        bool, typer.Option("--again", help="Read everything once more, into the same segments (not of a queue).")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ingest a table from files, an HTTP API, a web page or a queue: what is new, checked row by row.

    SPEC.toml holds `table`; `timezone`, if times have no offset; the tables `source` with its `kind`: files (path), api
    (url, rows, paging), page (url, selector or caption), queue (log, topic, reader); `columns` with name, type
    (integer, number, text, bool, time), official and nullable; `checks` with reason, kind (range, allowed, past,
    duplicate) and column.
    """
    from datetime import UTC, datetime

    from bottega.datasets.ingest.run import ingest as run_ingest
    from bottega.datasets.ingest.spec import read_spec
    from bottega.features.store import OfflineStore

    session = open_session(workspace, as_json)
    declared = read_spec(spec)
    store = OfflineStore(session.workspace.offline)
    with session.progress() as progress:
        found = run_ingest(declared, store.write, session.workspace, datetime.now(UTC), progress=progress, again=again)
    refused = table("refused rows", ("reason", "rows"), list(found.refused.items()))
    session.emit(
        found,
        f"{found.rows_read:,} rows read, {found.rows:,} written to {len(found.segments)} segments of {found.table}.",
        refused if found.refused else "No row was refused.",
        f"Refused rows lie in {session.workspace.quarantine / found.table}." if found.refused else "",
    )

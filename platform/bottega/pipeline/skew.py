"""Skew of what was served: logged features against the training set's, for the same requests and for training's own."""

from datetime import datetime

import msgspec
import pandas as pd

from bottega.compile.manifest import read_manifest
from bottega.errors import NotFound
from bottega.features.offline import TrainingSet
from bottega.monitoring.skew import FeatureSkew, skew
from bottega.pipeline.sources import gather
from bottega.pipeline.watch import live_version
from bottega.progress import Progress, silent
from bottega.serving.log import REPEATS, read_predictions
from bottega.serving.segments import FEATURE
from bottega.settings import Settings
from bottega.times import parse_time
from bottega.usecase import UseCase
from bottega.workspace import Workspace


class SkewReport(msgspec.Struct, frozen=True):
    """Every looked-up feature of a live version over the requests of a span (ISO 8601, UTC).

    `repeats` are rows of that span that clients asked for again under the same id; they are not among the requests.
    """

    usecase: str
    model_version: int
    since: str
    until: str
    requests: int
    features: tuple[FeatureSkew, ...]
    repeats: int = 0

    @property
    def mismatches(self) -> int:
        """Logged values that are not those of the training set."""
        return sum(feature.mismatches for feature in self.features)


def served_skew(
    usecase: UseCase,
    workspace: Workspace,
    settings: Settings,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    rows: int = 20_000,
    seed: int = 0,
    progress: Progress = silent,
) -> SkewReport:
    """Compare the logged features of at most `rows` requests of the live version with offline values and training's.

    Raises NotFound where the live version answered nothing in the span, or reads no feature.
    """
    version = live_version(workspace, usecase.name)
    folder = workspace.repository / usecase.name / str(version)
    plan, span = read_manifest(folder, workspace.signing_key()).of_usecase()
    asked = _asked(workspace, usecase.name, version, since, until, rows, seed)
    features = [name for name in plan.looked_up if FEATURE + name in asked.columns]
    if not features:
        raise NotFound(
            f"Version {version} of {usecase.name} logged no looked-up feature.",
            next_step="A version whose plan reads no view has none.",
        )
    references = {name: usecase.recipe.references[name] for name in features}
    first, last = asked["at"].min().to_pydatetime(), asked["at"].max().to_pydatetime()
    sources = gather(usecase, workspace, settings, first, last + pd.Timedelta("1us"), progress=progress).sources
    keys = [field.name for field in plan.request if not field.is_time]
    labels = asked.reset_index()[[*keys, "at"]].rename(columns={"at": "requested_at"})
    offline = TrainingSet(labels, references).compute(usecase.views, sources, progress=progress)
    trained_since = parse_time(span.since, "UTC")
    trained_until = parse_time(span.until, "UTC")
    learnt = gather(usecase, workspace, settings, trained_since, trained_until, progress=progress).sources
    rows_learnt = usecase.recipe.labels(learnt)
    inside = (rows_learnt["requested_at"] >= trained_since) & (rows_learnt["requested_at"] < trained_until)
    drawn = rows_learnt[inside].sample(min(rows, int(inside.sum())), random_state=seed)
    trained = TrainingSet(drawn, references).compute(usecase.views, learnt, progress=progress)
    served = asked[[FEATURE + name for name in features]].set_axis(features, axis="columns")
    return SkewReport(
        usecase.name,
        version,
        first.isoformat(),
        last.isoformat(),
        len(asked),
        skew(served, offline, trained, features),
        asked.attrs.get(REPEATS, 0),
    )


def _asked(
    workspace: Workspace,
    usecase: str,
    version: int,
    since: datetime | None,
    until: datetime | None,
    rows: int,
    seed: int,
) -> pd.DataFrame:
    """Logged requests of a version by their id, drawn where there are more than `rows`."""
    logged = read_predictions(workspace, usecase, since, until)
    if len(logged):
        logged = logged[logged["model_version"] == version]
    if logged.empty:
        raise NotFound(
            f"Version {version} of {usecase} answered no logged request in that span.",
            next_step=f"Run 'bottega predict {usecase} ...' or 'bottega monitor replay {usecase} ...'.",
        )
    if len(logged) > rows:
        logged = logged.sample(rows, random_state=seed).sort_index()
    return logged.set_index("request_id")

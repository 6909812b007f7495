"""The declaration of the ETA use case."""

from bottega.datasets.trip_sources import DATASET, read_trip_sources
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.training.residual import ResidualRecipe
from bottega.usecase import UseCase
from usecases.eta import features, serve, train

USECASE = UseCase(
    name="eta",
    title="How long will this trip take?",
    dataset=DATASET,
    read=read_trip_sources,
    recipe=ResidualRecipe(
        request=serve.REQUEST,
        answer=serve.ANSWER,
        target=train.target,
        calendar=features.calendar,
        views=features.views,
        references=features.references,
        functions=features.functions,
        router=train.router,
        routed=train.routed,
        encoding=train.encoding,
        encoded=train.encoded,
        bands=train.bands,
        interval=train.interval,
        lateness=train.lateness,
        answers=serve.answers,
        models=train.models,
        labels=train.labels,
        slices=train.slices,
    ),
    monitor=Monitor(
        predicted="eta_min",
        unit="min",
        low="low_min",
        high="high_min",
        timezone=features.CITY_TIMEZONE,
        columns=(
            WatchedColumn("pu_zone", "categorical"),
            WatchedColumn("do_zone", "categorical"),
            WatchedColumn("at", "numerical"),
            WatchedColumn("eta_min", "numerical"),
        ),
    ),
)

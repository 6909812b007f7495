"""The declaration of the pricing use case."""

from datetime import timedelta

from bottega.datasets.demand_sources import DATASET, read_demand_sources
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.training.demand import DemandRecipe
from bottega.usecase import UseCase
from usecases.pricing import features, serve, train

USECASE = UseCase(
    name="pricing",
    title="What should a ride cost now?",
    dataset=DATASET,
    read=read_demand_sources,
    recipe=DemandRecipe(
        request=serve.REQUEST,
        answer=serve.ANSWER,
        target=train.target,
        place="zone",
        calendar=features.calendar,
        hour_of_week="hour_of_week",
        views=features.views,
        references=features.references,
        functions=features.functions,
        expected=train.expected,
        quantiles=serve.quantiles,
        answers=serve.answers,
        texts=serve.texts,
        models=train.models,
        labels=train.labels,
    ),
    monitor=Monitor(
        predicted="requests",
        unit="trips",
        low="requests_low",
        high="requests_high",
        residual="difference",
        timezone=features.CITY_TIMEZONE,
        columns=(
            WatchedColumn("zone", "categorical"),
            WatchedColumn("at", "numerical"),
            WatchedColumn("requests", "numerical"),
            WatchedColumn("multiplier", "numerical"),
        ),
    ),
    trial=timedelta(days=14),
)

"""The declaration of the recommendations use case."""

from datetime import timedelta

from bottega.datasets.session_sources import DATASET, read_session_sources
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.ranking.next_recipe import NextRecipe
from bottega.usecase import UseCase
from usecases.recommendations import features, serve, train

USECASE = UseCase(
    name="recommendations",
    title="Which restaurant next?",
    dataset=DATASET,
    read=read_session_sources,
    recipe=NextRecipe(
        request=serve.REQUEST,
        answer=serve.ANSWER,
        target=train.target,
        restaurants=features.restaurants,
        models=train.models,
        labels=train.labels,
        events=serve.EVENTS,
        shown=serve.SHOWN,
    ),
    monitor=Monitor(
        predicted="expected_price_usd",
        unit="USD",
        columns=(WatchedColumn("expected_price_usd", "numerical"),),
        min_labels=10,
        min_day_labels=30,
    ),
    trial=timedelta(days=20),
)

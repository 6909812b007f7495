"""The declaration of the verification use case."""

from bottega.datasets.picture_sources import PictureReader
from bottega.monitoring.monitor import Monitor, WatchedColumn
from bottega.training.picture_recipe import PictureRecipe
from bottega.usecase import UseCase
from usecases.verification import features, serve, train

USECASE = UseCase(
    name="verification",
    title="Does the driver wear a mask, and a helmet?",
    dataset=features.DATASETS[0],
    read=PictureReader(features.DATASETS),
    recipe=PictureRecipe(
        picture=features.PICTURE,
        heads=train.heads,
        request=serve.REQUEST,
        answer=serve.ANSWER,
        target=train.target,
        models=train.models,
    ),
    monitor=Monitor(
        predicted="mask_probability",
        residual="difference",
        columns=(
            WatchedColumn("mask_probability", "numerical"),
            WatchedColumn("decision", "categorical"),
            WatchedColumn("brightness", "numerical"),
            WatchedColumn("sharpness", "numerical"),
        ),
    ),
)

"""How verification learns: its two questions, the rates of wrong decisions that it may make, and the network."""

from bottega.training.picture_recipe import PIXELS, Head
from bottega.training.picture_settings import PictureSettings
from bottega.training.recipe import ModelSpec, Target
from usecases.verification.features import DATASETS

target = Target("mask", "nats", answer="mask_probability")

heads = (
    Head(
        name="mask",
        source=DATASETS[0],
        probability="mask_probability",
        decision="decision",
        reasons="reasons",
        otherwise="the model is not sure: a person decides",
        wrong_accept=0.02,
        wrong_reject=0.01,
    ),
    Head(
        name="helmet",
        source=DATASETS[1],
        probability="helmet_probability",
        decision="helmet_decision",
        reasons="helmet_reasons",
        otherwise="helmets are not decided automatically: a person decides",
    ),
)

models = (ModelSpec("residual_network", (PIXELS,), PictureSettings()),)

"""Training of a picture recipe: networks that each leave a fold out.

So every picture is judged by one that did not see it: calibration, thresholds and the gate all rest on those answers.
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from bottega.datasets.portraits import draw_portraits
from bottega.datasets.reading import Sources
from bottega.features.decide_step import Limit
from bottega.features.picture import take_thumbnail
from bottega.features.plan import FeaturePlan, run_steps
from bottega.features.steps import Parts
from bottega.progress import Progress
from bottega.times import from_epoch_us
from bottega.training.calibration import fit_calibration
from bottega.training.fitted import Fitted
from bottega.training.folds import assign_folds, clusters
from bottega.training.gate import Decision, Gate, Rival, judge
from bottega.training.outcome import Candidate, Origin, Outcome
from bottega.training.package import ModelPackage, PackageInfo, Trained
from bottega.training.picture_evaluation import answer, log_loss, score
from bottega.training.picture_examples import QUALITY, PictureExamples, check_enough, make_picture_examples
from bottega.training.picture_network import Committee
from bottega.training.picture_probes import border_auc, robustness
from bottega.training.picture_recipe import PictureRecipe
from bottega.training.picture_settings import PictureSettings
from bottega.training.picture_training import Members, train_members
from bottega.training.recipe import ModelSpec
from bottega.training.reference import no_online_store
from bottega.training.settings import Effort
from bottega.training.triage import Triage, fit_triage

SAMPLES = 128
HOUR_US = 3_600_000_000
_EDGE = 0.005
"""Share of the training pictures on each side beyond which a picture is like none that was learned from."""


def train(
    usecase: str,
    recipe: PictureRecipe,
    sources: Sources,
    since_us: int,
    until_us: int,
    origin: Origin,
    *,
    champion: ModelPackage | None,
    gate: Gate,
    effort: Effort,
    progress: Progress,
) -> Outcome:
    """Train the recipe's models, as `bottega.training.recipe.Recipe.train`."""
    first = recipe.models[0].settings
    assert isinstance(first, PictureSettings)
    examples = make_picture_examples(recipe, sources, first.side, progress)
    check_enough(recipe, examples)
    trained = Trained(
        from_epoch_us(since_us).isoformat(),
        from_epoch_us(until_us).isoformat(),
        len(examples.contents),
        origin.data_source,
        origin.fingerprint,
    )
    candidates = [
        _judge(usecase, recipe, spec, examples, trained, origin.git_commit, effort, since_us, progress)
        for spec in recipe.models
    ]
    chosen = min(candidates, key=lambda candidate: candidate.loss)
    rival = None if champion is None else _rival(champion, recipe, examples, trained, progress)
    decision = _decide(gate, recipe, examples, chosen, rival)
    return Outcome(since_us, tuple(candidates), chosen, chosen.package, chosen.held_back, rival, decision)


def _judge(
    usecase: str,
    recipe: PictureRecipe,
    spec: ModelSpec,
    examples: PictureExamples,
    trained: Trained,
    git_commit: str,
    effort: Effort,
    since_us: int,
    progress: Progress,
) -> Candidate:
    """One model: its committee, and what its members say of the pictures that they left out."""
    assert isinstance(spec.settings, PictureSettings)
    settings = spec.settings.quick() if effort.quick else spec.settings
    fold = assign_folds(clusters(examples.pixels.mean(axis=1)), examples.contents, settings.members)
    members = train_members(
        examples.pixels, examples.labels, fold, settings, seed=effort.seed, threads=effort.threads, progress=progress
    )
    probability = _calibrated_out_of_fold(members.logits, examples.labels, fold)
    plan = recipe.plan_with(spec, _triages(recipe, probability, examples.labels), _limits(examples))
    answers = _answers(plan, probability, examples)
    evaluation = score(recipe, examples, answers)
    evaluation.metrics.update(_probe(recipe, examples, members, fold, effort.seed))
    calibrations = [
        fit_calibration(members.logits[rows, i], examples.labels[rows, i])
        for i, rows in ((i, examples.of_head(i)) for i in range(len(recipe.heads)))
    ]
    model = Committee(members.networks, calibrations, settings.side).to_onnx()
    fitted = Fitted(model, settings.epochs, _params(settings, effort), members.curves)
    samples, inputs = _samples(recipe, settings.side, effort.seed)
    info = PackageInfo(usecase, spec.name, spec.kind, plan, trained, evaluation.metrics, git_commit)
    package = ModelPackage(info, {}, model, {}, samples, inputs)
    held_back = _held_back(recipe, examples, answers, since_us)
    loss = evaluation.metrics[f"log_loss_{recipe.heads[0].name}"]
    return Candidate(spec.name, fitted, package, evaluation, held_back, loss)


def _probe(
    recipe: PictureRecipe, examples: PictureExamples, members: Members, fold: np.ndarray, seed: int
) -> dict[str, float]:
    """How the first head fares with worse pictures, and with the border alone."""
    rows, name = examples.of_head(0), recipe.heads[0].name
    pixels, label = examples.pixels[rows], examples.labels[rows, 0]
    spoilt = robustness(members.networks, pixels, label, fold[rows])
    found = {f"auc_{name}_{probe}": auc for probe, auc in spoilt.items() if probe != "as_taken"}
    return found | {f"auc_{name}_by_its_border": border_auc(pixels, label, fold[rows], seed)}


def _calibrated_out_of_fold(logits: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Probabilities (rows, heads) of pictures by networks and calibrations that did not see them."""
    probability = np.empty(logits.shape)
    for head in range(labels.shape[1]):
        known = ~np.isnan(labels[:, head])
        for own in np.unique(fold):
            rows = known & (fold != own)
            calibration = fit_calibration(logits[rows, head], labels[rows, head])
            probability[fold == own, head] = calibration(logits[fold == own, head])
    return probability


def _triages(recipe: PictureRecipe, probability: np.ndarray, labels: np.ndarray) -> tuple[Triage, ...]:
    found = []
    for i, head in enumerate(recipe.heads):
        known = ~np.isnan(labels[:, i])
        found.append(fit_triage(probability[known, i], labels[known, i], head.wrong_accept, head.wrong_reject))
    return tuple(found)


def _limits(examples: PictureExamples) -> tuple[Limit, ...]:
    """What nearly every picture that was learned from keeps: beyond it nothing is known of the errors."""
    low, high = (examples.quality[examples.of_head(0)].quantile(q) for q in (_EDGE, 1 - _EDGE))
    return (
        Limit("brightness", "too dark", minimum=float(low["brightness"])),
        Limit("brightness", "too bright", maximum=float(high["brightness"])),
        Limit("contrast", "too little contrast", minimum=float(low["contrast"])),
        Limit("sharpness", "too blurred", minimum=float(low["sharpness"])),
    )


def _answers(plan: FeaturePlan, probability: np.ndarray, examples: PictureExamples) -> dict[str, np.ndarray]:
    """What the plan answers where the model said `probability`."""
    columns = {name: examples.quality[name].to_numpy() for name in QUALITY}
    columns |= {name: probability[:, i] for i, name in enumerate(plan.model().outputs)}
    return run_steps(plan.after_model(), columns, Parts({}, {}, no_online_store, _no_model))


def _no_model(features: np.ndarray) -> np.ndarray:
    raise AssertionError("steps after the model do not run it")


def _held_back(
    recipe: PictureRecipe, examples: PictureExamples, answers: Mapping[str, np.ndarray], since_us: int
) -> pd.DataFrame:
    """The first head's answers for the monitor; pictures have no dates, so they count as one an hour."""
    rows = examples.of_head(0)
    at = pd.to_datetime(since_us + np.arange(rows.sum()) * HOUR_US, unit="us", utc=True)
    columns = {field.name: answers[field.name][rows] for field in recipe.answer}
    actual = examples.labels[rows, 0].astype(np.float64)
    return pd.DataFrame(
        {"at": at, "label_at": at, "actual": actual, "predicted": columns[recipe.target.answer], **columns}
    )


def _samples(recipe: PictureRecipe, side: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Drawn pictures to check compiled code with: a package keeps nobody's photo."""
    drawn = draw_portraits(seed, SAMPLES, label="mask", first=10_000_000)["jpeg"]
    inputs = np.stack([take_thumbnail(content, side).pixels.reshape(-1) for content in drawn])
    return {recipe.picture: np.array(list(drawn))}, inputs


def _params(settings: PictureSettings, effort: Effort) -> dict[str, float | int | str]:
    return {**asdict(settings), "channels": ",".join(map(str, settings.channels)), "seed": effort.seed}


def _rival(
    champion: ModelPackage, recipe: PictureRecipe, examples: PictureExamples, trained: Trained, progress: Progress
) -> Rival:
    """The champion's loss on the same pictures; that it may have learned from them flatters it."""
    rows = examples.of_head(0)
    if champion.info.trained.fingerprint == trained.fingerprint:
        loss = champion.info.metrics[f"log_loss_{recipe.heads[0].name}"]
        return Rival(loss, rows, "The champion was trained on the same pictures.", True)
    said = answer(champion, recipe, examples, progress)[recipe.target.answer]
    loss = log_loss(examples.labels[rows, 0], said[rows].astype(np.float64))
    return Rival(loss, rows, "The champion may have learned from some of these pictures, which flatters it.")


def _decide(
    gate: Gate, recipe: PictureRecipe, examples: PictureExamples, chosen: Candidate, rival: Rival | None
) -> Decision:
    """Against the share of label 1 as everybody's probability, and against the champion."""
    label = examples.labels[examples.of_head(0), 0]
    baseline = log_loss(label, np.full(len(label), label.mean()))
    return judge(gate, recipe.target.unit, chosen.loss, baseline, rival)

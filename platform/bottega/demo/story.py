"""The story: what each stage is, why it is there, the command that repeats it, and its figures in a sentence."""

from collections.abc import Callable
from dataclasses import dataclass

from bottega.demo.stages import Demo, Figures


@dataclass(frozen=True)
class Stage:
    """One step of the loop; `work` gets what the stages before it found."""

    name: str
    title: str
    why: str
    command: str
    work: Callable[[Demo, dict[str, Figures]], Figures]
    tell: Callable[[Figures], str]
    needs_server: bool = False


def story(demo: Demo) -> tuple[Stage, ...]:
    """The stages of a scenario, in order; a scenario without an incident has no last one."""
    name, scene = demo.usecase.name, demo.scenario
    span = f"--from {scene.train_from} --until {scene.train_until}"
    calm_until = scene.incident_from or scene.replay_until
    stages = [
        Stage(
            "data",
            "Data: load, check, quarantine",
            "A model learns whatever is in its data. Rows that break a declared rule are counted and kept aside.",
            f"bottega data check {span}",
            lambda demo, done: demo.data(),
            _tell_data,
        ),
        Stage(
            "features",
            "Features: fill the online store, prove that it agrees with the training set",
            "A feature that means one thing in training and another in production is the commonest silent failure.",
            f"bottega features parity {span}",
            lambda demo, done: demo.features(),
            _tell_features,
        ),
        Stage(
            "train",
            "Training: baseline, boosted trees, DeepETA; the gate chooses",
            "Each model is judged on the newest days, which it has not seen. Distance and fare stay out: they are "
            "known only after the trip, and a model that uses them looks brilliant until it is needed.",
            f"bottega train {name} {span} --quick",
            lambda demo, done: demo.train(),
            _tell_train,
        ),
        Stage(
            "compile",
            "Compile: native code by TVM, checked against the framework, measured against ONNX Runtime",
            "Millions of people ask; a millisecond saved is a data centre saved.",
            f"bottega compile {name}@champion",
            lambda demo, done: demo.compile(),
            _tell_compile,
        ),
        Stage(
            "serve",
            "Serve: one process, Open Inference Protocol V2",
            "The server looks features up, computes, answers and logs; it holds no Python of the model.",
            f"bottega deploy {name}@champion && bottega serve",
            lambda demo, done: demo.serve(done["train"]["model_version"]),
            _tell_serve,
            needs_server=True,
        ),
        Stage(
            "watch",
            "Watch: days pass, labels arrive when trips end",
            "Without the true durations nobody knows how good yesterday's answers were.",
            f"bottega monitor replay {name} --from {scene.replay_from} --until {calm_until}",
            lambda demo, done: demo.watch(done["train"]["model_version"]),
            _tell_watch,
            needs_server=True,
        ),
    ]
    if scene.incident_from is not None:
        stages.append(
            Stage(
                "incident",
                f"Incident: {scene.incident}; alarm, retrain, release, recover",
                "The questions look much the same, the answers have changed: only the error can tell.",
                f"bottega monitor replay {name} --from {calm_until} --until {scene.replay_until} --retrain --quick",
                lambda demo, done: demo.incident(done["train"]["model_version"]),
                _tell_incident,
                needs_server=True,
            )
        )
    return tuple(stages)


def _tell_data(found: Figures) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found["rejected"].items())
    return (
        f"{found['rows']:,} trips from {found['data_source']}, {found['mean_min']:.1f} min on average. "
        f"Refused: {reasons or 'none'}."
    )


def _tell_features(found: Figures) -> str:
    return (
        f"{found['events']:,} events in the online store. {found['values']:,} values compared offline and online: "
        f"{found['mismatches']:,} differ."
    )


def _tell_train(found: Figures) -> str:
    models = ", ".join(f"{judged['model']} {judged['metrics']['mae_min']:.2f}" for judged in found["candidates"])
    worst = found["worst_slices"][0] if found["worst_slices"] else None
    slowest = f" Worst slice: {worst['slice']} {worst['value']}, {worst['mae']:.1f} min." if worst else ""
    return (
        f"Mean absolute error in minutes: zone-pair median {found['metrics']['baseline_mae_min']:.2f}, {models}. "
        f"Version {found['model_version']} ({found['model']}) is champion.{slowest}"
    )


def _tell_compile(found: Figures) -> str:
    return " ".join(
        f"{role.capitalize()} ({one['model']}): {one['speedup']['1']:.1f} x ONNX Runtime at one row, "
        f"{one['speedup']['256']:.1f} x at 256; largest relative error {one['max_rel_error']:.1g}."
        for role, one in found.items()
    )


def _tell_serve(found: Figures) -> str:
    answer = found["answer"]
    return (
        f"{found['request']} takes {answer['eta_min']:.1f} min ({answer['low_min']:.1f} to {answer['high_min']:.1f}). "
        f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms at one connection; "
        f"{found['rps']:,.0f} requests/s at 16."
    )


def _tell_watch(found: Figures) -> str:
    loop = found["loop"]
    alarm = "no alarm" if not loop["alarms"] else f"{loop['alarms']} alarm(s)"
    return (
        f"{loop['rows']:,} requests answered and judged: MAE {found['mae']:.2f} min, {alarm}. Inputs: {found['drift']}."
    )


def _tell_incident(found: Figures) -> str:
    loop = found["loop"]
    maes = {phase["name"]: phase["mae"] for phase in loop["phases"]}
    if found["alarm_after_h"] is None:
        return f"{loop['rows']:,} requests; no alarm. Inputs: {found['drift']}."
    after = maes["after_retrain"]
    recovered = "no version was promoted" if after is None else f"{after:.2f} min after retraining"
    return (
        f"Alarm {found['alarm_after_h']:.0f} h after the start. Error {maes['during']:.2f} min during, {recovered}. "
        f"Live version: {loop['version_before']} before, {loop['version_after']} after. Inputs: {found['drift']}."
    )

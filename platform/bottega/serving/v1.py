"""The use-case routes: plain JSON in, typed answers with units out."""

from time import perf_counter_ns, time_ns
from typing import Any

import msgspec
import numpy as np

from bottega.features.steps import Columns
from bottega.schema import Field
from bottega.serving.endpoint import Endpoint, example
from bottega.serving.log import Answered, PredictionLog
from bottega.serving.rows import EXPLAIN, MAX_ROWS, decode_rows, encode_answers, to_list
from bottega.serving.traffic import Traffic
from bottega.serving.web import Request, Response, as_json
from bottega.times import from_epoch_us

LOG = b"x-bottega-log"
"""`off` keeps a request out of the prediction log: for maps and what-if questions, which will never get a label."""


async def predict(traffic: Traffic, request: Request, log: PredictionLog) -> Response:
    """`POST /v1/<usecase>/predict`."""
    received_ns = perf_counter_ns()
    endpoint = traffic.champion
    stages = endpoint.metrics.stages
    header_id = request.trace.request_id
    rows = endpoint.row_form.read(request.body, header_id) or decode_rows(request.body, endpoint.plan, header_id)
    endpoint.check(rows.columns)
    asked = request.asks(EXPLAIN) if request.query else None
    explain = rows.explain if asked is None else asked
    stages["parse"].observe_ns(perf_counter_ns() - received_ns)
    logged = request.header(LOG) != "off"
    endpoint, role, answers = await traffic.answer(rows.columns, rows.ids, logged)
    if logged:
        record(endpoint, rows.ids, rows.columns, answers, received_ns, log, role, request.trace.trace_id)
    else:
        endpoint.metrics.answered(len(rows.ids))
    ran_ns = perf_counter_ns()
    explainer = endpoint.explainer
    explanations = explainer.explain(rows.columns, answers) if explain else ()
    ages = explainer.ages(answers)
    body = encode_answers(endpoint.usecase, endpoint.version, endpoint.plan, rows, answers, ages, explanations)
    done_ns = perf_counter_ns()
    stages["encode"].observe_ns(done_ns - ran_ns)
    stages["total"].observe_ns(done_ns - received_ns)
    return Response(body)


def record(
    endpoint: Endpoint,
    ids: tuple[str, ...],
    columns: Columns,
    answers: Columns,
    received_ns: int,
    log: PredictionLog,
    role: str,
    trace_id: str = "",
) -> None:
    """Count an answered request and hand it to the prediction log."""
    latency_us = (perf_counter_ns() - received_ns) * 1e-3
    endpoint.metrics.answered(len(ids))
    log.append(
        Answered(
            endpoint.usecase,
            endpoint.version,
            endpoint.plan,
            ids,
            columns,
            answers,
            time_ns() // 1000,
            latency_us,
            role,
            trace_id,
        )
    )


def describe(endpoint: Endpoint) -> Response:
    """`GET /v1/<usecase>`: the fields of request and answer, the ids that exist, an example."""
    plan, first = endpoint.plan, from_epoch_us(endpoint.first_us).isoformat()
    row = example(plan, endpoint.artifact.tables, endpoint.first_us)
    sample = {f.name: first if f.is_time else to_list(row[f.name])[0] for f in plan.request}
    return as_json(
        {
            "usecase": endpoint.usecase,
            "model_version": endpoint.version,
            "request": [_field(endpoint, field) for field in plan.request],
            "answer": [_field(endpoint, field) for field in plan.answer],
            "first_moment": first,
            "trained": endpoint.artifact.manifest.trained,
            "max_rows": MAX_ROWS,
            "example": sample,
        }
    )


def _field(endpoint: Endpoint, field: Field) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.to_builtins(field)
    if field.known_in:
        table = endpoint.artifact.tables[field.known_in]
        if len(table.strides) == 1:
            described["known"] = np.flatnonzero(table.known).tolist()
    return described

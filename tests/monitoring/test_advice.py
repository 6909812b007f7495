from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from bottega.monitoring.advice import recent_span
from bottega.monitoring.detection import Detection
from bottega.monitoring.quality import quality

START = datetime(2024, 3, 4, 5, tzinfo=UTC)
ALARM = Detection("cusum", START + timedelta(hours=40), START + timedelta(hours=30), "below", 41.0, 40.0, -0.25)


@pytest.mark.parametrize(
    ("days_later", "needed", "ready", "said"),
    [
        (4, 9_000, True, "9600 labels since then, enough"),
        (4, 10_000, False, "9600 labels since then, too few: 10,000 needed"),
        (2, 1_000, False, "2.0 days since then, too few"),
    ],
)
def test_the_span_begins_at_the_change_and_waits_for_enough(outcomes, monitor, days_later, needed, ready, said):
    monitor = msgspec.structs.replace(monitor, min_retrain_rows=needed)
    table = outcomes(300, 100)
    table["at"] = [START + timedelta(hours=row // 100) for row in range(len(table))]  # exactly 100 an hour
    until = ALARM.change_at + timedelta(days=days_later)
    span = recent_span(quality(table, "hour", monitor.timezone), ALARM, monitor, until)
    assert (span.since, span.until) == (START + timedelta(hours=30), until)
    assert span.rows == days_later * 24 * 100
    assert span.ready is ready
    assert said in " ".join(span.reasons)
    assert "2024-03-05 11:00 UTC" in span.reasons[0]

from pathlib import Path

from bottega.monitoring.report import load_report
from bottega.workspace import Workspace
from studio.drift import closed_page, scores


def test_each_watched_column_has_its_score_limit_and_verdict(watched: Workspace) -> None:
    summary, _ = load_report(watched, "eta")
    table = scores(summary).set_index("column")
    assert table.loc["pu_zone", "method"] == "PSI"
    for name, column in summary.drift_columns.items():
        assert table.loc[name, "score"] == column.score
        assert table.loc[name, "verdict"] == ("drift" if column.drifted else "no drift")
        assert (table.loc[name, "of_limit"] >= 1) == column.drifted


def test_evidentlys_page_loads_nothing_from_elsewhere(watched: Workspace) -> None:
    summary, _ = load_report(watched, "eta")
    page = closed_page(Path(str(summary.drift_report)).read_text("utf-8"))
    assert page.count("Content-Security-Policy") == 1
    assert '<link rel="stylesheet" href="http' not in page


def test_links_and_scripts_from_elsewhere_are_taken_out() -> None:
    page = '<head><link href="https://x.org/a.css"><script src="https://x.org/a.js"></script></head><body>b</body>'
    closed = closed_page(page)
    assert "x.org" not in closed
    assert "<body>b</body>" in closed

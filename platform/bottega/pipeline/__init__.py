"""The loop: the one place that joins the stages, ingest -> train -> compile -> deploy -> watch -> retrain."""

"""Ingestion: tables from files, an HTTP API, a web page or an event log, checked row by row.

A source yields batches, each with the position to go on from. `bottega.datasets.ingest.run.ingest` converts, checks,
transforms and writes them: one segment a batch, in place of the one that the same batch gave before.
"""

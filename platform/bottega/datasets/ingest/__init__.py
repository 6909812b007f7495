"""Ingestion: tables from files, an HTTP API, a web page or an event log, checked row by row.

Each source yields batches with a position to go on from; `bottega.datasets.ingest.run.ingest` checks, transforms and
writes them. What is refused goes to quarantine with its reason, and nothing is written twice.
"""

"""Serving: Open Inference Protocol V2 over compiled artefacts."""

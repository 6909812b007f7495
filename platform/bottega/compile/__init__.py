"""Compile: from a model package to a signed artefact of native code."""

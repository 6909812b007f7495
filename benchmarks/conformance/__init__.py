"""Bottega's compiler against the tests that the ONNX package carries for every operator."""

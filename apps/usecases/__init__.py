"""The use cases: one folder of five files each."""

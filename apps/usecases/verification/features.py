"""What verification knows of a driver: one picture, and nothing else. No entity, no history, no view of the store."""

PICTURE = "picture"
"""The request's field with the file's bytes."""
DATASETS = ("face_mask", "helmet")

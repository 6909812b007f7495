"""ETA: how long a trip between two zones will take."""

"""Features: declared once; joined point-in-time offline, read by key online."""

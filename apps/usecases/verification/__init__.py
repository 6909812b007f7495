"""Verification: whether a driver wears a mask, and a helmet."""

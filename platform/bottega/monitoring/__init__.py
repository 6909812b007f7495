"""Monitoring: late labels, drift, quality, alerts."""

"""Recommendations: which restaurants to suggest next."""

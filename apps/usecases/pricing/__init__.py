"""Pricing: what a ride should cost now, from how many will ask for one and how many cars there will be."""

"""Other people's engines, given the same work as ours and measured beside it."""

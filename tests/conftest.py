"""For every test: random examples have no time limit, since machines are shared and slow at times."""

from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

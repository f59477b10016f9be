"""Settings of every test: what hypothesis finds counts, how long a busy machine takes for it does not."""

from hypothesis import settings

settings.register_profile("tapestry", deadline=None)
settings.load_profile("tapestry")

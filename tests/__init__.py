"""The tests of the house. A slow machine fails none of them: no example of hypothesis has a deadline."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")

"""Hypothesis, without deadlines: a busy machine must not fail a test of pure functions."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")

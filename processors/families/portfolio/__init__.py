"""Portfolios of a mean-variance model, with rules about what may be held."""

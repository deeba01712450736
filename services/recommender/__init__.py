"""Recommender: what production shows of the code becomes specific, reviewable changes of it."""

"""Tools over the runbooks: what is known, what fits an incident, and how often it worked."""

"""The composition root: the console script, `up`, `replay` and the demo; the only place that knows every service."""

"""Runbooks: Markdown files with front matter that name a pattern and its known fix."""

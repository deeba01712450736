"""Pages: what each one shows, as frozen dataclasses built by pure functions from documents."""

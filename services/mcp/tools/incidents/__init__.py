"""Tools over the incident store: search, documents, investigations, history, fixes, similar incidents."""

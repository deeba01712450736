"""`python -m deploy.kibana`: write paramedic.ndjson anew after a change to what is described beside it."""

from deploy.kibana.export import EXPORT, ndjson

EXPORT.write_text(ndjson())
print(f"{EXPORT.name}: {len(ndjson().splitlines())} objects")

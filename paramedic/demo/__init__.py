"""The demo: a real shop, real faults, and a scorecard of what Paramedic made of them."""

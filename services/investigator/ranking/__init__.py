"""Rank root causes: one idea of how signals travel through a system per file, fused at the end; pure functions."""

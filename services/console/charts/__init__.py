"""Drawings: pure functions from figures to SVG, styled by static/console.css."""

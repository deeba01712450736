"""Tests of libs/, mirrored."""

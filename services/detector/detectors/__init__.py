"""The detectors, one file each; a new file that registers itself is found by name."""

"""Source formats: one file each, found by its `FORMAT`; each turns bytes into a request that normalise/ understands."""

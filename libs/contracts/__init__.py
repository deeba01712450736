"""Records that travel between services, and the codec that turns them into bytes."""

"""Laws of the stores, and the adapters put through them."""

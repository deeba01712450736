"""From decoded requests to the batches of the contract."""

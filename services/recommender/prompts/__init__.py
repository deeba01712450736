"""What a model is told, in prose."""

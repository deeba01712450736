"""Consuming and producing with three fates: handled, held, refused."""

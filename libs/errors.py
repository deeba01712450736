"""Errors by outcome: what the caller must do, not where it happened."""


class ParamedicError(Exception):
    """Root of every error that Paramedic raises on purpose."""


class InvalidMessage(ParamedicError):
    """The input itself is wrong and will stay wrong: refuse it, keep the original bytes, go on."""


class Unavailable(ParamedicError):
    """A dependency is down or overloaded: hold the input, commit nothing, try again later."""


class Conflict(ParamedicError):
    """Somebody else changed the document first: read it again and decide anew."""


class NotFound(ParamedicError):
    """The named thing does not exist."""


class ConfigurationError(ParamedicError):
    """A setting is missing or contradicts another; the text says which one and what to do."""

"""Ways in which a request fails on purpose, by what the caller can do about it."""


class ShopError(Exception):
    """Root of the shop's own errors; each carries the HTTP status that it becomes."""

    status = 500


class Refused(ShopError):
    """The request is answered with a 4xx: the caller must change it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Overloaded(ShopError):
    """This instance has no room: try later or elsewhere."""

    status = 503


class PeerTimeout(ShopError):
    """Another service has not answered in time."""

    status = 504


class PeerUnavailable(ShopError):
    """Another service cannot be reached or answered with a failure of its own."""

    status = 502

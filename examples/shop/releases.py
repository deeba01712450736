"""What the shop consists of: services, their releases, their defaults, their feature flags."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One deployable version of a service.

    Attributes:
        version: Semantic version.
        notes: What its authors say has changed.
    """

    version: str
    notes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service of the shop.

    Attributes:
        name: `service.name`, and the module `examples.shop.<name>`.
        releases: What can be deployed, oldest first.
        initial: Version that runs at start.
        replicas: Instances at start.
    """

    name: str
    releases: tuple[Release, ...]
    initial: str
    replicas: int = 1

    @property
    def versions(self) -> tuple[str, ...]:
        """Deployable versions, oldest first."""
        return tuple(release.version for release in self.releases)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSpec:
    """One feature flag, off at start.

    Attributes:
        name: Name in the control API.
        service: The service that reads it.
        description: What it switches on.
    """

    name: str
    service: str
    description: str


CATALOG_INDEXED = "2.3.0"
CATALOG_RANKED = "2.4.0"
CHECKOUT_MAIL = "3.1.2"
CHECKOUT_PHONE = "3.2.0"

MAX_REPLICAS = 4  # an instance takes 60 MB; four of each still fit a laptop

SERVICES: dict[str, ServiceSpec] = {
    spec.name: spec
    for spec in (
        ServiceSpec(name="gateway", releases=(Release(version="1.12.0", notes="stable"),), initial="1.12.0"),
        ServiceSpec(
            name="catalog",
            releases=(
                Release(version=CATALOG_INDEXED, notes="search by the beginning of the name"),
                Release(
                    version=CATALOG_RANKED,
                    notes="search in names, descriptions and reviews, best rated first",
                ),
            ),
            initial=CATALOG_INDEXED,
        ),
        ServiceSpec(
            name="cart",
            releases=(
                Release(version="1.8.0", notes="coupon imports for partners"),
                Release(version="1.8.1", notes="dependency updates"),
            ),
            initial="1.8.0",
        ),
        ServiceSpec(
            name="checkout",
            releases=(
                Release(version=CHECKOUT_MAIL, notes="order confirmation by mail"),
                Release(version=CHECKOUT_PHONE, notes="order confirmation by text message"),
            ),
            initial=CHECKOUT_MAIL,
        ),
        ServiceSpec(
            name="inventory",
            releases=(Release(version="4.0.3", notes="stable"),),
            initial="4.0.3",
            replicas=2,  # so that one hung instance leaves a healthy one to compare it with
        ),
        ServiceSpec(
            name="payments",
            releases=(
                Release(version="2.0.1", notes="stable"),
                Release(version="2.0.2", notes="dependency updates"),
            ),
            initial="2.0.1",
        ),
    )
}

NEW_PRICING = "new-pricing"
SALE_BANNER = "sale-banner"

FLAGS: dict[str, FlagSpec] = {
    flag.name: flag
    for flag in (
        FlagSpec(name=NEW_PRICING, service="cart", description="discounts by the product's price tier"),
        FlagSpec(name=SALE_BANNER, service="gateway", description="announce the sale in a response header"),
    )
}

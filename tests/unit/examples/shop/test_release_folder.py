"""Which folders may be deployed: those below one folder, with the whole package, under a name that is not taken."""

from pathlib import Path

import pytest

from examples.shop.fleet import NotAccepted, ServiceState
from examples.shop.release_folder import ReleaseFolder
from examples.shop.releases import SERVICES


@pytest.fixture
def cart() -> ServiceState:
    return ServiceState(spec=SERVICES["cart"], history=["1.8.0"], replicas=1)


def a_copy(folder: Path) -> Path:
    (folder / "examples" / "shop").mkdir(parents=True)
    for name in ("__init__.py", "shop/__init__.py", "shop/cart.py"):
        (folder / "examples" / name).touch()
    return folder


def test_a_copy_below_the_folder_is_accepted(tmp_path: Path, cart: ServiceState) -> None:
    copy = a_copy(tmp_path / "cart-1.8.2")
    assert ReleaseFolder(tmp_path, tmp_path).checked(cart, "1.8.2", str(copy)) == copy


def test_nothing_is_accepted_when_no_folder_was_named(tmp_path: Path, cart: ServiceState) -> None:
    with pytest.raises(NotAccepted, match="--releases"):
        ReleaseFolder(None, tmp_path).checked(cart, "1.8.2", str(a_copy(tmp_path / "x")))


@pytest.mark.parametrize(
    "source", ["releases/x", "/", "/etc", "../x", "{allowed}/../outside", "{allowed}/link", "/a\0b"]
)
def test_a_folder_elsewhere_is_refused(tmp_path: Path, cart: ServiceState, source: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(a_copy(tmp_path / "outside"))
    with pytest.raises(NotAccepted, match="source is not"):
        ReleaseFolder(allowed, tmp_path).checked(cart, "1.8.2", source.replace("{allowed}", str(allowed)))


@pytest.mark.parametrize("missing", ["examples/__init__.py", "examples/shop/__init__.py", "examples/shop/cart.py"])
def test_a_copy_that_would_run_other_code_is_refused(tmp_path: Path, cart: ServiceState, missing: str) -> None:
    copy = a_copy(tmp_path / "x")
    (copy / missing).unlink()
    with pytest.raises(NotAccepted, match=missing):
        ReleaseFolder(tmp_path, tmp_path).checked(cart, "1.8.2", str(copy))


def test_a_version_keeps_meaning_the_same_build(tmp_path: Path, cart: ServiceState) -> None:
    releases = ReleaseFolder(tmp_path, tmp_path)
    first, second = a_copy(tmp_path / "first"), a_copy(tmp_path / "second")
    cart.sources["1.8.2"] = first
    assert releases.checked(cart, "1.8.2", str(first)) == first
    for taken in ("1.8.2", "1.8.1"):
        with pytest.raises(NotAccepted, match="another build"):
            releases.checked(cart, taken, str(second))
    assert cart.versions == ("1.8.0", "1.8.1", "1.8.2")

"""Who may look and decide: headers, host, token, form tokens, and forms of other sites."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

import services.console
from services.console.csrf import COOKIE, FIELD, Signer, secret_key
from services.console.security import host_name, local_path
from tests.unit.services.console import filled
from tests.unit.services.console.conftest import Console

PAGE = "/incidents/INC-000042"
RESOLVE = f"{PAGE}/resolve"


@pytest.mark.parametrize("path", ["/", PAGE, "/healing", "/recommendations", "/nothing", "/static/console.css"])
def test_every_answer_forbids_what_is_not_ours(console: Console, path: str) -> None:
    headers = console.browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == ("public, max-age=31536000, immutable" if "static" in path else "no-store")


def test_a_bug_is_answered_with_the_same_headers_and_without_its_text(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(console.incidents), "states", lambda *_: 1 / 0)
    answer = console.browser.get("/recommendations")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "division by zero" in console.log.getvalue()


def test_pages_bring_no_script_style_or_address_of_others() -> None:
    folder = Path(services.console.__file__).parent
    for path in [*(folder / "templates").glob("*.html"), *(folder / "static").iterdir()]:
        text = path.read_text()
        assert "|safe" not in text.replace(" ", ""), path
        assert not re.search(r"\sstyle=|\son[a-z]+=\"", text), path
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert not re.search(r"<script(?! src=)", text), path
    assert len((folder / "static" / "console.js").read_text().splitlines()) < 150


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "", "[::1"])
def test_a_page_that_points_its_name_at_loopback_is_refused(console: Console, host: str) -> None:
    assert console.browser.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081"])
def test_loopback_by_any_name_is_served(console: Console, host: str) -> None:
    assert console.browser.get("/", headers={"Host": host}).status_code == 200


def test_hosts_are_read_without_their_port() -> None:
    assert [host_name(h) for h in ("a:1", "[::1]:2", "A", "", "[")] == ["a", "::1", "a", "", ""]


def test_a_form_without_its_token_decides_nothing(console: Console) -> None:
    fields = {**console.fields(PAGE, RESOLVE), "actor": "ada"}
    for token in ("", "0" * 64, "é"):
        answer = console.browser.post(RESOLVE, data={**fields, FIELD: token})
        assert answer.status_code == 403
        assert "reload it and decide again" in answer.text
    assert console.told.commands == []


def test_a_token_of_another_browser_decides_nothing(console: Console) -> None:
    fields = {**console.fields(PAGE, RESOLVE), "actor": "ada"}
    other = console.new_browser()
    other.get("/")
    assert other.post(RESOLVE, data=fields).status_code == 403
    assert console.new_browser().post(RESOLVE, data=fields).status_code == 403
    assert console.told.commands == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_decides_nothing(console: Console, headers: dict[str, str]) -> None:
    fields = {**console.fields(PAGE, RESOLVE), "actor": "ada"}
    assert console.browser.post(RESOLVE, data=fields, headers=headers).status_code == 403
    assert console.told.commands == []
    own = {"Origin": "http://127.0.0.1:8081", "Sec-Fetch-Site": "same-origin"}
    assert console.browser.post(RESOLVE, data=fields, headers=own).status_code == 303


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"actor": "ada"}', "application/json", 415),
        (b"actor=ada", "text/plain", 415),
        (b"actor=" + b"x" * 200_000, "application/x-www-form-urlencoded", 413),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 415),
        (b"actor=%ff", "application/x-www-form-urlencoded", 415),
        (b"actor", "application/x-www-form-urlencoded", 415),
        (b"a=1&" * 30, "application/x-www-form-urlencoded", 415),
        (b"csrf=1&csrf=2", "application/x-www-form-urlencoded", 422),
        (b"", "application/x-www-form-urlencoded", 403),
    ],
)
def test_malformed_bodies_are_refused(console: Console, content: bytes, kind: str, status: int) -> None:
    console.page(PAGE)
    answer = console.browser.post(RESOLVE, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert console.told.commands == []


def test_a_session_ends_after_a_shift_and_with_the_token() -> None:
    signer = Signer(b"k" * 32, "one")
    session, cookie = signer.open(filled.NOW, signed_in=True)
    assert signer.read(cookie, filled.moment(3600)) == session
    assert signer.read(cookie, filled.moment(13 * 3600)) is None
    assert Signer(b"k" * 32, "two").read(cookie, filled.NOW) is None
    assert Signer(b"x" * 32, "one").read(cookie, filled.NOW) is None
    for broken in ("", "a.b.c.d", cookie[:-1], cookie.replace(".1.", ".0."), "é" + cookie):
        assert signer.read(broken, filled.NOW) is None


def test_the_secret_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "console.key"
    key = secret_key(path)
    assert len(key) == 32
    assert secret_key(path) == key
    assert path.stat().st_mode & 0o077 == 0


def test_with_a_token_nothing_is_shown_before_signing_in(guarded: Console) -> None:
    filled.put(guarded.incidents, filled.a_document())
    for path in ("/", PAGE, "/healing", "/live", f"{PAGE}?a=1&b=2"):
        answer = guarded.browser.get(path, headers={"Host": "ops.example"})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/login?{urlencode({'next': path}).replace('+', '%20')}"
    assert guarded.browser.post(RESOLVE, data={"actor": "ada"}).status_code == 401
    assert guarded.browser.get("/login").status_code == 200
    assert guarded.browser.get("/healthz").json() == {"status": "ok", "state": "ready"}


def test_signing_in_leads_on_and_signing_out_ends_it(guarded: Console) -> None:
    filled.put(guarded.incidents, filled.a_document())
    fields = guarded.fields(f"/login?next={PAGE}", "/login")
    wrong = guarded.browser.post("/login", data={**fields, "token": "guess"})
    assert wrong.status_code == 401
    assert "That is not the token" in wrong.text
    assert "console sign-in refused" in guarded.log.getvalue()
    right = guarded.browser.post("/login", data={**fields, "token": "s3cret"})
    assert (right.status_code, right.headers["location"]) == (303, PAGE)
    assert "HttpOnly; SameSite=Strict" in right.headers["set-cookie"]
    assert "Secure" not in right.headers["set-cookie"]
    assert guarded.decide(PAGE, RESOLVE)[0] == 303
    assert guarded.browser.post("/logout", data=guarded.fields(PAGE, "/logout")).status_code == 303
    assert guarded.browser.get("/").status_code == 303


def test_signing_in_is_protected_from_other_sites_too(guarded: Console) -> None:
    assert guarded.browser.post("/login", data={"token": "s3cret"}).status_code == 403


def test_a_forged_session_is_not_signed_in(guarded: Console) -> None:
    _, cookie = Signer(b"x" * 32, "s3cret").open(filled.NOW, signed_in=True)
    guarded.browser.cookies.set(COOKIE, cookie)
    assert guarded.browser.get("/").status_code == 303


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/healing?page=2", "/healing?page=2"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(wanted: str, leads_to: str) -> None:
    assert local_path(wanted) == leads_to

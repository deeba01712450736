"""Small git repositories with a service in them."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

CART = '''"""Carts."""


class Carts:
    """Carts of users."""

    async def show(self, lines: list[tuple[int, int]]) -> int:
        """What a cart costs."""
        total = 0
        for number, count in lines:
            product = await self._product(number)
            total += product * count
        return total

    async def _product(self, number: int) -> int:
        return await self.peers.send(number, timeout_s=None)
'''
TEST = """import asyncio
from shop.cart import Carts


class Peers:
    async def send(self, number, timeout_s):
        return number


def test_a_cart_costs_what_its_lines_cost():
    carts = Carts()
    carts.peers = Peers()
    assert asyncio.run(carts.show([(2, 3), (5, 1)])) == 11
"""
FILES = {"shop/__init__.py": "", "shop/cart.py": CART, "tests/test_cart.py": TEST}


def run(folder: Path, *arguments: str) -> str:
    """Git in a folder."""
    plain = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *plain, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def checkout(folder: Path, files: Mapping[str, str] = FILES) -> Path:
    """A repository with one commit of some files."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    run(folder, "init", "--quiet", "--initial-branch=main")
    run(folder, "add", "-A")
    run(folder, "commit", "--quiet", "-m", "Begin")
    return folder

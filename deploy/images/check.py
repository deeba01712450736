"""Try what an image would hold, without an engine: each service with nothing but its extra, libs/ and schemas/.

Run from the repository's root: `python -m deploy.images.check [SERVICE...]`; needs uv and the package index.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Every module of the service but its entry points, and every module of libs that it pulls in.
_IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


def extras(dockerfile: Path) -> list[str]:
    """Extras that a Dockerfile installs."""
    words = dockerfile.read_text().split()
    return [words[at + 1] for at, word in enumerate(words) if word == "--extra"]


def check(service: str) -> str:
    """Import everything of one service as its image holds it; the error text, "" when it works."""
    with tempfile.TemporaryDirectory(prefix="paramedic-image-") as folder:
        place, environment = Path(folder) / "app", Path(folder) / "venv"
        venv.create(environment, with_pip=False, symlinks=True)
        install = [shutil.which("uv") or str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet"]
        install += ["--python", str(environment / "bin" / "python"), "-r", "pyproject.toml", "-c", "requirements.lock"]
        for extra in extras(ROOT / "services" / service / "Dockerfile"):
            install += ["--extra", extra]
        found = subprocess.run(install, cwd=ROOT, capture_output=True, text=True, check=False)
        if found.returncode:
            return found.stderr
        for name in ("schemas", "libs", f"services/{service}"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "services" / "__init__.py", place / "services")
        command = [str(environment / "bin" / "python"), "-W", "ignore", "-c", _IMPORT_ALL, f"services.{service}"]
        found = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        return found.stderr if found.returncode else ""


def main(arguments: Sequence[str]) -> int:
    """Check the services named, or all that have a Dockerfile."""
    services = list(arguments) or sorted(path.parent.name for path in (ROOT / "services").glob("*/Dockerfile"))
    failed = 0
    for service in services:
        began_s = time.monotonic()
        error = check(service)
        failed += bool(error)
        print(f"{'failed' if error else 'ok':7}{service} ({time.monotonic() - began_s:.1f} s)", flush=True)
        if error:
            print(error)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

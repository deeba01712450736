"""The contract as data: Avro schemas, released versions, examples and topics.toml; found through `ROOT`."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent

"""Every key of the configuration file is documented with meaning and default, and the shop's file is a valid one."""

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from services.recommender.configuration import Caps, Delivery, Repository, Schedule, Sources, load_configuration
from services.recommender.rule import Thresholds, load_rules

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "recommendations.md").read_text()
TABLES: tuple[type[BaseModel], ...] = (
    Sources,
    Schedule,
    Repository,
    Delivery,
    Caps,
    Thresholds,
    *(kind.thresholds for _, kind in load_rules()),
)
KEYS = [(table.__name__, name, field) for table in TABLES for name, field in table.model_fields.items()]


def written(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "(needed)"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{one}"' for one in default) + "]`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize(("table", "name", "field"), KEYS, ids=lambda one: one if isinstance(one, str) else "")
def test_every_key_is_documented_with_default_and_meaning(table: str, name: str, field: FieldInfo) -> None:
    assert f"| `{name}` | {written(field)} | {field.description} |" in PAGE


@pytest.mark.parametrize("heading", ["sources", "schedule", "delivery", "caps"])
def test_every_table_has_its_heading(heading: str) -> None:
    assert f"### `[{heading}]`" in PAGE


def test_the_shops_file_maps_every_service_of_the_shop() -> None:
    from examples.shop.releases import SERVICES

    configuration = load_configuration(ROOT / "examples" / "shop" / "recommendations.toml")
    for service in SERVICES:
        repository = configuration.repository_of(service)
        assert repository is not None
        assert repository.path == ROOT
        assert repository.test_of(service)

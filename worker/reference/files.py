"""Every file that is made from the code, or has parts that are."""

import json
from pathlib import Path
from typing import Any

import yaml

from worker.reference import asyncapi
from worker.reference.json_schemas import schemas
from worker.reference.page import page
from worker.reference.states import drawn
from worker.reference.tables import renewed

ROOT = Path(__file__).parents[2]

#: Where the JSON Schemas are; there is nothing else there.
JSON_SCHEMAS = ROOT / "schemas" / "json"

ASYNCAPI = ROOT / "schemas" / "asyncapi.yaml"

CONTRACT = ROOT / "schemas" / "README.md"

PAGES = (
    ROOT / "README.md",
    ROOT / "deploy" / "README.md",
    ROOT / "deploy" / "asterisk" / "README.md",
    CONTRACT,
)


def generated() -> dict[Path, str]:
    """Return what each of these files has to hold."""
    pages = {each: renewed(each.read_text()) for each in PAGES}
    return {
        **pages,
        ROOT / "schemas" / "states.svg": drawn(),
        ROOT / "schemas" / "reference.html": page(pages[CONTRACT]),
        ASYNCAPI: _yaml(asyncapi.document()),
        **{
            JSON_SCHEMAS / f"{name}.json": json.dumps(schema, indent=2) + "\n"
            for name, schema in schemas().items()
        },
    }


def renew() -> None:
    """Write all of them, and remove schemas that there are no more."""
    files = generated()
    JSON_SCHEMAS.mkdir(exist_ok=True)
    for path in set(JSON_SCHEMAS.iterdir()) - files.keys():
        path.unlink()
    for path, text in files.items():
        path.write_text(text)


class _Plainly(yaml.SafeDumper):
    """Writes what stands in several places in each of them, and text of several lines as such."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Plainly.add_representer(str, _Plainly.represent_text)


def _yaml(document: Any) -> str:
    plain = json.loads(json.dumps(document))
    dumped: str = yaml.dump(plain, Dumper=_Plainly, sort_keys=False, allow_unicode=True, width=100)
    return dumped

"""Every file that is made from the code, or has parts that are."""

import json
from pathlib import Path

from worker.reference.json_schemas import schemas
from worker.reference.tables import renewed

ROOT = Path(__file__).parents[2]

#: Where the JSON Schemas are; there is nothing else there.
JSON_SCHEMAS = ROOT / "schemas" / "json"

PAGES = (ROOT / "README.md", ROOT / "schemas" / "README.md")


def generated() -> dict[Path, str]:
    """Return what each of these files has to hold."""
    return {
        **{page: renewed(page.read_text()) for page in PAGES},
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

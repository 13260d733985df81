"""``python -m tests.bench.report``: draw what the README shows of ``results.json``."""

from tests.bench.plots import digest, draw
from tests.bench.results import RESULTS, read
from tests.bench.tables import renewed
from tests.harness import ROOT

README = ROOT / "README.md"


def main() -> None:
    """Renew the tables in the README, and the plots beside the results."""
    results = read(RESULTS)
    README.write_text(renewed(README.read_text(), results))
    draw(results, RESULTS.parent, digest(RESULTS))


if __name__ == "__main__":
    main()

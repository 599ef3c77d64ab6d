"""The table of attacks in docs/security.md names tests that exist, one at least for each attack."""

import re

from tests.support.toys import ROOT

_NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_attack_has_a_test():
    rows = [line for line in (ROOT / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")]
    attacks = [row for row in rows if not row.startswith(("| attack |", "| --- |"))]
    assert len(attacks) > 40
    for row in attacks:
        assert _NAME.search(row) or row.endswith("| the same |"), row


def test_the_tests_in_the_table_exist():
    for path, name in _NAME.findall((ROOT / "docs" / "security.md").read_text()):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"

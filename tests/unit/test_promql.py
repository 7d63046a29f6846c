"""What PromQL names is found, and what the catalogue does not have is told."""

from __future__ import annotations

import pytest

from promql import Matcher, Selector, faults_of, names_of


def test_metrics_matchers_and_labels_are_told_from_functions_and_words() -> None:
    names = names_of(
        'sum by (job, le) (rate(a_bucket{code=~"5..|x",le!="1.0"}[5m])) / on (ns) group_left (pod) max(b) > 0.5 and c:d'
        " offset 5m"
    )

    assert names.selectors == (
        Selector("a_bucket", (Matcher("code", "=~", "5..|x"), Matcher("le", "!=", "1.0"))),
        Selector("b"),
        Selector("c:d"),
    )
    assert names.grouped_by == {"job", "le", "ns", "pod"}


@pytest.mark.parametrize("wrong", ['{job="x"}', "a $ b", 'a{b="c"', "a{b=}"])
def test_what_cannot_be_read_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"selector|PromQL|missing|matchers"):
        names_of(wrong)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("batchyard_audit_buffer_entries", "there is no metric batchyard_audit_buffer_entries"),
        ("batchyard_batch_duration_seconds", "there is no metric batchyard_batch_duration_seconds"),
        ('batchyard_batches{state="Running"}', "batchyard_batches has no label state"),
        ('batchyard_batches{phase="running"}', "batchyard_batches: phase is never running"),
        ('batchyard_batches{phase=~"Running|Runing"}', "batchyard_batches: phase is never Runing"),
        ('batchyard_api_requests_total{code=~"9..|error"}', "batchyard_api_requests_total: code is never 9.."),
        (
            'batchyard_deadline_overrun_seconds_bucket{le="30.0"}',
            "batchyard_deadline_overrun_seconds_bucket: le is never 30.0",
        ),
        ("sum by (batch) (batchyard_batches)", "no metric of it has the label batch"),
    ],
)
def test_what_the_catalogue_does_not_have_is_told(expression: str, fault: str) -> None:
    assert faults_of(expression) == [fault]


def test_what_it_has_is_no_fault() -> None:
    assert (
        faults_of(
            'sum by (scope, job) (rate(batchyard_deadline_overrun_seconds_bucket{le="60.0",namespace=~"a.*"}[5m]))'
            ' / on (job) batchyard_api_requests_total{code=~"5..|error",verb!="watch"} > process_open_fds'
        )
        == []
    )

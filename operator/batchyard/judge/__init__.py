"""Evaluation and comparison: what a run is worth, which combination is best, whether the gate opens.

Pure: no clock, thread, file or network. User code comes in only as a function that resolves ``module:function``.
"""

from batchyard.judge.callables import CallableInvalid
from batchyard.judge.comparison import Comparison, ComparisonBuilder
from batchyard.judge.engine import ConfiguredEvaluator, EvaluationEngine, Judged
from batchyard.judge.evaluators import built_in
from batchyard.judge.gate import Check, GateResult, check
from batchyard.judge.observation import CannotJudge, Evaluator, Judgement, Observed
from batchyard.judge.ranking import Best, Measure
from batchyard.judge.registry import DuplicateEvaluator, Registry, UnknownEvaluator
from batchyard.judge.row import CombinationRow, MetricMean

__all__ = [
    "Best",
    "CallableInvalid",
    "CannotJudge",
    "Check",
    "CombinationRow",
    "Comparison",
    "ComparisonBuilder",
    "ConfiguredEvaluator",
    "DuplicateEvaluator",
    "EvaluationEngine",
    "Evaluator",
    "GateResult",
    "Judged",
    "Judgement",
    "Measure",
    "MetricMean",
    "Observed",
    "Registry",
    "UnknownEvaluator",
    "built_in",
    "check",
]

"""Renders a validation as one HTML file without external styles or scripts.

The page of Great Expectations loads styles and scripts from other hosts. This page (`templates/report.j2`) includes Great
Expectations' rendering of each expectation, the meaning of the check and example rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView

from ruter_dagster.contracts.tables import Table
from ruter_dagster.quality.report import CheckResult, Verdict

_TEMPLATES = Path(__file__).parent / "templates"


def data_docs(
    table: Table,
    validation: ExpectationSuiteValidationResult,
    results: Sequence[CheckResult],
    verdicts: Mapping[date, Verdict],
    reject_tables: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The page: verdicts by date, tables of rejected rows by heading, then each check with its result and example rows."""
    document = ValidationResultsPageRenderer().render(validation)
    view = DefaultJinjaPageView(custom_views_directory=str(_TEMPLATES))
    return view.render(
        document,
        template="report.j2",
        table=table,
        results={result.name: result for result in results},
        verdicts=list(verdicts.values()),
        reject_tables=reject_tables,
        passed=all(verdict.passed for verdict in verdicts.values()),
    )

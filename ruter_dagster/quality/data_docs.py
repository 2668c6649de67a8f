"""Great Expectations' Data Docs of a validation as one HTML file that loads nothing from elsewhere.

Great Expectations' own page takes its styles and scripts from other hosts; here its rendering of each expectation is set
in a page of our own (`templates/report.j2`), between what the check means and the rows that broke it.
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
    set_aside: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """The page: verdicts by date, the rows set aside (a table for each heading), then every check with its expectation, what was found and example rows."""
    document = ValidationResultsPageRenderer().render(validation)
    view = DefaultJinjaPageView(custom_views_directory=str(_TEMPLATES))
    return view.render(
        document,
        template="report.j2",
        table=table,
        results={result.name: result for result in results},
        verdicts=list(verdicts.values()),
        set_aside=set_aside,
        passed=all(verdict.passed for verdict in verdicts.values()),
    )

"""Renders the templates of a job that is declared in YAML. The fields of a job do not belong here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError
from jinja2.nativetypes import NativeEnvironment, NativeTemplate
from pydantic import Field

TemplateText = Annotated[str, Field(pattern=r"\{\{.*\}\}|\{%.*%\}", description="A template: `{{ … }}`.")]
"""A template in place of a number, a boolean or a list."""


class TemplateFault(ValueError):
    """A template that cannot be rendered. The message names the field, the template and the remedy."""


def render(value: Any, scope: Mapping[str, Any], field: str) -> Any:
    """`value` with every template replaced. A template that is the whole text keeps the type of its value.

    Unlike Dagster's templates, which turn `"1.10"` into the number 1.1, it keeps texts.
    """
    if isinstance(value, dict):
        return {name: render(item, scope, f"{field}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [render(item, scope, f"{field}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str) or not ("{{" in value or "{%" in value):
        return value
    scope = {**scope, "env": _Variables(scope["env"])} if "env" in scope else scope
    try:
        return _check_defined(_ENVIRONMENT.from_string(value).render(**scope))
    except (UndefinedError, TemplateSyntaxError, TemplateFault) as error:
        names = ", ".join(sorted(scope))
        raise TemplateFault(f"{field}: {value!r}: {error}. The template knows: {names}") from error


class _Variables:
    """Dagster's `env`, except that an unset variable is undefined instead of None, so that no filter can hide it."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __call__(self, *arguments: Any) -> Any:
        return self._env(*arguments)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._env, name)
        return StrictUndefined(f"the environment variable {name} is not set") if value is None else value


def _check_defined(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)  # Raises an error that names the undefined variable.
    return value


def _join(values: Iterable[Any]) -> Any:
    parts = list(values)
    if any(part is None for part in parts):
        raise TemplateFault("a part has no value. Is each environment variable set?")
    return parts[0] if len(parts) == 1 else "".join(map(str, parts))


class _Environment(NativeEnvironment):
    """A `NativeEnvironment` that does not parse rendered texts as Python literals."""

    concat = staticmethod(_join)  # pyright: ignore[reportAssignmentType]


class _Template(NativeTemplate):
    environment_class = _Environment


_Environment.template_class = _Template
_ENVIRONMENT = _Environment(undefined=StrictUndefined)

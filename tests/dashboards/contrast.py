"""Contrast of rendered text with its background, by WCAG 2.1: at least 4.5 for normal text, 3 for large text."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

_TEXTS = """() => {
  const parse = text => { const parts = text.match(/[\\d.]+/g).map(Number); return parts.length === 3 ? [...parts, 1] : parts; };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const background = element => {
    // The background of an ancestor that is not behind the text does not count: the value above a slider's thumb. Large areas scroll.
    const box = element.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2, chain = [];
    for (let node = element; node; node = node.parentElement) {
      const area = node.getBoundingClientRect();
      const behind = area.height > 100 || (area.left <= x && x <= area.right && area.top <= y && y <= area.bottom);
      if (behind) chain.push(parse(getComputedStyle(node).backgroundColor));
    }
    return chain.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const shown = element => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) && element.getClientRects().length;
  const words = element => [...element.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent.trim()).join('');
  return [...document.querySelectorAll('[data-testid=stApp] *')]
    .filter(element => words(element) && shown(element) && parse(getComputedStyle(element).color)[3] > 0 && !element.closest('[aria-hidden=true], [disabled], svg, canvas, table'))
    .map(element => {
      const style = getComputedStyle(element), below = background(element);
      return {text: words(element).slice(0, 60), color: over(parse(style.color), below), background: below,
              size: parseFloat(style.fontSize), weight: parseInt(style.fontWeight)};
    });
}"""


def low_contrasts(page: Page) -> list[str]:
    """Texts of the page whose contrast is too low, with their contrast."""
    return [
        f"{text['text']}: {ratio:.2f}"
        for text in page.evaluate(_TEXTS)
        if (ratio := contrast(text["color"], text["background"])) < _required(text)
    ]


def contrast(color: list[float], background: list[float]) -> float:
    """The contrast of two colours of red, green and blue from 0 to 255."""
    lighter, darker = sorted((_luminance(color), _luminance(background)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _required(text: dict[str, Any]) -> float:
    large = text["size"] >= 24 or (text["size"] >= 18.66 and text["weight"] >= 700)
    return 3.0 if large else 4.5


def _luminance(color: list[float]) -> float:
    parts = [part / 255 for part in color]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

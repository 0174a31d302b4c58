"""The page for a keyboard alone, a screen reader, little motion, a dark room and a phone."""

import numpy as np
import pytest

pytestmark = pytest.mark.real_game


def emulate(driver, **features):
    """Media features, through Chromium's own protocol."""
    if not hasattr(driver, "execute_cdp_cmd") or "firefox" in driver.capabilities["browserName"]:
        pytest.skip("only Chromium's driver emulates media features")
    named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})


def keep_a_run(page):
    page.play("w")
    page.execute_script("page.session.phase = 'ended'; page.changed(); page.command('keep')")
    page.wait("return page.records.length === 1")


def test_everything_that_can_be_used_has_a_name_of_its_own(page):
    keep_a_run(page)
    names = []
    for element in page.find_elements("css selector", "button, select, input, a, canvas, summary, output"):
        if element.is_displayed():
            name = element.accessible_name if element.tag_name != "summary" else element.text
            assert name, element.get_attribute("outerHTML")
            names.append(name)
    assert len(names) == len(set(names)) and "Start" not in names
    # Numbers that change 30 times a second are not read out.
    live = page.find_elements("css selector", "output:not([aria-live=off])")
    assert live == []


def test_a_keyboard_reaches_everything_and_plays(page):
    from selenium.webdriver import ActionChains, Keys

    keep_a_run(page)
    expected = page.execute_script(
        "return Array.from(document.querySelectorAll('button, select, input, a[href], summary'))"
        ".filter((e) => e.tabIndex >= 0 && !e.disabled && e.checkVisibility())"
        ".map((e) => e.id || e.textContent)"
    )
    page.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = []
    for _ in expected:
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.append(page.execute_script("const e = document.activeElement; return e.id || e.textContent"))
        width = page.execute_script(
            "return getComputedStyle(document.activeElement).outlineStyle !== 'none'"
            " && parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
        )
        assert width >= 1, reached[-1][:40]  # one sees where one is
    assert sorted(reached) == sorted(expected) and {"go", "policy", "ghost", "player"} <= set(reached)
    # From the name's field, Enter gives the keyboard back to the game.
    page.find_element("id", "player").send_keys("Ada", Keys.ENTER)
    ActionChains(page).send_keys("r").perform()
    page.wait("return page.session.phase === 'playing'")
    ActionChains(page).key_down("o").pause(0.2).key_up("o").perform()
    page.wait("return page.session.run.keys.includes(4)")


def crowd(page):
    """The pixels of the stand."""
    return np.array(
        page.execute_script(
            "const { context, width, ground, scale } = page.stage; page.stage.stale = true; page.draw();"
            "return Array.from(context.getImageData(0, ground - 10 * scale, width, 4 * scale).data)"
        )
    )


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_with_little_motion_only_the_track_moves(page, motion):
    emulate(page, prefers_reduced_motion=motion)
    try:
        page.execute_script(
            "window.raw = page.session.run.observations[0];"
            "window.move = (x) => raw.forEach((_, i) => { if (i % 5 === 0) raw[i] += x }); move(-900)"
        )
        before = crowd(page)
        page.execute_script("move(25)")
        # The runner hides a part of the stand; he stands where he stood.
        moved = (crowd(page) != before).mean()
        assert moved == 0 if motion == "reduce" else moved > 0.1
    finally:
        emulate(page, prefers_reduced_motion="no-preference")


def luminance(color):
    channels = np.array(color) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(page, scheme):
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    emulate(page, prefers_color_scheme=scheme)
    try:
        keep_a_run(page)
        pairs = page.execute_script(
            """
            const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
            const behind = (e) => {
              for (; e; e = e.parentElement) {
                const color = rgb(getComputedStyle(e).backgroundColor);
                if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
              }
              return [255, 255, 255];
            };
            return Array.from(document.querySelectorAll("p, h1, h2, button, label, b, span, a, td, kbd"))
              .filter((e) => e.offsetParent && !e.disabled && e.textContent.trim() && !e.closest("#message"))
              .map((e) => [e.outerHTML.slice(0, 80), rgb(getComputedStyle(e).color).slice(0, 3), behind(e)]);
            """
        )
        assert len(pairs) > 30
        for what, ink, paper in pairs:
            light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (what, ink, paper)
    finally:
        emulate(page, prefers_color_scheme="light")

"""What a browser says of itself, in words that people recognize."""

import re

# The first that fits: most browsers also claim to be others.
BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Chrome", r"Chrome/|CriOS/|HeadlessChrome/"),
    ("Safari", r"Safari/"),
)
SYSTEMS = (
    ("Android", r"Android"),
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Windows", r"Windows"),
    ("ChromeOS", r"CrOS"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux"),
)
MOST_CHARACTERS = 60


def describe_device(user_agent: str) -> str:
    """Return a description such as "Firefox on Linux", or the beginning of what it says."""
    browser = next((name for name, form in BROWSERS if re.search(form, user_agent)), "")
    system = next((name for name, form in SYSTEMS if re.search(form, user_agent)), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or user_agent[:MOST_CHARACTERS] or "unknown"

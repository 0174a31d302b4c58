"""pygame, imported without its greeting on standard output and a warning about a package that it uses."""

import os
import warnings

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

import pygame as pygame  # noqa: E402

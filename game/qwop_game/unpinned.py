"""How to install the two packages whose metadata forbids what they work with.

imitation 1.0.1 and qwop-gym 1.0.1 pin Gymnasium 0.29, and qwop-gym NumPy 1. Both work with newer ones, and on
Python 3.13 and newer, which NumPy 1 does not know, they are installed without their dependencies.
"""

INSTALL_UNPINNED = "pip install --no-deps imitation==1.0.1 qwop-gym==1.0.1"

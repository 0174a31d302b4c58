"""The command that installs imitation and qwop-gym without the version limits in their metadata.

imitation 1.0.1 and qwop-gym 1.0.1 pin Gymnasium 0.29, and qwop-gym pins NumPy 1. Both work with newer
versions. NumPy 1 does not support Python 3.13, so there they have to be installed without their dependencies.
"""

INSTALL_UNPINNED = "pip install --no-deps imitation==1.0.1 qwop-gym==1.0.1"

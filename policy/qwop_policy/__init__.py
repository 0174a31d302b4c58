"""Policies for other programs: export to ONNX, share on the Hugging Face Hub. PyTorch is not needed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

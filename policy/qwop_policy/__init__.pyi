from .exporting import ExportCheck, OnnxSession, check_onnx, export_onnx
from .information import PolicyInfo, policy_info

__all__ = ["ExportCheck", "OnnxSession", "PolicyInfo", "check_onnx", "export_onnx", "policy_info"]

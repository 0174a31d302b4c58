from .exporting import ExportCheck, OnnxSession, check_onnx, export_onnx
from .information import PolicyInfo, policy_info
from .sharing import ShareConfig, pull_policy, push_policy, write_repository

__all__ = [
    "ExportCheck",
    "OnnxSession",
    "PolicyInfo",
    "ShareConfig",
    "check_onnx",
    "export_onnx",
    "policy_info",
    "pull_policy",
    "push_policy",
    "write_repository",
]

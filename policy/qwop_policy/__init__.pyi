from .average import average_policies
from .critic import CriticFit, distance_to_come, train_critic
from .critic_config import CriticConfig
from .exporting import ExportCheck, OnnxSession, check_onnx, export_onnx
from .information import PolicyInfo, policy_info
from .sharing import ShareConfig, pull_policy, push_policy, write_repository

__all__ = [
    "CriticConfig",
    "CriticFit",
    "ExportCheck",
    "OnnxSession",
    "PolicyInfo",
    "ShareConfig",
    "average_policies",
    "check_onnx",
    "distance_to_come",
    "export_onnx",
    "policy_info",
    "pull_policy",
    "push_policy",
    "train_critic",
    "write_repository",
]

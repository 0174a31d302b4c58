"""Fine-tune a cloned policy, or train one from nothing: `run.finetune`, the command `qwop-finetune`."""

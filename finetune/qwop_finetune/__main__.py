"""`python -m qwop_finetune`, which torchrun can start: the command `qwop-finetune`."""

from qwop_finetune.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
